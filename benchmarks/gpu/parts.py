"""What is measured of a gate on a device: each row is one batch size of one way to run it."""

from __future__ import annotations

import copy
import functools
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.face import Inference, bare_graph, ratios
from benchmarks.gpu import graphs
from ce_detect import DetectedModel

ROUNDS, SECONDS = 41, 3.0
"""How often a run is timed, and the seconds after which it is not timed again."""

Row = dict[str, Any]
Todo = Iterator[tuple[str, Callable[[], Row]]]
"""Rows that are measured when they are asked for, by name."""


@dataclass(frozen=True, slots=True)
class Bound:
    """How far scores and verdicts may be from those of the gate on a CPU.

    Attributes:
        score: largest difference of a score; clean scores have an interquartile range of 1.
        flips: largest share of other verdicts.
    """

    score: float
    flips: float


BOUNDS = {"fp32": Bound(1e-3, 0.0), "fp16": Bound(0.25, 0.02)}
"""By precision. On a CPU, graphs in float16 are off by up to 0.04 and flip one verdict of 500."""


@dataclass(frozen=True, slots=True)
class Rig:
    """A gate on the device, its graph, and what the gate says on a CPU.

    Attributes:
        guard: on the device.
        graph, bare: of the gate, and of the model alone.
        x: images ``(n, channels, height, width)``, clean and attacked.
        score, flagged: what the same gate makes of them on a CPU, ``(n,)``.
        batches: sizes of batches.
    """

    guard: DetectedModel
    graph: bytes
    bare: bytes
    x: NDArray[np.float32]
    score: NDArray[np.float32]
    flagged: NDArray[np.bool_]
    batches: tuple[int, ...]

    def some(self, batch: int) -> NDArray[np.float32]:
        """A batch to time on."""
        return np.resize(self.x, (batch, *self.x.shape[1:]))

    def split(self, batch: int) -> list[NDArray[np.float32]]:
        """All images, in batches."""
        return [self.x[start : start + batch] for start in range(0, len(self.x), batch)]

    def row(self, precision: str, found: list[tuple[Any, Any]], alone: Any, gated: Any, device: torch.device) -> Row:
        """Times and agreement.

        Args:
            precision: says how far apart scores may be.
            found: scores and verdicts of each batch.
            alone: runs the model on a batch.
            gated: runs the gate on it.
            device: what is waited for.
        """
        score, flagged = (np.concatenate(columns) for columns in zip(*found, strict=True))
        bound, off = BOUNDS[precision], np.nan_to_num(np.abs(score - self.score), nan=np.inf)
        flips = int((flagged != self.flagged).sum())
        (ratio,) = ratios(alone, [gated], rounds=ROUNDS, seconds=SECONDS, device=device)
        return {
            "precision": precision, "ratio": round(ratio, 3), "model_ms": _milliseconds(alone, device),
            "images": len(score), "score": float(off.max()), "flips": flips,
            "agrees": bool(off.max() <= bound.score and flips <= bound.flips * len(score)),
        }  # fmt: skip


def rig(guard: DetectedModel, model: nn.Module, x: NDArray[np.float32], batches: tuple[int, ...]) -> Rig:
    """Export a gate, and judge images by it on the CPU, as whoever loads its artifact there does.

    Raises:
        ExportError: the graph judges otherwise than the gate on the CPU.
    """
    here = copy.deepcopy(model).cpu()
    with tempfile.TemporaryDirectory() as folder:
        artifact, graph = Path(folder) / "guard.safetensors", Path(folder) / "guard.onnx"
        guard.save(artifact)
        guard.export(graph, data=x)
        exported, loaded = graph.read_bytes(), DetectedModel.load(artifact, here)
    judged, bare = loaded(x), bare_graph(loaded.classifier).SerializeToString()
    return Rig(guard, exported, bare, x, judged.score, judged.is_adversarial, batches)


def in_pytorch(made: Rig, kind: str) -> Todo:
    """Rows of the gate over the model in PyTorch: ``"eager"``, or ``"compiled"`` both of them."""
    guard = made.guard
    device = guard.gate.threshold.device
    model, gate = _compiled(guard) if kind == "compiled" else (guard.model, guard.gate)

    def measured(batch: int) -> Row:
        some = torch.from_numpy(made.some(batch)).to(device)
        with torch.inference_mode():
            judged = [gate(torch.from_numpy(part).to(device)) for part in made.split(batch)]
            found = [(verdict.score.cpu().numpy(), verdict.is_adversarial.cpu().numpy()) for verdict in judged]
            return made.row("fp32", found, lambda: model(some), lambda: gate(some), device)

    for batch in made.batches:
        yield f"PyTorch {kind}, batch {batch}", lambda batch=batch: measured(batch)


def _compiled(guard: DetectedModel) -> tuple[Any, Any]:
    """Model and gate, compiled: by `torch.compile`, on a CPU by what the gate itself uses there."""
    if guard.gate.threshold.device.type == "cpu":
        return guard.model, Inference(guard.gate).judge
    return torch.compile(guard.model, dynamic=True), torch.compile(guard.gate, dynamic=True)


def in_onnxruntime(made: Rig, name: str, precision: str) -> Todo:
    """Rows of the fused graph over the bare one, by one provider; both are opened once, for the first row.

    A row raises UsageError where the provider is not there, see `graphs.opened`.
    """

    @functools.cache
    def sessions() -> list[Any]:
        providers = graphs.wanted(name, precision, made.x.shape[1:], max(made.batches))
        both = (graphs.converted(graph, name, precision) for graph in (made.bare, made.graph))
        return [graphs.opened(graph, providers) for graph in both]

    def measured(batch: int) -> Row:
        alone, gated = sessions()
        found = [graphs.Bound(gated, part).outputs() for part in made.split(batch)]
        judged = [(outputs["score"], outputs["is_adversarial"]) for outputs in found]
        some = made.some(batch)
        runs = graphs.Bound(alone, some), graphs.Bound(gated, some)
        return {**made.row(precision, judged, *runs, torch.device("cpu")), "nodes": graphs.nodes(gated)}

    for batch in made.batches:
        yield f"{name} {precision}, batch {batch}", lambda batch=batch: measured(batch)


def _milliseconds(run: Callable[[], Any], device: torch.device) -> float:
    """Median time of a run, which was warmed up before."""
    taken = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        run()
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        taken.append(time.perf_counter() - start)
    return round(1e3 * float(np.median(taken)), 3)
