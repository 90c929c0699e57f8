"""Why inputs were judged as they were: maps, and what carried the scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor

from ce_detect.classifiers.base import INPUT, Classifier
from ce_detect.core.errors import UsageError
from ce_detect.core.types import Floats
from ce_detect.data import tensors
from ce_detect.data.lazy import Pixels
from ce_detect.detector.detector import Verdict
from ce_detect.detector.gate import GateModule
from ce_detect.explain.attribution import Carried, carried
from ce_detect.explain.concepts import ConceptEffects, concept_effects
from ce_detect.explain.effect_maps import MAPS, EffectMaps, effect_maps
from ce_detect.explain.methods import method as method_named
from ce_detect.explain.sanity import rank_correlation
from ce_detect.explain.stability import AfterAttack, weakened
from ce_detect.verdict.result import GateResult


class ExplanationOptions(TypedDict, total=False):
    """What an explanation is asked for, see `explain`."""

    baseline: str
    site: str
    seed: int
    label: int | None
    method: str | Sequence[str]
    concepts: Pixels | None
    attack: float | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why some inputs were judged as they were.

    Attributes:
        result: the verdicts.
        maps: where effects sit, see `ce_detect.explain.effect_maps.EffectMaps`.
        carried: for each input what carried its score, the largest share first.
        pixels: the inputs ``(batch, channels, height, width)``.
        other_maps: maps ``(batch, height, width)`` of the same labels by other methods, by name of the method.
        likeness: Spearman's rank correlation of each of them with our target map, for each input.
        concepts: what decisions owe to learned concepts; None where that was not asked for.
        clean: the images by which these are ranked; None where there are none.
        after: the same maps after an attack that keeps the labels; None where that was not asked for.
    """

    result: GateResult
    maps: EffectMaps
    carried: list[list[Carried]]
    pixels: Floats
    other_maps: Mapping[str, Floats] = field(default_factory=dict)
    likeness: Mapping[str, list[float]] = field(default_factory=dict)
    concepts: ConceptEffects | None = None
    clean: Pixels | None = None
    after: AfterAttack | None = None

    def to_dict(self) -> list[dict[str, Any]]:
        """Plain data for JSON, an entry an input; maps are nested lists."""
        columns = ("label", "score", "p_value", "is_adversarial")
        verdicts = {name: np.asarray(getattr(self.result, name)).tolist() for name in columns}
        return [
            {
                **{name: values[place] for name, values in verdicts.items()},
                "threshold": self.result.threshold,
                "carried": [
                    {"name": part.name, "share": part.share, "effect": part.effect, "words": part.words}
                    for part in parts
                ],
                "maps": _maps(self._every_map(), place),
                "rank_correlation": _rounded(self.likeness, place),
                "explained_label": int(self.maps.label[place]),
                "site": self.maps.site,
                "baseline": self.maps.baseline,
                **({} if self.after is None else {"after_attack": _plain(self.after, place)}),
            }
            for place, parts in enumerate(self.carried)
        ]

    def _every_map(self) -> dict[str, Floats]:
        """All maps ``(batch, height, width)`` by name."""
        return {**{name: np.asarray(getattr(self.maps, name).cpu()) for name in MAPS}, **self.other_maps}


def _plain(after: AfterAttack, place: int) -> dict[str, Any]:
    return {
        "eps": after.eps, "maps": _maps(after.maps, place), "rank_correlation": _rounded(after.likeness, place),
    }  # fmt: skip


def _maps(found: Mapping[str, Floats], place: int) -> dict[str, Any]:
    return {name: maps[place].round(6).tolist() for name, maps in found.items()}


def _rounded(likeness: Mapping[str, list[float]], place: int) -> dict[str, float]:
    return {name: round(values[place], 4) for name, values in likeness.items()}


