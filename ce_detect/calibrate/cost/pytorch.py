"""What things cost on this machine, relative to the bare model."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ce_detect.calibrate.cost.chunks import MOST_VALUES, SECONDS, fastest_chunk, rows_in_time
from ce_detect.calibrate.cost.onnxruntime import OnnxRuntimeCost, can_measure
from ce_detect.calibrate.cost.table import CostTable
from ce_detect.calibrate.cost.timing import on_each, ratios
from ce_detect.calibrate.items import Item, signature_of
from ce_detect.classifiers.base import Classifier
from ce_detect.core.errors import ModelError
from ce_detect.detector.compiled import Compiled
from ce_detect.detector.gate import GateModule
from ce_detect.detector.inference import Inference
from ce_detect.features.signature import Signature
from ce_detect.fitting import untrained
from ce_detect.heads.base import HeadKind
from ce_detect.interventions import Flip

logger = logging.getLogger("ce_detect")

BATCHES = (1, 8, 32)
"""Batch sizes at each of which a whole gate has to keep the budget."""

ONNXRUNTIME_ALLOWANCE = 1.1
"""Times the budget that a gate may cost in ONNX Runtime, where no interpreter stands between operations."""

MOST_FREE = 2 / 3
"""Share of what a budget allows there beyond the model itself that a gate without items may take at most, for a batch
size to count."""

PASS = Item.of(Flip())
"""What takes little else than one forward pass more."""

SIGNATURES_A_TURN = 8
"""Signatures that are timed in turns with each other."""

GATE_ROUNDS = 41
"""How often a whole gate is timed, where it is not slow."""

ITEM_ROUNDS = 5
"""How often an item is timed, where it is not slow."""


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
        self._table = table
        self._head = head
        self._cleared = cleared
        self.paying = 1.0 if cleared is None else 1 - cleared
        self._batches = [x[:batch] for batch in BATCHES if batch <= len(x)]
        most = min(MOST_VALUES // x[0].numel(), rows_in_time(bare, x, table), BATCHES[-1])
        self._quick = x[: max(1, most)]
        self._onnxruntime = OnnxRuntimeCost(classifier) if can_measure(classifier) else None
        self.chunk = fastest_chunk(classifier, bare, x[: max(1, MOST_VALUES // x[0].numel())], table)

    def clearing(self, share: float) -> Meter:
        """The same in a cascade that clears another share of inputs."""
        return Meter(self._classifier, self._bare, self._all, self._table, self._head, cleared=share)

    def signature(self, items: Sequence[Item]) -> Signature:
        """The signature of these items, run in the chunk that is fastest here."""
        return signature_of(self._classifier, items, self.chunk)

    def items(self, items: Sequence[Item], told: Callable[[float], None] = lambda _: None) -> dict[str, float]:
        """Cost of each item on top of a signature that has nothing else, by name, in batches.

        In forward passes of an input that pays for interventions: what all inputs pay for costs it more. Signatures are
        not compiled: in batches arithmetic takes the time, and compiling would take longer than timing. What an item
        costs single inputs shows when the gate is measured whole.

        Args:
            items: what is timed.
            told: called with the share that is done.
        """
        by_name = {item.name: item for item in items}

        def measure(names: list[str]) -> list[float]:
            costs = []
            for start in range(0, len(names), SIGNATURES_A_TURN):
                signatures = [self.signature([by_name[name]]) for name in names[start : start + SIGNATURES_A_TURN]]
                compared = [self.signature([]), *signatures]
                timed = self._ratios(compared, [self._quick], rounds=ITEM_ROUNDS, warm_up=1, compiled=False)
                found = np.array(timed)
                over = (found[1:] - found[0]).clip(min=0)
                costs += [round(float(cost), 3) for cost in over]
                told(len(costs) / len(names))
            return costs

        costs = self._table.get([item.name for item in items], measure)
        return {
            name: cost / (1.0 if by_name[name].intervention is not None else self.paying)
            for name, cost in costs.items()
        }

    def room(self, budget: float, share: float) -> float:
        """What such a share of a budget leaves for items, in forward passes of an input that pays for them.

        A forward pass more may cost another share of the bare model's in ONNX Runtime than in PyTorch. A mirrored input
        is little else, and shows by how much.
        """
        left = (budget * share - self.free()) / self.paying
        if math.isinf(left) or left <= 0 or not (free := self.onnxruntime(())):
            return left
        allowed, tight, with_it = budget * share * ONNXRUNTIME_ALLOWANCE, self.tight(budget), self.onnxruntime((PASS,))
        more = {batch: with_it[batch] - free[batch] for batch in with_it if batch not in tight}
        here = self.another()  # 0 where the clock cannot see it
        rooms = [here * (allowed - free[batch]) / over for batch, over in more.items() if over > 0 and here > 0]
        return min([left, *rooms])

    def another(self) -> float:
        """Cost of one forward pass more, of a mirrored input."""
        return self.items([PASS])[PASS.name]

    def free(self) -> float:
        """Cost of a signature without interventions or moments, the model's forward included."""
        return self._known("free", lambda: self._largest(self.signature([])))

    def cost(self, items: tuple[Item, ...], budget: float) -> float:
        """What has to keep a budget: cost of a whole gate in PyTorch and in ONNX Runtime, each by what it is allowed.

        A gate runs the model faster than its author wrote it. A server does so with or without a gate, so what is
        saved must not pay for interventions that a server then has to pay for. What a gate costs in ONNX Runtime is
        divided by `ONNXRUNTIME_ALLOWANCE`, and the batch sizes count for which `tight` leaves room. Where nothing can
        be measured there, the cost over the model as the gate runs it counts, on the largest batch, where only
        arithmetic matters. What is too dear there is not measured in PyTorch.
        """
        if math.isinf(budget):
            return self.pytorch(items)
        by_batch = self.onnxruntime(items)
        if not by_batch:
            return max(self.pytorch(items), self._over_folded(items))
        tight = self.tight(budget)
        there = max((cost for batch, cost in by_batch.items() if batch not in tight), default=0) / ONNXRUNTIME_ALLOWANCE
        return there if there > budget else max(there, self.pytorch(items))

    def tight(self, budget: float) -> dict[int, float]:
        """Batch sizes, and costs in ONNX Runtime, at which a gate without any items leaves too little of a budget.

        Around a very small model even the free statistics take long on single inputs; hardly a gate could keep it.
        """
        most = 1 + MOST_FREE * (budget * ONNXRUNTIME_ALLOWANCE - 1)
        return {batch: free for batch, free in self.onnxruntime(()).items() if free > most}

    def pytorch(self, items: tuple[Item, ...]) -> float:
        """Cost of a whole gate with these items in PyTorch, on the batch size where it is largest.

        Its weights do not matter.
        """
        return self._known(f"gate {self._named(items)}", lambda: self._largest(self._gate(items)))

    def onnxruntime(self, items: tuple[Item, ...]) -> dict[int, float]:
        """Cost of a whole gate in ONNX Runtime, fused graph over the bare model's, by batch size.

        Empty where it cannot be exported, or there is no ONNX Runtime.
        """
        if self._onnxruntime is None or not all(item.exportable for item in items):
            return {}
        graphs = self._onnxruntime
        names = [f"{graphs.runtime} at {len(x)} {self._named(items)}" for x in self._batches]

        def measure(_: list[str]) -> list[float]:
            parts = [self._parts(x) for x in self._batches]
            found = graphs.ratios(self._gate(items), parts, rounds=GATE_ROUNDS, seconds=2 * SECONDS)
            return [round(ratio, 3) for ratio in found]

        try:
            costs = self._table.get(names, measure)
        except ModelError as error:
            logger.info("no cost in ONNX Runtime: %s", error)
            self._onnxruntime = None
            return {}
        return {len(x): costs[name] for x, name in zip(self._batches, names, strict=True)}

    def _over_folded(self, items: tuple[Item, ...]) -> float:
        """Cost of a whole gate over the model as the gate runs it, its norms folded, on the largest batch."""

        def measure() -> float:
            parts, against = self._parts(self._batches[-1]), self._classifier.logits
            return round(self._ratios([self._gate(items)], parts, rounds=GATE_ROUNDS, against=against)[0], 3)

        return self._known(f"folded {self._named(items)}", measure)

    def _known(self, name: str, measure: Callable[[], float]) -> float:
        return self._table.get([name], lambda _: [measure()])[name]

    def _named(self, items: tuple[Item, ...]) -> str:
        cascade = "" if self._cleared is None else f" behind {self._cleared:g} of {len(self._all)} cleared"
        return f"{self._head}{cascade}: " + "; ".join(item.name for item in items)

    def _gate(self, items: tuple[Item, ...]) -> GateModule:
        signature = self.signature(items)
        if self._cleared is None:
            head = untrained.for_timing(signature, self._head)
        else:
            head = untrained.cascade_for_timing(signature, self._head, self._all, self._cleared)
        gate = GateModule(signature, head, clean_scores=torch.zeros(1000), threshold=0.0, prevalence=0.5)
        return gate.eval().to(self._all.device)

    def _largest(self, module: nn.Module) -> float:
        """Largest of the ratios to the bare model over the batch sizes."""
        return round(max(self._ratios([module], self._parts(x), rounds=GATE_ROUNDS)[0] for x in self._batches), 3)

    def _parts(self, x: Tensor) -> Sequence[Tensor]:
        """Batches of the size of one on which to time: in a cascade all there are, for not all take as long."""
        return [x] if self._cleared is None else self._all.split(len(x))

    def _ratios(
        self, modules: Sequence[nn.Module], parts: Sequence[Tensor], *, rounds: int, warm_up: int = 2,
        against: Callable[[Tensor], Any] | None = None, compiled: bool = True,
    ) -> list[float]:  # fmt: skip
        """Times of modules over that of the bare model, or of another function; signatures compiled or as they are."""
        runs = [Inference(m).judge if isinstance(m, GateModule) else Compiled(m) if compiled else m for m in modules]
        bare, seconds = on_each(against or self._bare, parts), SECONDS * (len(modules) + 1)
        with torch.inference_mode():
            timed = [on_each(run, parts) for run in runs]
            return ratios(bare, timed, rounds=rounds, warm_up=warm_up, seconds=seconds, device=self._all.device)
