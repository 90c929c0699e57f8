"""Why inputs were judged as they were: maps, and what carried the scores."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, TypedDict

import numpy as np
import torch
from torch import Tensor

from ce_detect.classifiers.base import INPUT, Classifier
from ce_detect.core.errors import UsageError
from ce_detect.core.types import Floats
from ce_detect.data import tensors
from ce_detect.data.images import Images, Originals
from ce_detect.data.lazy import Pixels
from ce_detect.detector.detector import Verdict
from ce_detect.detector.gate import GateModule
from ce_detect.explain.attribution import Carried, carried
from ce_detect.explain.clean_inputs import CleanInputs, clean_inputs
from ce_detect.explain.concepts import ConceptEffects, concept_effects
from ce_detect.explain.effect_maps import MAPS, EffectMaps, effect_maps
from ce_detect.explain.methods import method as method_named
from ce_detect.explain.methods.base import Method, refuse_constant
from ce_detect.explain.originals import described, enlarged
from ce_detect.explain.sanity import rank_correlation
from ce_detect.explain.stability import AfterAttack, weakened
from ce_detect.interventions import AblateConcept
from ce_detect.verdict.result import GateResult

logger = logging.getLogger("ce_detect")


class ExplanationOptions(TypedDict, total=False):
    """What an explanation is asked for, see `explain`."""

    baseline: str
    site: str
    seed: int
    label: int | None
    method: str | Sequence[str]
    concepts: Pixels | None
    attack: float | None
    clean: Pixels | None


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
        ranked_by: the images by which these are ranked; None where there are none.
        after: the same maps after an attack that keeps the labels; None where that was not asked for.
        left_out: what was asked for and needs gradients that the classifier has not.
        clean: clean inputs that these are held against; None where there are none.
        originals: the images that inputs were made of; None where they had the size of an input, or were not kept.
    """

    result: GateResult
    maps: EffectMaps
    carried: list[list[Carried]]
    pixels: Floats
    other_maps: Mapping[str, Floats] = field(default_factory=dict)
    likeness: Mapping[str, list[float]] = field(default_factory=dict)
    concepts: ConceptEffects | None = None
    ranked_by: Pixels | None = None
    after: AfterAttack | None = None
    left_out: tuple[str, ...] = ()
    clean: CleanInputs | None = None
    originals: Originals | None = None

    def original_maps(self, place: int) -> dict[str, Floats]:
        """All maps of one input by name ``(height, width)``, in the size of the image that the input was made of.

        They are NaN where the image was cut off. Without originals they have the size of the input.
        """
        found = {name: maps[place] for name, maps in self._every_map().items()}
        if self.originals is None:
            return found
        image, part = self.originals.shown(place)
        return {name: enlarged(values, image.shape[:2], part) for name, values in found.items()}

    def to_dict(self) -> list[dict[str, Any]]:
        """Plain data for JSON, an entry an input; maps are nested lists."""
        columns = ("label", "score", "p_value", "is_adversarial")
        verdicts = {name: np.asarray(getattr(self.result, name)).tolist() for name in columns}
        return [
            {
                **{name: values[place] for name, values in verdicts.items()},
                "threshold": self.result.threshold,
                "carried": [asdict(part) for part in parts],
                "maps": _maps(self._every_map(), place),
                "rank_correlation": _rounded(self.likeness, place),
                "explained_label": int(self.maps.label[place]),
                "site": self.maps.site,
                "baseline": self.maps.baseline,
                **({} if self.originals is None else {"original": described(*self.originals.shown(place))}),
                **({} if self.clean is None else {"typical_clean_input": self.clean.typical(verdicts["label"][place])}),
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
    clean: Pixels | None = None,
) -> Explanation:
    """Explain verdicts on a few inputs: a map takes some hundred forward passes an input.

    What needs gradients is left out where the classifier has none, and the explanation says so.

    Args:
        gate: a calibrated gate.
        x: NumPy array or tensor ``(batch, channels, height, width)``, within the bounds; or images, with what they were
            made of where that was kept.
        baseline: what is put in the place of what is hidden: ``"mean"``, ``"blur"`` or ``"noise"``.
        site: where it is hidden: the input, or a layer with a feature map.
        seed: of the noise, and of what is learned of concepts.
        label: the class whose evidence the maps show, by default each input's decision. What carried the score is of
            the decision always.
        method: further methods of explanation by name, see `ce_detect.explain.methods.METHODS`; each adds a map of the
            same labels.
        concepts: clean images by which learned concepts are ranked, see `ce_detect.explain.concepts.concept_effects`.
        attack: make the maps again after an attack of this size that keeps the decision, in parts of the pixel range.
        clean: clean images to hold effects against by class; without them, what is usual is that of all classes.

    Raises:
        InputError: inputs that cannot be judged, or one that is constant.
        UsageError: a baseline, site, label or method that there is not.
        MissingExtraError: Captum is not installed.
    """
    classifier = gate.signature.classifier
    x, originals = (x.x, x.originals) if isinstance(x, Images) else (x, None)
    checked = tensors.checked(x, input_shape=classifier.input_shape, bounds=classifier.bounds).to(classifier.device)
    refuse_constant(checked)
    methods = [method_named(name) for name in ([method] if isinstance(method, str) else method)]
    asked = _possible(gate, _Asked(methods, attack, concepts))
    labels = _labels(classifier, label, len(checked))
    moved = None if asked.attack is None else weakened(classifier, checked, asked.attack)

    def made(pixels: Tensor, classes: Tensor | None) -> tuple[EffectMaps, dict[str, Tensor]]:
        own = effect_maps(classifier, pixels, baseline=baseline, site=site, seed=seed, labels=classes)
        return own, {one.name: one.maps(classifier, pixels, own.label).cpu() for one in asked.methods}

    maps, others = made(checked, labels)
    after = None
    if asked.attack is not None and moved is not None:
        after = _after(asked.attack, moved, {"target": maps.target, **others}, made(moved, maps.label))
    result, features = _judged(gate, checked)
    beside = None if clean is None else clean_inputs(gate, clean)
    return Explanation(
        result,
        maps,
        carried(gate, features, None if beside is None else [beside.of_class(int(one)) for one in result.label]),
        pixels=checked.cpu().numpy(),
        other_maps={name: other.numpy() for name, other in others.items()},
        likeness={name: rank_correlation(maps.target, other).tolist() for name, other in others.items()},
        concepts=None if asked.concepts is None else concept_effects(gate, asked.concepts, seed=seed),
        ranked_by=asked.concepts,
        after=after,
        left_out=asked.left_out,
        clean=beside,
        originals=originals,
    )


class _Asked(NamedTuple):
    """What takes gradients, as it was asked for, and what of it is left out."""

    methods: list[Method]
    attack: float | None
    concepts: Pixels | None
    left_out: tuple[str, ...] = ()


def _possible(gate: GateModule, asked: _Asked) -> _Asked:
    """Leave out what needs gradients, where the classifier has none; concepts of the gate's own need none."""
    if gate.signature.classifier.differentiable:
        return asked
    own = any(isinstance(one, AblateConcept) for one in gate.signature.interventions)
    left_out = [one.title for one in asked.methods if one.gradients]
    left_out += [] if asked.attack is None else ["maps after an attack"]
    left_out += [] if asked.concepts is None or own else ["concepts"]
    if left_out:
        logger.warning("left out, as the classifier has no gradients: %s", ", ".join(left_out))
    methods = [one for one in asked.methods if not one.gradients]
    return _Asked(methods, None, asked.concepts if own else None, tuple(left_out))


def _judged(gate: GateModule, x: Tensor) -> tuple[GateResult, Tensor]:
    """Verdicts, and the signatures that they come from."""
    with torch.no_grad():
        judged = [gate.signature(part) for part in x.split(gate.signature.batch)]
        features = torch.cat([found for _, found in judged])
        verdict = gate.verdict(torch.cat([z for z, _ in judged]), features)
    arrays = [column.cpu().numpy() for column in verdict]
    return GateResult(**dict(zip(Verdict._fields, arrays, strict=True)), threshold=float(gate.threshold)), features


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
