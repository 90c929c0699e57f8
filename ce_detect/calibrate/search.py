"""Which interventions are worth their cost for this model, within the budget that the user names."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ce_detect.calibrate import learn
from ce_detect.calibrate._objective import Objective
from ce_detect.calibrate.cost import CostTable, ratios
from ce_detect.calibrate.recipe import HeadKind, Recipe
from ce_detect.calibrate.sets import AttackedSet
from ce_detect.classifiers.torch import PENULTIMATE
from ce_detect.detector.gate import Gate
from ce_detect.interventions import (
    AblateChannels,
    BitDepth,
    Blur,
    Clip,
    Contrast,
    Downscale,
    Flip,
    GaussianNoise,
    Grey,
    GridMask,
    Intervention,
    Median,
    Pool,
    RandomMask,
    Rotate,
    Scale,
    Shift,
    Zoom,
    from_spec,
)
from ce_detect.signature import Signature, feature_names, site_shapes

logger = logging.getLogger("ce_detect")

MOST_INTERVENTIONS = 12
"""Interventions in a signature, at most, however large the budget."""

WORTH = 3e-4
"""Gain in the objective below which an addition is not worth its cost."""

MARGIN = 0.04
"""Share of the budget that the search leaves for the head and for costs that do not simply add up."""

_ROWS = {"fit": (600, 180), "select": (300, 120)}
"""Clean images, and attacked images of each attack, on which candidates are compared."""

_CHUNKS = (16, 32, 64, 128)

_TRIES = 5
"""Gates that are measured whole, at most, in a search."""

_TOGETHER = 8
"""Signatures that are timed in turns with each other."""


@dataclass(frozen=True, slots=True)
class Item:
    """Something that may be added to a signature: an intervention, or the channel moments at a site.

    Attributes:
        name: what ledgers call it.
        intervention: what is done; None for moments.
        site: where moments are taken; empty for an intervention.
    """

    name: str
    intervention: Intervention | None
    site: str


@dataclass(frozen=True, slots=True)
class Chosen:
    """The outcome of a search.

    Attributes:
        items: what was chosen, most worth its cost first.
        ledger: for the manifest: costs and gains of what was chosen and of what was considered.
    """

    items: tuple[Item, ...]
    ledger: dict[str, Any]

    @property
    def interventions(self) -> tuple[Intervention, ...]:
        """Chosen interventions."""
        return tuple(item.intervention for item in self.items if item.intervention is not None)

    @property
    def sites(self) -> tuple[str, ...]:
        """Sites where channel moments are taken."""
        return tuple(item.site for item in self.items if item.intervention is None)

    def shrunk(self) -> Chosen:
        """The same without its last item."""
        kept = self.items[:-1]
        return replace(self, items=kept, ledger={**self.ledger, "chosen": self.ledger["chosen"][: len(kept)]})


class Meter:
    """Measures what things cost on this machine, relative to the bare model, and remembers it.

    Attributes:
        chunk: rows that are fastest to run at a time.
    """

    def __init__(self, classifier: Any, bare: nn.Module, x: Tensor, table: CostTable, head: HeadKind) -> None:
        self._classifier = classifier
        self._bare = bare
        self._x = x
        self._table = table
        self._head = head
        self.chunk = self._best_chunk()

    def items(self, items: list[Item]) -> dict[str, float]:
        """Cost of each item on top of a signature that has nothing else, by name."""
        by_name = {item.name: item for item in items}

        def measure(names: list[str]) -> list[float]:
            costs = []
            for start in range(0, len(names), _TOGETHER):
                signatures = [self.signature([by_name[name]]) for name in names[start : start + _TOGETHER]]
                nothing, *whole = self._ratios([self.signature([]), *signatures])
                costs += [round(max(cost - nothing, 0.0), 3) for cost in whole]
            return costs

        return self._table.get([item.name for item in items], measure)

    def free(self) -> float:
        """Cost of a signature without interventions or moments, the model's forward included."""
        return self._table.get(["free"], lambda _: [round(self._ratios([self.signature([])])[0], 3)])["free"]

    def gate(self, chosen: Chosen) -> float:
        """Cost of a whole gate with these items; its weights do not matter."""
        name = f"gate {self._head}: " + "; ".join(item.name for item in chosen.items)

        def measure(_: list[str]) -> list[float]:
            signature = self.signature(list(chosen.items))
            gate = Gate(
                signature,
                learn.untrained(len(signature.names), self._head),
                clean_scores=torch.zeros(1000),
                threshold=0.0,
                prevalence=0.5,
            )
            return [round(self._ratios([gate.to(self._x.device)], rounds=41)[0], 3)]

        return self._table.get([name], measure)[name]

    def signature(self, items: list[Item]) -> Signature:
        """The signature of these items, run in the chunk that is fastest here."""
        return _signature(self._classifier, items, self.chunk)

    def _ratios(self, modules: list[nn.Module], rounds: int = 11) -> list[float]:
        with torch.inference_mode():
            return ratios(lambda: self._bare(self._x), [partial(m, self._x) for m in modules], rounds=rounds)

    def _best_chunk(self) -> int | None:
        if self._x.device.type != "cpu":
            return None

        def measure(names: list[str]) -> list[float]:
            rows = self._x.repeat(-(-max(_CHUNKS) // len(self._x)), 1, 1, 1)[: max(_CHUNKS)]

            def in_chunks(size: int) -> None:
                for part in rows.split(size):
                    self._classifier.logits(part)

            with torch.inference_mode():
                found = ratios(lambda: self._bare(rows), [partial(in_chunks, size) for size in _CHUNKS], rounds=11)
            return [round(cost, 3) for cost in found]

        costs = self._table.get([f"chunk {size}" for size in _CHUNKS], measure)
        return min(_CHUNKS, key=lambda size: costs[f"chunk {size}"])


def search(
    classifier: Any, sets: dict[str, learn.Sets], meter: Meter, *, recipe: Recipe, budget: float, seed: int
) -> tuple[Chosen, float]:
    """Choose interventions and sites for moments, and measure what the gate with them costs.

    Two greedy searches, by gain and by gain for cost, add one item at a time while the budget lasts; the better wins.
    Costs do not simply add up, so the gate is then measured whole, and the search is repeated with more or less room.
    A recipe that names its interventions is taken at its word, as far as the budget goes. Without attacks there is
    nothing to compare by, and the candidates are taken in the order of `candidates`.

    Args:
        classifier: what is wrapped.
        sets: the splits ``"fit"`` and ``"select"``.
        meter: what measures costs.
        recipe: may name interventions.
        budget: largest cost of a gated forward; may be infinite.
        seed: seed of random interventions.

    Returns:
        What was chosen, and its measured cost.
    """
    if recipe.interventions:
        named = [Item(i.name, i, "") for i in (from_spec(dict(spec)) for spec in recipe.interventions)]
        ledger = {"chosen": [{"name": item.name} for item in named], "considered": []}
        return _shrunk(Chosen(tuple(named), ledger), meter, budget)
    items = candidates(classifier, seed)
    costs = meter.items(items)
    if not recipe.attacks:
        return _within(lambda room: _in_order(items, costs, room), meter, budget)
    tables = {name: _table(classifier, items, part, _ROWS[name], meter.chunk) for name, part in sets.items()}
    columns = _columns(classifier, items)
    objective = Objective(tables["fit"], tables["select"])

    def choose(room: float) -> Chosen:
        runs = [_greedy(items, costs, room, columns, objective, per_cost=per_cost) for per_cost in (True, False)]
        return max(runs, key=lambda run: run.ledger["objective"])

    return _within(choose, meter, budget)


def _within(choose: Callable[[float], Chosen], meter: Meter, budget: float) -> tuple[Chosen, float]:
    """Repeat a choice with the room corrected by what the whole gate was measured to cost; keep the best that fits."""
    aim = budget * (1 - MARGIN)
    room = aim - meter.free()
    fitting: list[tuple[Chosen, float]] = []
    seen: set[tuple[str, ...]] = set()
    chosen = choose(room)
    while len(seen) < _TRIES and (names := tuple(item.name for item in chosen.items)) not in seen:
        seen.add(names)
        cost = meter.gate(chosen)
        if cost <= budget * (1 - MARGIN / 2):
            fitting.append((chosen, cost))
        if math.isinf(budget):
            break
        room += aim - cost
        chosen = choose(room)
    if fitting:
        return max(fitting, key=lambda found: (found[0].ledger.get("objective", 0.0), found[1]))
    return _shrunk(chosen, meter, budget)


def _shrunk(chosen: Chosen, meter: Meter, budget: float) -> tuple[Chosen, float]:
    """Leave out the last items until the whole gate keeps the budget."""
    while (cost := meter.gate(chosen)) > budget and chosen.items:
        logger.info("measured cost %.2f is above the budget; leaving out %s", cost, chosen.items[-1].name)
        chosen = chosen.shrunk()
    if cost > budget:
        logger.warning("the free statistics alone cost %.2f, more than the budget of %.2f", cost, budget)
    return chosen, cost


def candidates(classifier: Any, seed: int) -> list[Item]:
    """Everything that the search considers for a classifier, the usually best first."""
    low, high = classifier.bounds
    small = 0.75 if classifier.elastic else 1.0
    channels, height, width = classifier.input_shape
    noise = {"seed": seed, "channels": channels, "side": max(height, width), "width": high - low}
    at_input: list[Intervention] = [
        Flip(scale=small), BitDepth(bits=4, low=low, high=high, scale=small), Flip(),
        BitDepth(bits=4, low=low, high=high),
        Shift(dx=1, dy=0), Shift(dx=0, dy=1), Shift(dx=-1, dy=-1), Shift(dx=1, dy=1, scale=small),
        Downscale(scale=0.75, restore=not classifier.elastic), Downscale(scale=0.5, restore=not classifier.elastic),
        BitDepth(bits=3, low=low, high=high), GaussianNoise(sigma=0.02, **noise),
        GaussianNoise(sigma=0.05, draws=2, **noise),
        Blur(sigma=0.5), Blur(sigma=0.8), Median(size=2), Contrast(factor=0.7), Grey(), Rotate(degrees=-10),
        Zoom(factor=0.9),
        GridMask(cells=2), GridMask(cells=2, reverse=True), RandomMask(draws=2, seed=seed),
    ]  # fmt: skip
    if classifier.elastic:
        at_input.append(Downscale(scale=0.875))
    items = {item.name: item for item in (Item(i.name, i, "") for i in at_input)}
    shapes = site_shapes(classifier)
    for site in _movable(shapes):
        for intervention in _at_latent(site, shapes[site], classifier, seed):
            items[intervention.name] = Item(intervention.name, intervention, "")
    moments = [Item(f"moments@{site}", None, site) for site in shapes if len(shapes[site]) > 1]
    return [*moments, *items.values()]


def _at_latent(site: str, shape: tuple[int, ...], classifier: Any, seed: int) -> list[Intervention]:
    found: list[Intervention] = [
        Shift(site=site, dx=1, dy=0), Shift(site=site, dx=0, dy=1), Blur(site=site, sigma=0.7),
        Scale(site=site, factor=0.5), Clip(site=site, spread=1.5), AblateChannels(site=site, groups=2),
        Flip(site=site), RandomMask(site=site, draws=2, seed=seed),
        GaussianNoise(site=site, sigma=0.3, seed=seed, channels=shape[0], side=max(shape[1:]), relative=True),
    ]  # fmt: skip
    if classifier.elastic and min(shape[1:]) >= 4:
        found.append(Pool(site=site, size=2))
    return found


def _movable(shapes: dict[str, tuple[int, ...]]) -> list[str]:
    """Feature maps where moving or blurring shows: all but the last before a pooled penultimate layer."""
    maps = [site for site, shape in shapes.items() if len(shape) == 3 and min(shape[1:]) > 1]
    return maps[:-1] if PENULTIMATE in shapes and len(maps) > 1 else maps


def _signature(classifier: Any, items: list[Item], chunk: int | None) -> Signature:
    interventions = [item.intervention for item in items if item.intervention is not None]
    sites = tuple(item.site for item in items if item.intervention is None)
    return Signature(classifier, interventions, sites=sites, chunk=chunk).to(classifier.device)


def _table(
    classifier: Any, items: list[Item], sets: learn.Sets, rows: tuple[int, int], chunk: int | None
) -> learn.Table:
    clean, attacked = rows
    some = {
        name: AttackedSet(twins.attack, twins.x[:attacked], twins.index[:attacked])
        for name, twins in sets.attacked.items()
    }
    return learn.table(_signature(classifier, items, chunk), learn.Sets(sets.clean[:clean], some))


def _columns(classifier: Any, items: list[Item]) -> dict[str, NDArray[np.int64]]:
    """Columns of each item in a signature that has them all; those of the free statistics under the empty name."""
    names = _signature(classifier, items, None).names
    position = {name: i for i, name in enumerate(names)}
    columns = {}
    for item in items:
        if item.intervention is None:
            own = [
                i
                for i, name in enumerate(names)
                if name.startswith(("trace.mean[", "trace.deviation[")) and f"[{item.site}]" in name
            ]
        else:
            own = [position[name] for name in feature_names(item.intervention)]
        columns[item.name] = np.array(own)
    taken = np.concatenate(list(columns.values()))
    columns[""] = np.setdiff1d(np.arange(len(names)), taken)
    return columns


def _greedy(
    items: list[Item],
    costs: dict[str, float],
    room: float,
    columns: dict[str, NDArray[np.int64]],
    objective: Objective,
    *,
    per_cost: bool,
) -> Chosen:
    used, value = columns[""], objective(columns[""])
    start = value
    left, ledger = list(items), []
    chosen: list[Item] = []
    considered: dict[str, float] = {}
    while left and sum(item.intervention is not None for item in chosen) < MOST_INTERVENTIONS:
        left = [item for item in left if costs[item.name] <= room]
        gains = {item.name: objective(np.concatenate([used, columns[item.name]])) - value for item in left}
        considered = considered or gains
        worth = [item for item in left if gains[item.name] >= WORTH]
        if not worth:
            break
        best = max(worth, key=lambda i: gains[i.name] / (max(costs[i.name], 0.02) if per_cost else 1.0))
        chosen.append(best)
        ledger.append({"name": best.name, "cost": costs[best.name], "gain": round(gains[best.name], 5)})
        used, value = np.concatenate([used, columns[best.name]]), value + gains[best.name]
        room -= costs[best.name]
        promising = sorted(left, key=lambda i: -gains[i.name])[: max(12, len(left) * 2 // 3)]
        left = [item for item in promising if item is not best]
    alone = [
        {"name": item.name, "cost": costs[item.name], "gain": round(considered[item.name], 5)}
        for item in items
        if item.name in considered
    ]
    return Chosen(
        tuple(chosen),
        {"free": round(start, 5), "objective": round(value, 5), "chosen": ledger, "considered": alone},
    )


def _in_order(items: list[Item], costs: dict[str, float], room: float) -> Chosen:
    chosen: list[Item] = []
    limit = MOST_INTERVENTIONS if math.isinf(room) else len(items)
    for item in items:
        if item.intervention is not None and costs[item.name] <= room and len(chosen) < min(limit, 4):
            chosen.append(item)
            room -= costs[item.name]
    ledger = [{"name": item.name, "cost": costs[item.name]} for item in chosen]
    return Chosen(tuple(chosen), {"chosen": ledger, "considered": []})
