"""With ``deploy``: threshold, clean scores and test figures of the graph in fewer bits, run as in production.

Heads are learned from the gate in float32. What its graph makes of clean images is then another score; the promise
holds for that one if the threshold comes from it. The ranges of eight-bit numbers are found on *fit*: the graph is
fixed before it sees an image of *calibrate*.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from ce_detect.artifacts import graph_digest
from ce_detect.artifacts.manifest import DeployPart
from ce_detect.calibrate import threshold
from ce_detect.calibrate.dataset import CalibrationData
from ce_detect.calibrate.search.candidates import completed
from ce_detect.calibrate.settings import CalibrationSettings
from ce_detect.classifiers.base import Classifier
from ce_detect.core.errors import CalibrationError
from ce_detect.core.types import Floats
from ce_detect.data import Pixels, rows, tensors
from ce_detect.detector.gate import GateModule
from ce_detect.evaluate import report
from ce_detect.export import fused_graph, precision, writer
from ce_detect.features.signature import Signature
from ce_detect.fitting import untrained
from ce_detect.runtime.gate import Gate

RANGED = 128
"""Clean images on which ranges are found."""

TOGETHER = 16
"""How many of them at a time."""

logger = logging.getLogger("ce_detect")


@dataclass(frozen=True, slots=True)
class Deployed:
    """A gate as it is deployed.

    Attributes:
        gate: in PyTorch, in float32, with threshold and clean scores of the graph.
        part: what the manifest says of the graph; None where it computes in float32 too.
        judge: gives scores and labels of the graph, beside the clean-only detector's of the gate, which has no graph.
    """

    gate: GateModule
    part: DeployPart | None = None
    judge: report.Judge = report.judge


def check(classifier: Classifier, settings: CalibrationSettings) -> None:
    """Refuse before the work, by converting the graph of a gate without interventions.

    Raises:
        MissingExtraError: a package of the extra ``onnx`` is absent.
        CalibrationError: a model on a GPU, or one whose own graph ONNX Runtime runs.
        ModelError, ExportError: a model or an intervention of the recipe that cannot become such a graph.
    """
    if settings.deploy == "fp32":
        return
    writer.check_installed()
    if classifier.device.type != "cpu":
        raise CalibrationError(
            f"deploy = {settings.deploy!r}: graphs are made on the CPU, but the model is on {classifier.device}; "
            "calibrate with model.cpu()"
        )
    if not classifier.differentiable:
        raise CalibrationError(
            f"deploy = {settings.deploy!r}: the operations of this ONNX model cannot be taken apart, so its graph is "
            f"deployed as it is. Convert the model itself to {settings.deploy}, and calibrate that with deploy = 'fp32'"
        )
    named = [completed(spec, classifier, settings.drawn, told=False) for spec in settings.recipe.interventions]
    fused_graph.check(classifier, named)
    signature = Signature(classifier, [])
    head = untrained.for_timing(signature, settings.recipe.head)
    gate = GateModule(signature, head, clean_scores=torch.zeros(1), threshold=0.0, prevalence=0.5)
    _part(gate.eval(), iter([classifier.probe().numpy()]), settings)


def deployed(gate: GateModule, data: CalibrationData, settings: CalibrationSettings) -> Deployed:
    """Set the threshold of a gate anew, from scores of its graph.

    Args:
        gate: fitted.
        data: ranges come from its *fit* split, clean scores from *calibrate*.
        settings: what is asked for.

    Raises:
        ModelError, ExportError: there is no such graph.
        CalibrationError: it gives scores that are not finite.
    """
    if settings.deploy == "fp32":
        return Deployed(gate)
    part, graph = _part(gate, _batches(rows(data.clean("fit"), slice(RANGED)), TOGETHER), settings)
    if settings.deploy == "fp16" and graph.providers[0] == "CPUExecutionProvider":
        logger.warning(
            "deploy = 'fp16': on a CPU ONNX Runtime rounds the weights alone and computes in float32, so the threshold "
            "is that of the graph on a CPU. For a GPU calibrate where onnxruntime-gpu finds one"
        )
    held = threshold.variants(gate.signature.classifier, data, settings)
    scores = [_judged(graph, one.pixels)[0] for one in held]
    if not all(np.isfinite(found).all() for found in scores):
        raise CalibrationError(
            f"deploy = {settings.deploy!r}: scores of the graph are not finite, so some activation is too large for "
            "its numbers (in fp16 above 65504). Calibrate with another precision"
        )
    found = threshold.detector(scores, held, settings)
    made = GateModule(gate.signature, gate.head, **found, clean_only=gate.clean_only).eval()

    def judge(gate: GateModule, x: Pixels) -> report.Judged:
        score, label = _judged(graph, x)
        return replace(report.judge(gate, x), score=score, label=label)

    return Deployed(made, part, judge)


def _part(gate: GateModule, images: Iterator[Floats], settings: CalibrationSettings) -> tuple[DeployPart, Gate]:
    """What the manifest will say of the graph, and the graph itself, opened as in production."""
    assert settings.deploy != "fp32"
    model = fused_graph.exported(gate)
    found = precision.ranges(model, images) if settings.deploy == "int8" else []
    part = DeployPart(precision=settings.deploy, ranges=found)
    with TemporaryDirectory(prefix="ce-detect-") as folder:
        path = Path(folder) / "guard.onnx"
        graph = fused_graph.finished(model, gate, _described(gate, part))
        path.write_bytes(graph_digest.sealed(graph.SerializeToString()))
        return part, Gate(path)


def _described(gate: GateModule, part: DeployPart) -> dict[str, Any]:
    """As much of a manifest as it takes to make and to run a graph."""
    classifier = gate.signature.classifier
    return {
        "model": {"input_shape": list(classifier.input_shape), "bounds": list(classifier.bounds)},
        "signature": {"chunk": gate.signature.chunk},
        "deploy": part.plain(),
    }


def _judged(graph: Gate, x: Pixels) -> tuple[Floats, Any]:
    """Scores and labels of many inputs."""
    found = [graph(batch) for batch in _batches(x, graph.together)]
    return np.concatenate([one.score for one in found]), np.concatenate([one.label for one in found])


def _batches(x: Pixels, size: int) -> Iterator[Floats]:
    return (batch.numpy() for batch in tensors.batches(x, size, "cpu"))
