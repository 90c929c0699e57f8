"""A graph on disk, which is there only if it judges as the gate does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ce_detect.artifacts import graph_digest, onnx_bytes
from ce_detect.core import extras
from ce_detect.core.errors import ArtifactError, ExportError
from ce_detect.core.resizing import Resizing
from ce_detect.data.lazy import Pixels
from ce_detect.detector.gate import GateModule
from ce_detect.export import cascade, parity
from ce_detect.export.fused_graph import example, fused
from ce_detect.export.resizing import check as check_resizing
from ce_detect.export.resizing import resizing_first
from ce_detect.heads.cascade import CascadedHead
from ce_detect.storage import atomic

LARGEST = 2**31 - 1
"""Bytes of a graph in one file, at most: protocol buffers hold no more."""


def check_installed() -> None:
    """Refuse before the work.

    Raises:
        MissingExtraError: a package of the extra ``onnx`` is absent.
    """
    for package in extras.DEPENDENCIES.values():
        if "onnx" in package.extras:
            extras.module(package.module, "Exporting a gate", extra="onnx")


def write(
    gate: GateModule,
    manifest: dict[str, Any],
    path: Path,
    *,
    x: Pixels | None = None,
    uint8: bool = False,
    resizing: Resizing | None = None,
) -> parity.Differences:
    """Make the graph, hold it against the gate, and write it, atomically.

    Args:
        gate: on the CPU.
        manifest: of the artifact.
        path: the file.
        x: inputs to hold it against ``(n, channels, height, width)``; by default `ce_detect.export.parity.sample`.
        uint8: see `ce_detect.export.fused_graph.fused`.
        resizing: what the graph does to images first, so that they may have any size; not without ``uint8``.

    Returns:
        How far graph and gate differ on the inputs.

    Raises:
        ModelError: the gate cannot become a graph.
        ExportError: the graph judges otherwise than the gate, or cannot run. Nothing is written.
        ArtifactError: the file cannot be written, or could not be read again: see
            `ce_detect.artifacts.onnx_bytes.check_alone`.
    """
    check_installed()
    model = fused(gate, manifest, uint8=uint8)
    if model.ByteSize() > LARGEST:
        raise ExportError(f"the graph has {model.ByteSize()} bytes, but one ONNX file holds at most {LARGEST}")
    content = model.SerializeToString(deterministic=True)
    onnx_bytes.check_alone(content)
    found = parity.differences(gate, parity.session(content), parity.sample(gate) if x is None else x)
    if isinstance(gate.head, CascadedHead):
        parity.ran(parity.session(cascade.clearing_all(model)), example(gate, uint8=uint8))
    if not found.agree:
        raise ExportError(
            f"the exported graph judges otherwise than the gate, so nothing was written to {path}: "
            f"on {found.inputs} inputs scores differ by up to {found.score:.2g}{_rounding(found)} "
            f"and {found.verdict_flips} verdicts flip"
            + (f"; {found.either} scores lie at the level of the cascade" if found.either else "")
        )
    if resizing is not None:
        check_resizing(resizing, manifest["model"]["input_shape"][0])
        content = resizing_first(model, resizing).SerializeToString(deterministic=True)
    try:
        atomic.write(path, graph_digest.sealed(content))
    except OSError as error:
        raise ArtifactError(f"cannot write {path}: {error.strerror or error}") from error
    return found


def _rounding(found: parity.Differences) -> str:
    """What would be no disagreement."""
    if found.precision == "fp32":
        return f" (at most {parity.SCORE_TOLERANCE:g} is rounding)"
    return (
        f" (of an {found.precision} graph, in which at most {parity.FLIPS[found.precision]:.0%} of verdicts may flip)"
    )
