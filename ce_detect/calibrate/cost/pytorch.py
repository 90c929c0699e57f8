"""What things cost on this machine, relative to the bare model."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ce_detect.calibrate.cost.onnxruntime import OnnxRuntimeCost, can_measure
from ce_detect.calibrate.cost.table import CostTable
from ce_detect.calibrate.cost.timing import on_each, ratios
from ce_detect.calibrate.search.candidates import Item, signature_of
from ce_detect.classifiers.base import Classifier
from ce_detect.core.errors import ModelError
from ce_detect.detector.compiled import Compiled
from ce_detect.detector.gate import GateModule
from ce_detect.features.signature import Signature
from ce_detect.fitting import heads
from ce_detect.heads.base import HeadKind

logger = logging.getLogger("ce_detect")

BATCHES = (1, 8, 32)
"""Batch sizes at each of which a whole gate has to keep the budget."""

SERVED = 1.1
"""Times the budget that a gate may cost in ONNX Runtime, where no interpreter stands between operations."""

ROOM = 2 / 3
"""Share of what a budget allows there beyond the model itself that a gate without items may take at most, for a batch
size to count."""

_CHUNKS = (4, 8, 16, 32, 64, 128)

_TOGETHER = 8
"""Signatures that are timed in turns with each other."""

_VALUES = 1_250_000
"""Pixel values at most in the batches on which items and chunks are timed; whole gates are timed on all batch sizes."""

_SECONDS = 0.7
"""Time that each module may take in a comparison, about, where it is slow."""


class Meter:
    """Measures what things cost on this machine, relative to the bare model, and remembers it.

    In a cascade some inputs cost more than others. What a gate costs is then the mean over the given ones.

    Attributes:
        chunk: rows that are fastest to run at a time.
        paying: share of inputs that pay for interventions.

    Args:
        classifier: what is wrapped.
        bare: the model as the user runs it.
        x: images to time on.
        table: where costs are kept.
        head: kind of the head.
        cleared: share of inputs that a cascade clears; None without one.
    """

    def __init__(
        self, classifier: Classifier, bare: nn.Module, x: Tensor, table: CostTable, head: HeadKind,
        *, cleared: float | None = None,
    ) -> None:  # fmt: skip
        self._classifier = classifier
        self._bare = bare
        self._all = x
        self._cleared = cleared
        self.paying = 1.0 if cleared is None else 1 - cleared
        self._batches = [x[:batch] for batch in BATCHES if batch <= len(x)]
        affordable = [part for part in self._batches if part.numel() <= _VALUES] or self._batches[:1]
        self._extremes = affordable[:1] + affordable[1:][-1:]
        self._x = x[: max(1, _VALUES // x[0].numel())]
        self._table = table
        self._head = head
        self._served = OnnxRuntimeCost(classifier) if can_measure(classifier) else None
        self.chunk = self._best_chunk()

    def items(self, items: list[Item]) -> dict[str, float]:
        """Cost of each item on top of a signature that has nothing else, by name: in single inputs or in batches.

        In forward passes of an input that pays for interventions: what all inputs pay for costs it more.
        """
        by_name = {item.name: item for item in items}

        def measure(names: list[str]) -> list[float]:
            costs = []
            for start in range(0, len(names), _TOGETHER):
                signatures = [self.signature([by_name[name]]) for name in names[start : start + _TOGETHER]]
                found = np.array([self._ratios([self.signature([]), *signatures], [x]) for x in self._extremes])
                over = (found[:, 1:] - found[:, :1]).max(0).clip(min=0)
                costs += [round(float(cost), 3) for cost in over]
            return costs

        costs = self._table.get([item.name for item in items], measure)
        return {
            name: cost / (1.0 if by_name[name].intervention is not None else self.paying)
            for name, cost in costs.items()
        }

    def free(self) -> float:
        """Cost of a signature without interventions or moments, the model's forward included."""
        return self._table.get(["free"], lambda _: [self._largest(self.signature([]))])["free"]

    def cost(self, items: tuple[Item, ...], budget: float) -> float:
        """What has to keep a budget: cost of a whole gate in PyTorch and, over `SERVED`, in ONNX Runtime.

        A gate runs the model faster than its author wrote it. A server does so with or without a gate, so what is
        saved must not pay for interventions that a server then has to pay for. In ONNX Runtime the batch sizes count
        for which `tight` leaves room. Where nothing can be measured there, the cost over the model as the gate runs it
        counts, on the largest batch, where only arithmetic matters.
        """
        cost = self.gate(items)
        if math.isinf(budget) or cost > budget:
            return cost
        served = self.served(items)
        if not served:
            return max(cost, self._folded(items))
        tight = self.tight(budget)
        return max([cost, *(ratio / SERVED for batch, ratio in served.items() if batch not in tight)])

    def tight(self, budget: float) -> dict[int, float]:
        """Batch sizes, and costs in ONNX Runtime, at which a gate without any items leaves too little of a budget.

        Around a very small model even the free statistics take long on single inputs; hardly a gate could keep it.
        """
        most = 1 + ROOM * (budget * SERVED - 1)
        return {batch: free for batch, free in self.served(()).items() if free > most}

    def gate(self, items: tuple[Item, ...]) -> float:
        """Cost of a whole gate with these items in PyTorch, on the batch size where it is largest.

        Its weights do not matter.
        """
        name = f"gate {self._named(items)}"
        return self._table.get([name], lambda _: [self._largest(self._gate(items))])[name]

    def served(self, items: tuple[Item, ...]) -> dict[int, float]:
        """Cost of a whole gate in ONNX Runtime, fused graph over the bare model's, by batch size.

        Empty where it cannot be exported, or there is no ONNX Runtime.
        """
        if self._served is None or not all(item.exportable for item in items):
            return {}
        served = self._served
        names = [f"{served.runtime} at {len(x)} {self._named(items)}" for x in self._batches]

        def measure(_: list[str]) -> list[float]:
            parts = [self._parts(x) for x in self._batches]
            found = served.ratios(self._gate(items), parts, rounds=41, seconds=2 * _SECONDS)
            return [round(ratio, 3) for ratio in found]

        try:
            costs = self._table.get(names, measure)
        except ModelError as error:
            logger.info("no cost in ONNX Runtime: %s", error)
            self._served = None
            return {}
        return {len(x): costs[name] for x, name in zip(self._batches, names, strict=True)}

    def _folded(self, items: tuple[Item, ...]) -> float:
        name = f"folded {self._named(items)}"

        def measure(_: list[str]) -> list[float]:
            against = self._classifier.logits
            parts = self._parts(self._batches[-1])
            return [round(self._ratios([self._gate(items)], parts, rounds=41, against=against)[0], 3)]

        return self._table.get([name], measure)[name]

    def _named(self, items: tuple[Item, ...]) -> str:
        cascade = "" if self._cleared is None else f" behind {self._cleared:g} of {len(self._all)} cleared"
        return f"{self._head}{cascade}: " + "; ".join(item.name for item in items)

    def _gate(self, items: tuple[Item, ...]) -> GateModule:
        signature = self.signature(list(items))
        if self._cleared is None:
            head = heads.for_timing(signature, self._head)
        else:
            head = heads.cascade_for_timing(signature, self._head, self._all, self._cleared)
        gate = GateModule(signature, head, clean_scores=torch.zeros(1000), threshold=0.0, prevalence=0.5)
        return gate.eval().to(self._x.device)

    def signature(self, items: list[Item]) -> Signature:
        """The signature of these items, run in the chunk that is fastest here."""
        return signature_of(self._classifier, items, self.chunk)

    def _largest(self, module: nn.Module) -> float:
        """Largest of the ratios to the bare model over the batch sizes."""
        return round(max(self._ratios([module], self._parts(x), rounds=41)[0] for x in self._batches), 3)

    def _parts(self, x: Tensor) -> Sequence[Tensor]:
        """Batches of the size of one on which to time: in a cascade all there are, for not all take as long."""
        return [x] if self._cleared is None else self._all.split(len(x))

    def _ratios(
        self, modules: list[nn.Module], parts: Sequence[Tensor], rounds: int = 7,
        against: Callable[[Tensor], Any] | None = None,
    ) -> list[float]:  # fmt: skip
        limit, bare = _SECONDS * (len(modules) + 1), against or self._bare
        runs = [m.judge if isinstance(m, GateModule) else Compiled(m) for m in modules]
        with torch.inference_mode():
            return ratios(on_each(bare, parts), [on_each(run, parts) for run in runs], rounds=rounds, seconds=limit)

    def _best_chunk(self) -> int | None:
        if self._x.device.type != "cpu":
            return None

        sizes = [size for size in _CHUNKS if size <= max(_VALUES // self._x[0].numel(), min(_CHUNKS))]

        def measure(_: list[str]) -> list[float]:
            rows = self._x.repeat(-(-max(sizes) // len(self._x)), 1, 1, 1)[: max(sizes)]

            def in_chunks(size: int) -> None:
                for part in rows.split(size):
                    self._classifier.logits(part)

            limit = _SECONDS * len(sizes)
            with torch.inference_mode():
                tried = [partial(in_chunks, size) for size in sizes]
                found = ratios(lambda: self._bare(rows), tried, rounds=11, seconds=limit)
            return [round(cost, 3) for cost in found]

        costs = self._table.get([f"chunk {size}" for size in sizes], measure)
        return min(sizes, key=lambda size: costs[f"chunk {size}"])
