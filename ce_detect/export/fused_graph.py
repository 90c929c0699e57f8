"""The gate as one ONNX graph: classifier, interventions, head and threshold, each weight stored once.

====================  ===========================================================================================
input                 float32 ``(batch, channels, height, width)`` within the bounds; or uint8
                      ``(batch, height, width, channels)``, which the graph scales to the bounds
threshold             float32 scalar, optional: the calibrated one is its default
logits                float32 ``(batch, classes)``
label                 int64 ``(batch,)``
score                 float32 ``(batch,)``, larger = more adversarial
p_value               float32 ``(batch,)``
probability           float32 ``(batch,)``
is_adversarial        bool ``(batch,)``
====================  ===========================================================================================

The manifest of the artifact is in the metadata of the model, see `ce_detect.export.optimize`.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from ce_detect.artifacts.graph_format import INPUT, THRESHOLD
from ce_detect.artifacts.manifest import DeployPart
from ce_detect.classifiers.base import Classifier
from ce_detect.classifiers.segmented import TorchClassifier
from ce_detect.core.errors import ModelError
from ce_detect.data.tensors import scaled
from ce_detect.detector.cascade import VERDICTS, First, Last, Second
from ce_detect.detector.detector import Verdict
from ce_detect.detector.gate import GateModule
from ce_detect.export import cascade, optimize, precision
from ce_detect.heads.cascade import CascadedHead

if TYPE_CHECKING:  # onnx comes with the extra ``onnx``
    from onnx import ModelProto

    from ce_detect.classifiers.onnx.black_box import OnnxClassifier

OPSET = 20
"""Operator set that PyTorch's exporter writes."""

_EXAMPLES = 3  # neither 0 nor 1, which torch.export takes for constants, nor a number of channels or draws


class FusedGate(nn.Module):
    """The gate as the graph computes it, in one path whatever the batch.

    Attributes:
        gate: the gate.
        uint8: whether inputs are bytes 0-255 ``(batch, height, width, channels)`` in uint8.
        one_pass: see `ce_detect.features.signature.Signature.forward`.
    """

    def __init__(self, gate: GateModule, *, uint8: bool, one_pass: bool) -> None:
        super().__init__()
        self.gate = gate
        self.uint8 = uint8
        self.one_pass = one_pass

    def forward(self, x: Tensor, threshold: Tensor) -> Verdict:
        """Judge inputs against a threshold, a scalar."""
        if self.uint8:
            x = scaled(x.permute(0, 3, 1, 2), self.gate.signature.classifier.bounds)
        logits, features = self.gate.signature(x, one_pass=self.one_pass)
        return self.gate.verdict(logits, features, threshold)


def fused(gate: GateModule, manifest: dict[str, Any], *, uint8: bool = False, one_pass: bool = False) -> ModelProto:
    """Make the graph, in the precision that the manifest says it is deployed in.

    Args:
        gate: on the CPU.
        manifest: of the artifact; becomes metadata.
        uint8: whether the graph takes bytes 0-255 instead of pixels within the bounds.
        one_pass: whether interventions share one forward pass, see `ce_detect.features.signature.Signature.forward`;
            in a cascade they never do.

    Raises:
        ModelError: the gate, or the classifier it is in front of, cannot become a graph.
        ExportError: it cannot become one in that precision.
    """
    return finished(exported(gate, uint8=uint8, one_pass=one_pass), gate, manifest)


def finished(model: ModelProto, gate: GateModule, manifest: dict[str, Any]) -> ModelProto:
    """What `exported` made, which it may change, in the precision of its deployment and fit to ship; see `fused`."""
    if "deploy" in manifest:
        model = precision.lowered(model, DeployPart.of(manifest["deploy"]))
    return optimize.optimized(model, manifest, threshold=float(gate.threshold))


def exported(gate: GateModule, *, uint8: bool = False, one_pass: bool = False) -> ModelProto:
    """The graph in float32 as PyTorch exports it, with its notes of where nodes come from; see `fused`."""
    check(gate.signature.classifier, list(gate.signature.interventions))
    black_box = _black_box(gate.signature.classifier)
    opset = None if black_box is None else max(OPSET, black_box.model.file.opset)
    if isinstance(gate.head, CascadedHead):
        model = _cascade(gate, gate.head, uint8, opset)
    else:
        module = FusedGate(gate, uint8=uint8, one_pass=one_pass).eval()
        given = example(gate, uint8=uint8), gate.threshold.detach().clone()
        model = _converted(_captured(module, given), [INPUT, THRESHOLD], Verdict._fields, opset)
    if black_box is not None:
        model = black_box.filled(model)
    return model


class _FirstOfLevels(First):
    """The same from grey levels; also gives the pixels that they are scaled to, before all else."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Look at inputs ``(batch, height, width, channels)``."""
        x = scaled(x.permute(0, 3, 1, 2), self.signature.classifier.bounds)
        return x, *super().forward(x)


