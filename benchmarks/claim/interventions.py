"""What is done to an image, a family at a time, and what is measured of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.face import (
    EFFECTS,
    Classifier,
    ExecutionPlan,
    Floats,
    Images,
    completed,
    effects,
    log_odds,
    movable,
    site_shapes,
    teach,
    tensors,
)
from benchmarks.subjects.settings import SEED

BATCH, CHUNK = 16, 64
"""Images that all interventions are done on at a time, and rows that are judged at a time."""

MEASURED = ("target effect", "non-target effect", "rival rise", "divergence", "agreement")
"""Effects that are compared, see `ce_detect.features.effects`; the target logit is left out: it is part of others."""

FALL, DISPERSION, DISPERSION_OF_FALL = "probability fall", "dispersion", "dispersion of probability falls"
"""The same question asked of probabilities, and how far the draws of one intervention lie apart."""

WITHOUT, CONFIDENCE = "none", "log-odds"
"""What stands beside the effects: the log-odds of the decision, without any intervention."""

AT_THE_INPUT: tuple[dict[str, Any], ...] = (
    {"kind": "Downscale", "scale": 0.75},
    {"kind": "Downscale", "scale": 0.5},
    {"kind": "Flip"},
    {"kind": "Shift", "dx": 1, "dy": 0},
    {"kind": "Blur", "sigma": 0.8},
    {"kind": "BitDepth", "bits": 4},
    {"kind": "GaussianNoise", "sigma": 0.05},
    {"kind": "GridMask", "cells": 2},
    {"kind": "GridMask", "cells": 4},
)
"""Fixed beforehand: what the search proposes first in each family, and the masks of the paper."""

AT_A_LAYER: tuple[dict[str, Any], ...] = (
    {"kind": "Scale", "factor": 0.5},
    {"kind": "AblateChannels", "groups": 2},
    {"kind": "AblateConcept"},
)
"""The same at the last feature map that is not pooled yet; the last one is the paper's autoencoder."""

FAMILIES = ("resolution", "geometry", "photometric", "noise", "masking", "latent", "concept")
"""In the order of the tables."""


@dataclass(frozen=True)
class Measured:
    """What one intervention did to some images.

    Attributes:
        family: of the intervention.
        name: of the intervention, without its site.
        values: ``(n,)`` of each effect, by name.
    """

    family: str
    name: str
    values: dict[str, Floats]


class Instrument:
    """Runs every intervention on images, and measures what each did.

    Args:
        classifier: whose decisions are looked at.
        taught: clean images that the concepts are learned from, and none of those that are measured.
    """

    def __init__(self, classifier: Classifier, taught: Images) -> None:
        self._classifier = classifier
        site = movable(site_shapes(classifier))[-1]
        specs = [*AT_THE_INPUT, *({**spec, "site": site} for spec in AT_A_LAYER)]
        made = [completed(spec, classifier, SEED, told=False) for spec in specs]
        learned = [one for one in made if type(one).__name__ == "AblateConcept"]
        able = teach(classifier, learned, taught.pixels, seed=SEED)
        self._interventions = [one for one in made if one not in learned or one in able]
        self._plan = ExecutionPlan(classifier, self._interventions, sites=(), chunk=CHUNK)

    @torch.inference_mode()
    def __call__(self, x: Floats) -> tuple[np.ndarray, list[Measured]]:
        """Return the decisions ``(n,)`` on images and what each intervention did, first of all the log-odds."""
        decisions, parts = [], []
        for batch in tensors.batches(x, BATCH, self._classifier.device):
            (z, _), done = self._plan.run(batch, one_pass=False)
            decisions.append(z.argmax(1).numpy())
            parts.append([self._confidence(z), *(self._of(z, done[place], place) for place in sorted(done))])
        joined = [
            Measured(
                of[0].family, of[0].name, {key: np.concatenate([one.values[key] for one in of]) for key in of[0].values}
            )
            for of in zip(*parts, strict=True)
        ]
        return np.concatenate(decisions), joined

    def _confidence(self, z: Tensor) -> Measured:
        return Measured(WITHOUT, WITHOUT, {CONFIDENCE: log_odds(z, z.argmax(1)).numpy()})

    def _of(self, z: Tensor, z_do: Tensor, place: int) -> Measured:
        """Effects of one intervention, from logits ``(draws, batch, classes)`` after it; means over the draws."""
        intervention = self._interventions[place]
        if intervention.reference:  # draw 0 is the classifier with the autoencoder inserted
            z, z_do = z_do[0], z_do[1:]
        found = dict(zip(EFFECTS, effects(z, z_do).unbind(-1), strict=True))
        own = z.argmax(1)[None, :, None].expand(len(z_do), -1, 1)
        p, p_do = z.softmax(1).expand_as(z_do), z_do.softmax(2)
        fall = (p.gather(2, own) - p_do.gather(2, own)).squeeze(2)
        values = {name: found[name].mean(0) for name in MEASURED} | {FALL: fall.mean(0)}
        if len(z_do) > 1:
            values |= {DISPERSION: found["target effect"].std(0), DISPERSION_OF_FALL: fall.std(0)}
        settings = ", ".join(f"{key}={value}" for key, value in intervention.settings.items() if key in _SHOWN)
        name = f"{type(intervention).__name__}({settings})"
        return Measured(intervention.family, name, {key: value.numpy() for key, value in values.items()})


_SHOWN = ("scale", "dx", "sigma", "bits", "cells", "factor", "groups", "concepts")
"""Settings that tell interventions apart."""
