"""A model repository as NVIDIA's Triton Inference Server reads it: ``NAME/config.pbtxt`` and ``NAME/1/model.onnx``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ce_detect.artifacts.graph_format import INPUT, OUTPUT_TYPES
from ce_detect.core.errors import ArtifactError, UsageError
from ce_detect.export.parity import Differences
from ce_detect.storage import atomic

if TYPE_CHECKING:
    from ce_detect.guard.detected_model import DetectedModel

MOST_INPUTS = 64
"""Inputs that Triton puts together in one batch, at most."""

_CONFIG = """\
name: "{name}"
backend: "onnxruntime"
max_batch_size: {most}
input [
  {{ name: "{input}", data_type: TYPE_{type}, dims: [ {dims} ] }}
]
output [
  {outputs}
]
dynamic_batching {{ }}
"""


def config(name: str, manifest: dict[str, Any], *, uint8: bool = False) -> str:
    """The text of ``config.pbtxt``.

    Triton adds the batch to ``dims`` by itself, and wants at least one number there, so each verdict is an array of
    one. The optional input ``threshold`` has no batch and is left out: the graph takes its default.

    Args:
        name: of the model.
        manifest: of the artifact.
        uint8: whether the graph takes grey levels ``(batch, height, width, channels)``.
    """
    channels, height, width = manifest["model"]["input_shape"]
    dims = (height, width, channels) if uint8 else (channels, height, width)
    verdict = "[ 1 ], reshape: { shape: [ ] }"
    shapes = {"logits": f"[ {manifest['model']['num_classes']} ]"}
    outputs = (
        f'{{ name: "{output}", data_type: TYPE_{datatype}, dims: {shapes.get(output, verdict)} }}'
        for output, datatype in OUTPUT_TYPES.items()
    )
    return _CONFIG.format(
        name=name,
        most=MOST_INPUTS,
        input=INPUT,
        type="UINT8" if uint8 else "FP32",
        dims=", ".join(map(str, dims)),
        outputs=",\n  ".join(outputs),
    )


def write(
    guard: DetectedModel, folder: Path, *, name: str = "guard", data: Any = None, uint8: bool = False
) -> tuple[Path, Differences]:
    """Export a gate into a model repository.

    The configuration is written last: Triton takes up no model without one.

    Args:
        guard: the calibrated detector.
        folder: the model repository; made where it is not there.
        name: of the model.
        data: see `ce_detect.DetectedModel.export`.
        uint8: see there.

    Returns:
        The path of the graph, and how far it differs from PyTorch.

    Raises:
        UsageError: a name that is no name of a folder.
        ArtifactError: the repository cannot be written. Else see `ce_detect.DetectedModel.export`.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise UsageError(f"name = {name!r} cannot name a Triton model; use letters, digits, '_', '-' and '.'")
    path = folder / name / "1" / "model.onnx"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        found = guard.export(path, data=data, uint8=uint8)
        atomic.write(folder / name / "config.pbtxt", config(name, guard.manifest, uint8=uint8).encode())
    except OSError as error:
        raise ArtifactError(f"cannot write the model repository {folder}: {error.strerror or error}") from error
    return path, found