def _cascade(gate: GateModule, head: CascadedHead, uint8: bool, opset: int | None) -> ModelProto:
    """The graph of a gate with a cascade, not yet optimized: its parts are captured one by one, and then joined."""
    x, threshold = example(gate, uint8=uint8), gate.threshold.detach().clone()
    first = _FirstOfLevels(gate) if uint8 else First(gate)
    with torch.no_grad():
        pixels, z, free, score, *latents = first(x) if uint8 else (x, *first(x))
    names = [f"latent{i}" for i in range(len(latents))]

    def part(module: nn.Module, given: tuple[Tensor, ...], inputs: Sequence[str], outputs: Sequence[str]) -> ModelProto:
        return _converted(_captured(module.eval(), given), inputs, outputs, opset)

    seen = [*([cascade.PIXELS] if uint8 else []), *cascade.SEEN, *names]
    return cascade.joined(
        part(first, (x,), [INPUT], seen),
        part(Second(gate, whole=True), (pixels, z, free, *latents), [*cascade.READ, *names], [cascade.SCORE]),
        part(Last(gate), (z, score, threshold), [cascade.LOGITS, cascade.SCORE, THRESHOLD], VERDICTS),
        level=float(head.level), latents=names,
    )  # fmt: skip


def bare(classifier: TorchClassifier) -> ModelProto:
    """Make a graph of the classifier without a gate: ``input`` in, ``logits`` out.

    Raises:
        ModelError: it cannot become a graph.
    """
    x = classifier.interface.probe(_EXAMPLES)
    return _converted(_captured(classifier, (x,)), [INPUT], ("logits",), None)


def _converted(
    program: ExportedProgram, inputs: Sequence[str], outputs: Sequence[str], opset: int | None
) -> ModelProto:
    with _quiet():
        made = torch.onnx.export(
            program, input_names=inputs, output_names=outputs, verbose=False, optimize=False, opset_version=opset
        )
        assert made is not None
        optimize.simplify(made.model)
    return made.model_proto


def _black_box(classifier: Classifier) -> OnnxClassifier | None:
    """The classifier where ONNX Runtime runs it, whose operator set is not taken down; else None."""
    if classifier.differentiable:
        return None
    from ce_detect.classifiers.onnx.black_box import OnnxClassifier  # only here must the packages of ONNX be there

    assert isinstance(classifier, OnnxClassifier)
    return classifier


def check(classifier: Classifier, interventions: Iterable[nn.Module]) -> None:
    """Refuse what cannot become a graph.

    Raises:
        ModelError: says what, and the remedy.
    """
    if classifier.differentiable and not isinstance(classifier, TorchClassifier):
        raise ModelError(
            "this gate cannot be exported: its classifier could not be captured as a graph (torch.export failed on it "
            "when it was wrapped), so each intervention runs the model's own Python code. Take what looks at values "
            "or changes with them out of its forward; torch.export.export(model, (x,)) shows where it fails"
        )
    if classifier.dtype is not torch.float32:
        raise ModelError(
            f"this gate cannot be exported: its model computes in {classifier.dtype}, whose rounding differs between "
            "runtimes by more than verdicts allow. Calibrate with model.float() and export that"
        )
    for intervention in interventions:
        if not intervention.exportable:
            raise ModelError(
                f"this gate cannot be exported: {intervention.name} takes a gradient at run time, which ONNX has not. "
                "Calibrate with other interventions: a search uses exportable ones only"
            )


def example(gate: GateModule, *, uint8: bool) -> Tensor:
    """A few inputs as the graph takes them."""
    x: Tensor = gate.signature.classifier.probe(_EXAMPLES)
    return torch.zeros(x.permute(0, 2, 3, 1).shape, dtype=torch.uint8) if uint8 else x


def _captured(module: nn.Module, given: tuple[Tensor, ...]) -> ExportedProgram:
    """Capture a module of tensors ``(batch, ...)`` and scalars."""
    batch = torch.export.Dim("batch", min=1)
    shapes: list[Any] = [{0: batch} if tensor.ndim else {} for tensor in given]
    *_, last = inspect.signature(module.forward).parameters.values()
    if last.kind is inspect.Parameter.VAR_POSITIONAL:
        named = len(inspect.signature(module.forward).parameters) - 1
        shapes[named:] = [tuple(shapes[named:])] if shapes[named:] else []
    try:
        with _quiet(), torch.no_grad():
            return torch.export.export(module, given, dynamic_shapes=tuple(shapes), strict=False)
    except Exception as error:  # torch.export raises many types
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"this gate cannot be captured as one graph for every batch size: {reason}") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep PyTorch's exporter from telling of its own internals."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.fx.experimental.symbolic_shapes")]
    loggers += [logging.getLogger("torch.onnx._internal.exporter._registration"), logging.getLogger("onnxscript")]
    before = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for one, level in zip(loggers, before, strict=True):
            one.setLevel(level)
