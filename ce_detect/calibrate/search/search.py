"""Which interventions are worth their cost for this model, within the budget that the user names."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from ce_detect.calibrate.cost.pytorch import SIGNATURES_A_TURN, Meter
from ce_detect.calibrate.dataset import CalibrationData
from ce_detect.calibrate.items import Item, columns_of
from ce_detect.calibrate.search import budget, counterfactual
from ce_detect.calibrate.search.candidates import candidates, completed, learnable
from ce_detect.calibrate.search.comparison import Comparison
from ce_detect.calibrate.search.greedy import MOST_IN_ORDER, best_found, finalists, in_order
from ce_detect.calibrate.search.ledger import Chosen, by_family, considered
from ce_detect.calibrate.search.objective import Objective
from ce_detect.calibrate.settings import CalibrationSettings
from ce_detect.classifiers.base import Classifier
from ce_detect.core.errors import CalibrationError
from ce_detect.core.progress import quiet, shares
from ce_detect.core.types import Progress
from ce_detect.data import rows
from ce_detect.fitting import feature_tables, layer_consistency, shapley
from ce_detect.fitting import interventions as learning
from ce_detect.interventions import AblateConcept, LearnedIntervention, RobustCopy

logger = logging.getLogger("ce_detect")

COMPARED_IMAGES = {"fit": (360, 110), "select": (240, 100)}
"""Clean inputs, variants included, and attacked ones of each attack, on which candidates are compared."""

FINAL_IMAGES = {"fit": (900, 260), "select": (450, 180)}
"""The same for those that do best: with few images a signature with many features looks worse than it is."""

COMPARED_VARIANTS = 3
"""Variants of each clean input among these: the first after natural change, and the control."""

STAGES = {
    "learning interventions": 0.05,
    "timing interventions": 0.2,
    "trying them on fit": 0.2,
    "trying them on select": 0.1,
    "trying the best on fit": 0.1,
    "trying the best on select": 0.05,
    "choosing": 0.3,
}
"""What is done one after the other, and about which share of the time it takes."""


def search(
    classifier: Classifier,
    data: CalibrationData,
    meter: Meter,
    settings: CalibrationSettings,
    *,
    cache: Path,
    required: Sequence[Item] = (),
) -> Chosen:
    """Choose interventions and statistics with which the gate keeps a budget.

    Interventions that are learned are learned first, from the clean images of *fit*. All are compared on some images,
    and those that do best on more. Greedy choices then add one item at a time while the budget lasts; the best of them
    wins. Costs do not simply add up, so the gate is then measured whole, and the choice is repeated with more or less
    room. What is dearer than the budget leaves is not tried, as trying takes longer than all else. What cannot be
    exported is measured and reported, but never chosen: only a recipe can ask for it. A recipe that names its
    interventions is taken at its word, as far as the budget goes. Without attacks there is nothing to compare by, and
    the candidates are taken in the order of `candidates`.

    Args:
        classifier: what is wrapped.
        data: images of the calibration; *fit* and *select* are looked at.
        meter: what measures costs.
        settings: their recipe may name interventions; a seed named there is taken at its word.
        cache: folder where signatures of candidates are kept.
        required: what comes first, as far as the budget goes, whatever it is worth.

    Returns:
        What was chosen, by what the whole signature is worth also where a cascade will show it to some inputs only. Its
        ledger holds all that was tried, see `ce_detect.calibrate.search.ledger.considered`, and what was too dear.

    Raises:
        CalibrationError: a recipe names an intervention that cannot be made or learned for this classifier.
    """
    told = _stages(settings.progress or quiet)
    told["learning interventions"](0.0)
    if settings.recipe.interventions:
        return _named(classifier, data, meter, settings, required)
    if not settings.recipe.attacks:
        return _in_order(classifier, meter, settings, required)
    most, a_pass = budget.room(meter, settings.budget), meter.another()

    def affordable(item: Item) -> bool:
        return item in required or item.passes * a_pass <= most

    proposed, autoencoders = _proposed(classifier, data, settings, required, affordable)
    timed = [item for item in proposed if affordable(item)]
    costs = meter.items(timed, told["timing interventions"])
    tried = [item for item in timed if item in required or costs[item.name] <= most]
    compared_on = partial(_compared, costs=costs, data=data, meter=meter, cache=cache, told=told)
    compared = compared_on(COMPARED_IMAGES, tried, which="them")
    final = compared_on(FINAL_IMAGES, finalists(compared, required, most), which="the best")
    told["choosing"](0.0)
    chosen = budget.within(partial(best_found, final, required), meter, settings.budget)
    entries = considered(compared, chosen, room=most)
    for family, best in by_family(entries).items():
        logger.info("best of %s: %s", family, best)
    left = [(item, costs.get(item.name, item.passes * a_pass)) for item in proposed if item not in tried]
    dear = [{"name": item.name, "family": item.family, "cost": cost} for item, cost in left]
    return Chosen(chosen.items, {**chosen.ledger, "considered": entries, "too_dear": dear, "learned": autoencoders})


def _compared(
    images: Mapping[str, tuple[int, int]], items: Sequence[Item], costs: Mapping[str, float], data: CalibrationData,
    meter: Meter, cache: Path, told: Mapping[str, Callable[[float], None]], which: str,
) -> Comparison:  # fmt: skip
    """Items side by side on some of the images.

    Args:
        images: how many of each split, see `COMPARED_IMAGES`.
        items: what is compared.
        costs: of each by name.
        data: where the images are from.
        meter: what makes their signatures.
        cache: folder where these are kept.
        told: what tells progress, by stage.
        which: items these are, as `STAGES` calls them.
    """
    signature, tables = meter.signature(items), {}
    for split, sets in data.sets.items():
        some = _some(sets, *images[split])
        tables[split] = feature_tables.table(signature, some, cache, told[f"trying {which} on {split}"])
    objective = Objective(tables["fit"], tables["select"])
    return Comparison(items, costs, columns_of(items, signature.names), objective)


def _stages(progress: Progress) -> dict[str, Callable[[float], None]]:
    """What tells that a share of each stage is done."""
    starts = accumulate(STAGES.values(), initial=0.0)
    return {
        stage: shares(progress, f"search: {stage}", start, size)
        for (stage, size), start in zip(STAGES.items(), starts, strict=False)
    }


def _named(
    classifier: Classifier, data: CalibrationData, meter: Meter, settings: CalibrationSettings, required: Sequence[Item]
) -> Chosen:
    """What the recipe names, as far as the budget goes."""
    specs = settings.recipe.interventions
    if any(spec.get("kind") == RobustCopy.__name__ for spec in specs):
        raise CalibrationError("the recipe names RobustCopy, which hardening adds by itself: ask for harden = 1")
    items = [*required, *(Item.of(completed(spec, classifier, settings.drawn)) for spec in specs)]
    named = list({item.name: item for item in items}.values())  # two may be one at another size
    able, autoencoders = _taught(classifier, named, data, settings)
    if lost := [item.name for item in named if item not in able]:
        raise CalibrationError(f"the recipe names {lost[0]}, which cannot be learned for this classifier")
    ledger = {"chosen": [{"name": item.name} for item in named], "considered": [], "learned": autoencoders}
    chosen = budget.shortened(Chosen(tuple(named), ledger), meter, settings.budget)
    if len(chosen.items) <= len(required):
        cost = meter.cost(tuple(named[: len(required) + 1]), settings.budget)
        logger.warning(
            "no intervention that recipe %r names keeps the budget of %.2f, so the gate looks at one forward pass "
            "alone and finds less. With the first it would cost %.2f: ask for that, or take a recipe that names none, "
            "such as 'quick', in which a search finds cheaper ones",
            settings.recipe.name, settings.budget, cost,
        )  # fmt: skip
    return chosen


def _in_order(classifier: Classifier, meter: Meter, settings: CalibrationSettings, required: Sequence[Item]) -> Chosen:
    """The first candidates that the budget has room for."""
    items = [*required, *candidates(classifier, settings.drawn)]
    items = [item for item in items if item.intervention is not None and item.exportable]
    room = budget.room(meter, settings.budget)
    costs: dict[str, float] = {}
    for end in range(SIGNATURES_A_TURN, len(items) + SIGNATURES_A_TURN, SIGNATURES_A_TURN):  # timing takes long
        costs |= meter.items(items[end - SIGNATURES_A_TURN : end])
        if len(in_order(items[:end], costs, room).items) == MOST_IN_ORDER:
            break
    timed = [item for item in items if item.name in costs]
    return budget.within(partial(in_order, timed, costs), meter, settings.budget)


def _proposed(
    classifier: Classifier, data: CalibrationData, settings: CalibrationSettings, required: Sequence[Item],
    affordable: Callable[[Item], bool],
) -> tuple[list[Item], list[dict[str, Any]]]:  # fmt: skip
    """Everything that might be compared, learned as far as it is affordable; and how the inserted autoencoders do."""
    items = [*required, *candidates(classifier, settings.drawn)]
    items += counterfactual.items(classifier, settings.counterfactual)
    pupils = learnable(classifier)
    able, autoencoders = _taught(classifier, [item for item in pupils if affordable(item)], data, settings)
    able += [item for item in pupils if not affordable(item)]
    recovery = layer_consistency.fitted(classifier, data.sets["fit"].clean)
    if recovery is not None:
        able.append(Item("recovery", layer_consistency=recovery))
    values = shapley.fitted(classifier, data.sets["fit"].clean)
    if values is not None:
        able.append(Item("shapley", shapley=values))
    return [*items, *able], autoencoders


def _taught(
    classifier: Classifier, items: list[Item], data: CalibrationData, settings: CalibrationSettings
) -> tuple[list[Item], list[dict[str, Any]]]:
    """Learn what is to be learned; return the items that can be used, and how the inserted autoencoders do."""
    pupils = [item.intervention for item in items if isinstance(item.intervention, LearnedIntervention)]
    able = learning.teach(classifier, pupils, data.sets["fit"].clean, seed=settings.seed)
    usable = [item for item in items if item.intervention not in pupils or item.intervention in able]
    clean, labels = data.sets["select"].clean, data.labels("select")
    figures = [
        {"name": pupil.name, **learning.inserted(classifier, pupil, clean, labels)}
        for pupil in able
        if isinstance(pupil, AblateConcept) and len(clean)
    ]
    return usable, figures


def _some(sets: feature_tables.Sets, clean: int, attacked: int) -> feature_tables.Sets:
    """Some images of a split in all their variants: enough to compare candidates by."""
    some = {name: twins.subset(_every_so_many(len(twins), attacked)) for name, twins in sets.attacked.items()}
    if sets.corrupted is None or not sets.variants:
        return feature_tables.Sets(sets.clean[:clean], some)
    turns = sorted({*range(min(sets.variants, COMPARED_VARIANTS) - 1), sets.variants - 1})  # the last is the control
    images = np.arange(min(len(sets.clean), clean // (1 + len(turns))))
    variants = np.concatenate([turn * len(sets.clean) + images for turn in turns])
    return feature_tables.Sets(sets.clean[: len(images)], some, rows(sets.corrupted, variants))


def _every_so_many(size: int, most: int) -> slice:
    """Every so many of them, so that at most so many are taken: what comes first is fresh, what comes last is not."""
    return slice(None, None, max(1, math.ceil(size / most)))
