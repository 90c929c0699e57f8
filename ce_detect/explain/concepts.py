"""Expected causal effects of concepts: what a decision owes to each channel of an autoencoder that is inserted.

The autoencoder is that of `ce_detect.interventions.concept.AblateConcept`: the one of the gate, where its search chose
one, or else one that is learned here. Of an image, with probabilities ``p`` and log-odds ``o`` of the labels with the
autoencoder inserted, and ``o'`` with one concept set to zero besides, the causal effect of the concept is

    ``sum over k of p_k (o_k - o'_k)``

and the expected one its mean over images. The code of Yang et al. 2019, arXiv 1902.03380, has ``<p' - p, p>``: the same
on probabilities, where saturation hides it, and with the other sign. Positive: decisions rest on the concept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, TypedDict, Unpack

import numpy as np
import torch
from torch import Tensor

from ce_detect.classifiers.base import Classifier, movable, site_shapes
from ce_detect.classifiers.log_odds import every_log_odds, probabilities
from ce_detect.core.errors import UsageError
from ce_detect.core.types import Index
from ce_detect.data import tensors, validation
from ce_detect.data.lazy import Pixels, rows
from ce_detect.data.splits import split_by_identity
from ce_detect.detector.gate import GateModule
from ce_detect.fitting.interventions import teach
from ce_detect.interventions import AblateConcept

BATCH = 64
"""Images at a time."""

CONCEPTS, SHOWN = 8, 5
"""Concepts that are learned, and images that are named for each, where nothing else is asked for."""

LEAST = 16
"""Clean images below which nothing is learned or ranked."""


class ConceptOptions(TypedDict, total=False):
    """What a ranking of concepts is asked for, see `concept_effects`."""

    site: str | None
    concepts: int
    shown: int
    seed: int


@dataclass(frozen=True, slots=True)
class Concept:
    """One concept.

    Attributes:
        number: its channel.
        effect: expected causal effect, in log-odds.
        scatter: standard deviation of the effect over the images.
        moves: share of images whose decision changes without the concept.
        images: positions of the images that excite it most among those that were given, the most excited first.
        excitation: mean of the concept over its places in these images.
        places: the concept in these images, ``(images, height, width)`` at the site, as nested lists.
        words: the effect as a sentence.
    """

    number: int
    effect: float
    scatter: float
    moves: float
    images: list[int]
    excitation: list[float]
    places: list[list[list[float]]]
    words: str


@dataclass(frozen=True, slots=True)
class ConceptEffects:
    """Concepts of a classifier, the largest expected effect first.

    Attributes:
        site: where the autoencoder is inserted.
        own: whether the autoencoder is the gate's own; else it was learned for this ranking.
        ranked_by: number of images whose effects were averaged; the autoencoder was not learned from them here.
        agreement: share of these whose decision stays when the autoencoder is inserted. Where it is low, the concepts
            say little of the classifier itself.
        concepts: all of them.
    """

    site: str
    own: bool
    ranked_by: int
    agreement: float
    concepts: list[Concept]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def concept_effects(gate: GateModule, x: Pixels, **options: Unpack[ConceptOptions]) -> ConceptEffects:
    """Rank concepts by their expected causal effect on the decisions about clean images.

    Args:
        gate: a calibrated gate; one that intervenes by concepts at the site lends its autoencoder.
        x: clean images ``(n, channels, height, width)``. Half of them learn the autoencoder and the others rank its
            concepts; equal images stay together.
        options: ``site`` is where, a layer with a feature map, by default where the gate's own concepts are or else
            where the search looks for them; ``concepts`` how many are learned, 8 by default; ``shown`` how many of the
            images that excite a concept most are named, 5 by default; ``seed`` that of halves and learning.

    Raises:
        InputError: images that cannot be judged.
        UsageError: no such site, too few images, or a classifier for which no autoencoder can be learned.
    """
    classifier, seed = gate.signature.classifier, options.get("seed", 0)
    site = options.get("site")
    validation.check_all(x, input_shape=classifier.input_shape, bounds=classifier.bounds)
    inside = [one for one in gate.signature.interventions if isinstance(one, AblateConcept)]
    known = [one for one in inside if site in (None, one.site)]
    if len(x) < LEAST:
        raise UsageError(f"{len(x)} clean images are too few to rank concepts by; give {LEAST} or more")
    halves = split_by_identity(x, {"learn": 0.5, "rank": 0.5}, seed)
    if known:
        autoencoder = known[0]
    else:
        autoencoder = _taught(classifier, rows(x, halves["learn"]), site, options.get("concepts", CONCEPTS), seed)
    ranked = halves["rank"]
    parts = [torch.cat(part) for part in zip(*_measured(classifier, autoencoder, rows(x, ranked)), strict=True)]
    shown = options.get("shown", SHOWN)
    found = [_concept(number, ranked, parts, shown) for number in range(parts[0].shape[1])]
    agreement = round(float(parts[2].float().mean()), 4)
    found.sort(key=lambda one: -one.effect)
    return ConceptEffects(autoencoder.site, bool(known), len(ranked), agreement, found)


def _taught(classifier: Classifier, x: Pixels, site: str | None, concepts: int, seed: int) -> AblateConcept:
    """An autoencoder as the search inserts it."""
    shapes = site_shapes(classifier)
    maps = {name: shape[0] for name, shape in shapes.items() if len(shape) == 3}
    if not maps:
        raise UsageError("concepts need a layer with a feature map, and this classifier has none that can be reached")
    site = (movable(shapes) or [*maps])[-1] if site is None else site
    if site not in maps:
        raise UsageError(f"site = {site!r} has no feature map, which concepts need; expected one of {', '.join(maps)}")
    made = AblateConcept(site=site, channels=maps[site], concepts=min(concepts, maps[site]))
    if not teach(classifier, [made], x, seed=seed):
        raise UsageError(
            "no concepts can be learned for this classifier: it is too large to learn from in a few steps, or gives no "
            "gradients, as an ONNX graph that could not be converted to PyTorch"
        )
    return made


def _measured(classifier: Classifier, made: AblateConcept, x: Pixels) -> Iterator[tuple[Tensor, ...]]:
    """Of batches: effects, whether decisions move ``(batch, concepts)``, whether insertion keeps them, concepts."""
    with torch.inference_mode():
        for images in tensors.batches(x, BATCH, classifier.device):
            z, latents = classifier.trace(images, (made.site,))
            h = latents[made.site]
            inserted, *without = classifier.resume(made.site, made(h), images).unflatten(0, (made.draws, -1))
            effects = torch.stack([_effect(classifier, inserted, one) for one in without], dim=1)
            moves = torch.stack([one.argmax(1) != inserted.argmax(1) for one in without], dim=1)
            yield effects.cpu(), moves.cpu(), (z.argmax(1) == inserted.argmax(1)).cpu(), made.encode(h).cpu()


def _effect(classifier: Classifier, z: Tensor, z_do: Tensor) -> Tensor:
    """``sum over k of p_k (o_k - o'_k)`` ``(batch,)`` of logits ``(batch, classes)``."""
    o, o_do = (every_log_odds(one, multi_label=classifier.multi_label) for one in (z, z_do))
    return (probabilities(z, multi_label=classifier.multi_label) * (o - o_do)).sum(1)


def _concept(number: int, positions: Index, parts: list[Tensor], shown: int) -> Concept:
    effects, moves, places = parts[0][:, number], parts[1][:, number], parts[3][:, number]
    excited = places.mean((1, 2))
    most = excited.argsort(descending=True, stable=True)[:shown]
    effect = float(effects.mean())
    way = "weaker" if effect >= 0 else "stronger"
    return Concept(
        number=number,
        effect=round(effect, 4),
        scatter=round(float(effects.std()), 4),
        moves=round(float(moves.float().mean()), 4),
        images=[int(positions[place]) for place in most.tolist()],
        excitation=[round(float(one), 4) for one in excited[most]],
        places=np.round(places[most].numpy().astype(np.float64), 3).tolist(),
        words=f"without concept {number} decisions are {way} by {abs(effect):.2f} log-odds on average",
    )
