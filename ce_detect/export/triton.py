"""A model repository as NVIDIA's Triton Inference Server reads it: ``NAME/config.pbtxt`` and ``NAME/1/model.onnx``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ce_detect.artifacts.graph_format import INPUT, OUTPUT_TYPES
from ce_detect.core.errors import ArtifactError, UsageError
from ce_detect.data.lazy import Pixels
from ce_detect.detector.gate import GateModule
from ce_detect.export import writer
from ce_detect.export.parity import Differences
from ce_detect.storage import atomic

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
        uint8: whether the graph takes bytes 0-255 ``(batch, height, width, channels)``.
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
    gate: GateModule,
    manifest: dict[str, Any],
    folder: Path,
    *,
    name: str = "guard",
    x: Pixels | None = None,
    uint8: bool = False,
) -> tuple[Path, Differences]:
    """Export a gate into a model repository.

    The configuration is written last: Triton takes up no model without one.

    Args:
        gate: on the CPU.
        manifest: of the artifact.
        folder: the model repository; made where it is not there.
        name: of the model.
        x: see `ce_detect.export.writer.write`.
        uint8: see there.

    Returns:
        The path of the graph, and how far it differs from PyTorch.

    Raises:
        UsageError: a name that is no name of a folder.
        ArtifactError: the repository cannot be written. Else see `ce_detect.export.writer.write`.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise UsageError(f"name = {name!r} cannot name a Triton model; use letters, digits, '_', '-' and '.'")
    path = folder / name / "1" / "model.onnx"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        found = writer.write(gate, manifest, path, x=x, uint8=uint8)
        atomic.write(folder / name / "config.pbtxt", config(name, manifest, uint8=uint8).encode())
    except OSError as error:
        raise ArtifactError(f"cannot write the model repository {folder}: {error.strerror or error}") from error
    return path, found