def explain(
    gate: GateModule,
    x: Any,
    *,
    baseline: str = "mean",
    site: str = INPUT,
    seed: int = 0,
    label: int | None = None,
    method: str | Sequence[str] = (),
    concepts: Pixels | None = None,
    attack: float | None = None,
) -> Explanation:
    """Explain verdicts on a few inputs: a map takes some hundred forward passes an input.

    Args:
        gate: a calibrated gate.
        x: NumPy array or tensor ``(batch, channels, height, width)``, within the bounds.
        baseline: what is put in the place of what is hidden: ``"mean"``, ``"blur"`` or ``"noise"``.
        site: where it is hidden: the input, or a layer with a feature map.
        seed: of the noise, and of what is learned of concepts.
        label: the class whose evidence the maps show, by default each input's decision. What carried the score is of
            the decision always.
        method: further methods of explanation by name, see `ce_detect.explain.methods.METHODS`; each adds a map of the
            same labels.
        concepts: clean images by which learned concepts are ranked, see `ce_detect.explain.concepts.concept_effects`.
        attack: make the maps again after an attack of this size that keeps the decision, in parts of the pixel range.

    Raises:
        InputError: inputs that cannot be judged.
        UsageError: a baseline, site, label or method that there is not, or one that needs gradients that there are not.
        MissingExtraError: Captum is not installed.
    """
    classifier = gate.signature.classifier
    checked = tensors.checked(x, input_shape=classifier.input_shape, bounds=classifier.bounds).to(classifier.device)
    methods = [method_named(name) for name in ([method] if isinstance(method, str) else method)]
    for one in methods:
        one.check(classifier)
    labels = _labels(classifier, label, len(checked))
    moved = None if attack is None else weakened(classifier, checked, attack)

    def made(pixels: Tensor, classes: Tensor | None) -> tuple[EffectMaps, dict[str, Tensor]]:
        own = effect_maps(classifier, pixels, baseline=baseline, site=site, seed=seed, labels=classes)
        return own, {one.name: one.maps(classifier, pixels, own.label).cpu() for one in methods}

    maps, others = made(checked, labels)
    likeness = {name: rank_correlation(maps.target, other).tolist() for name, other in others.items()}
    after = None
    if attack is not None and moved is not None:
        after = _after(attack, moved, {"target": maps.target, **others}, made(moved, maps.label))
    with torch.no_grad():
        judged = [gate.signature(part) for part in checked.split(gate.signature.batch)]
        features = torch.cat([found for _, found in judged])
        verdict = gate.verdict(torch.cat([z for z, _ in judged]), features)
    arrays = [column.cpu().numpy() for column in verdict]
    result = GateResult(**dict(zip(Verdict._fields, arrays, strict=True)), threshold=float(gate.threshold))
    ranked = None if concepts is None else concept_effects(gate, concepts, seed=seed)
    return Explanation(
        result, maps, carried(gate, features), checked.cpu().numpy(),
        {name: other.numpy() for name, other in others.items()}, likeness, ranked, concepts, after,
    )  # fmt: skip


def _after(
    eps: float, moved: Tensor, before: Mapping[str, Tensor], now: tuple[EffectMaps, dict[str, Tensor]]
) -> AfterAttack:
    """Maps of moved inputs beside those before."""
    maps = {"target": now[0].target, **now[1]}
    likeness = {name: rank_correlation(before[name], found).tolist() for name, found in maps.items()}
    return AfterAttack(eps, moved.cpu().numpy(), {name: found.cpu().numpy() for name, found in maps.items()}, likeness)


def _labels(classifier: Classifier, label: int | None, count: int) -> Tensor | None:
    """One class for all inputs ``(count,)``; None for the decision of each."""
    if label is None:
        return None
    if isinstance(label, bool) or not isinstance(label, int) or not 0 <= label < classifier.num_classes:
        kind = "labels" if classifier.multi_label else "classes"
        watched = (
            "" if classifier.label is None else f" (label {classifier.label} of the model: 1 where it holds, else 0)"
        )
        raise UsageError(
            f"label = {label!r}, expected a number from 0 to {classifier.num_classes - 1}: the classifier has "
            f"{classifier.num_classes} {kind}{watched}"
        )
    return torch.full((count,), label, device=classifier.device)
