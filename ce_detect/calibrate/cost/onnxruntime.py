"""What a gate costs in ONNX Runtime: its fused graph over the graph of the bare model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, TypeGuard

import torch
from torch import Tensor

from ce_detect.calibrate.cost import timing
from ce_detect.classifiers.base import Classifier
from ce_detect.classifiers.segmented import TorchClassifier
from ce_detect.core.errors import ModelError
from ce_detect.detector.gate import GateModule
from ce_detect.export import fused_graph

if TYPE_CHECKING:  # both come with an extra
    from onnx import ModelProto
    from onnxruntime import InferenceSession

_EXPORTERS = ("onnx", "onnxscript")


class OnnxRuntimeCost:
    """Measures gates of one classifier in ONNX Runtime on a CPU, with as many threads as PyTorch has.

    Attributes:
        runtime: name and version of what runs the graphs.

    Args:
        classifier: what `can_measure` says can become a graph.
    """

    def __init__(self, classifier: TorchClassifier) -> None:
        import onnxruntime

        self._classifier = classifier
        self._bare: InferenceSession | None = None
        self.runtime = f"onnxruntime {onnxruntime.__version__}"  # also of onnxruntime-gpu, a distribution of its own

    def ratios(
        self, gate: GateModule, batches: Sequence[Sequence[Tensor]], *, rounds: int, seconds: float
    ) -> list[float]:
        """Time of the fused graph over that of the bare model's.

        Args:
            gate: what the graph is made of.
            batches: for each ratio the batches ``(batch, channels, height, width)`` that both run.
            rounds: see `ce_detect.calibrate.cost.timing.ratios`.
            seconds: see there.

        Raises:
            ModelError: one of the graphs cannot be made or run.
        """
        try:
            return self._ratios(gate, batches, partial(timing.ratios, rounds=rounds, seconds=seconds))
        except Exception as error:  # exporter and runtime raise many types
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ModelError(f"the gate does not run in ONNX Runtime: {reason}") from error

    def _ratios(
        self, gate: GateModule, batches: Sequence[Sequence[Tensor]], timed: Callable[..., list[float]]
    ) -> list[float]:
        if self._bare is None:
            self._bare = _opened(fused_graph.bare(self._classifier))
        bare, gated, found = self._bare, _opened(fused_graph.fused(gate, {})), []
        for parts in batches:
            feeds = [{"input": x.numpy()} for x in parts]
            alone, fused = (timing.on_each(partial(session.run, None), feeds) for session in (bare, gated))
            found += timed(alone, [fused])
        return found


def can_measure(classifier: Classifier) -> TypeGuard[TorchClassifier]:
    """Whether a classifier on a CPU can become a graph, and there is an ONNX Runtime to run it in."""
    captured = isinstance(classifier, TorchClassifier) and classifier.dtype is torch.float32
    if not captured or classifier.device.type != "cpu" or not all(map(find_spec, _EXPORTERS)):
        return False
    try:
        import onnxruntime
    except ImportError:  # not there, or hidden by another wheel
        return False
    return hasattr(onnxruntime, "InferenceSession")


def _opened(model: ModelProto) -> InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # the two sessions take turns
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
