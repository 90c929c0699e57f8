"""What an export takes: the gate on the CPU, and images to hold the graph against."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ce_detect.calibrate import samples
from ce_detect.calibrate.pipeline import Calibrated
from ce_detect.core.errors import UsageError
from ce_detect.data import Pixels, rows
from ce_detect.detector import serialization
from ce_detect.detector.gate import GateModule
from ce_detect.export import parity, triton, writer
from ce_detect.guard.wrapped_model import WrappedModel

MOST_IMAGES = 256
"""Images that a graph is held against before it is written, at most."""


def write(
    calibrated: Calibrated,
    model: WrappedModel,
    path: str | Path,
    *,
    data: Any = None,
    uint8: bool = False,
    any_size: bool = False,
) -> parity.Differences:
    """Write classifier, interventions, head and threshold as one ONNX graph, and check it with ONNX Runtime.

    The graph computes in float32, on a CPU or a GPU; it is made on the CPU, from a copy of the model where that is
    elsewhere. Its inputs and outputs are listed in `ce_detect.export.fused_graph`. The file appears only if the graph
    judges as PyTorch does.

    Args:
        calibrated: the gate and its manifest.
        model: what it stands in front of.
        path: the file to write.
        data: images to hold the graph against, see `ce_detect.data.as_images`; the first 256 of them. By default some
            that calibration saw, clean and attacked, where it happened in this process or left them in the default
            cache of this machine; else the classifier's probe and random images.
        uint8: take bytes 0-255 ``(batch, height, width, channels)`` in uint8, which the graph scales to the
            bounds.
        any_size: take such bytes of any height and width, one a batch, which the graph resizes and crops as the
            calibration did.

    Returns:
        How far PyTorch and ONNX Runtime differ on these images.

    Raises:
        UsageError: any size is asked for, and the calibration knew of no resizing.
        ModelError: the gate cannot become a graph; says why.
        ExportError: the graph judges otherwise than the gate; nothing is written.
        MissingExtraError: the extra ``onnx`` is not installed.
        ArtifactError: the file cannot be written.
    """
    gate, x = _on_cpu(calibrated, model), _images(calibrated, model, data)
    resizing = model.resizing if any_size else None
    if any_size and resizing is None:
        raise UsageError(
            "any size is asked for, but the gate does not know how images come to its own: calibrate with --resize and "
            "--crop, or DetectedModel(model, resizing=ce_detect.Resizing(256, 224))"
        )
    manifest = calibrated.manifest.plain()
    return writer.write(gate, manifest, Path(path), x=x, uint8=uint8 or any_size, resizing=resizing)


def write_for_triton(
    calibrated: Calibrated, model: WrappedModel, folder: Path, *, name: str, data: Any = None, uint8: bool = False
) -> tuple[Path, parity.Differences]:
    """Write the graph into a model repository, see `ce_detect.export.triton.write`; otherwise as `write`."""
    gate, x = _on_cpu(calibrated, model), _images(calibrated, model, data)
    return triton.write(gate, calibrated.manifest.plain(), folder, name=name, x=x, uint8=uint8)


def _images(calibrated: Calibrated, model: WrappedModel, data: Any) -> Pixels | None:
    if data is not None:
        return rows(model.images(data).pixels, slice(MOST_IMAGES))
    return samples.kept(calibrated.gate) if calibrated.sample is None else calibrated.sample


def _on_cpu(calibrated: Calibrated, model: WrappedModel) -> GateModule:
    classifier = model.on_cpu()
    if classifier is model.classifier:
        return calibrated.gate
    return serialization.to_gate(serialization.to_artifact(calibrated.gate, calibrated.manifest), classifier)
