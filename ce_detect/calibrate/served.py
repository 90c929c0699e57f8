"""What a gate costs where it is served: its fused graph beside the graph of the model alone, in ONNX Runtime."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property, partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ce_detect.calibrate import cost
from ce_detect.classifiers.torch import TorchClassifier
from ce_detect.detector.gate import Gate

if TYPE_CHECKING:
    from onnx import ModelProto
    from onnxruntime import InferenceSession

logger = logging.getLogger("ce_detect")

_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


class Server:
    """A classifier in ONNX Runtime on a CPU, with as many threads as PyTorch has.

    Args:
        classifier: what `can_serve` says can become a graph.
    """

    def __init__(self, classifier: TorchClassifier) -> None:
        self._classifier = classifier

    def ratios(self, gate: Gate, batches: Sequence[Tensor], *, rounds: int, seconds: float) -> list[float]:
        """Time of the fused graph over that of the model's own, on each batch ``(batch, channels, height, width)``.

        Zeros where one of the graphs cannot be made or run after all, as the log says: nothing is served then.
        """
        from ce_detect.export import graph

        try:
            alone, gated = self._alone, _opened(graph.fused(gate, {}))
            feeds = [{"input": x.numpy()} for x in batches]
            timed = partial(cost.ratios, rounds=rounds, seconds=seconds)
            return [timed(partial(alone.run, None, feed), [partial(gated.run, None, feed)])[0] for feed in feeds]
        except Exception as error:  # noqa: BLE001  whatever exporter and runtime raise, calibration goes on
            logger.info("no cost in ONNX Runtime: %s", str(error).strip().partition("\n")[0])
            return [0.0] * len(batches)

    @cached_property
    def _alone(self) -> InferenceSession:
        from ce_detect.export import graph

        return _opened(graph.alone(self._classifier))


def can_serve(classifier: Any) -> bool:
    """Whether gates of a classifier can become graphs, and there is an ONNX Runtime to run them in."""
    captured = isinstance(classifier, TorchClassifier) and classifier.dtype is torch.float32
    return captured and classifier.device.type == "cpu" and all(map(find_spec, _PACKAGES))


def _opened(model: ModelProto) -> InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
