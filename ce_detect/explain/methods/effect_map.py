"""Our own map, as a method: the effect on a label's log-odds of hiding windows, see `ce_detect.explain.effect_maps`."""

from __future__ import annotations

from torch import Tensor

from ce_detect.classifiers.base import Classifier
from ce_detect.explain.effect_maps import effect_maps
from ce_detect.explain.methods.base import Method


class EffectMap(Method):
    """The target effect of hiding a place, in log-odds."""

    name = "effect-map"
    title = "Effect map (ours)"
    gradients = False
    paper = "after Yang et al. 2019, arXiv 1902.03380"

    def __init__(self, *, baseline: str = "mean") -> None:
        self.baseline = baseline

    def _maps(self, classifier: Classifier, x: Tensor, labels: Tensor) -> Tensor:
        return effect_maps(classifier, x, baseline=self.baseline, labels=labels).target
