"""What a signature may be made of, one item at a time: what is proposed, timed, compared and chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ce_detect.classifiers.base import INPUT, Classifier
from ce_detect.core.types import Index
from ce_detect.features.fakeness import Fakeness
from ce_detect.features.layer_consistency import LayerConsistency
from ce_detect.features.shapley import ShapleyValues
from ce_detect.features.signature import Signature, feature_names
from ce_detect.interventions import Intervention


@dataclass(frozen=True, slots=True)
class Item:
    """Something that may be added to a signature: an intervention, or a statistic of the one forward pass.

    Attributes:
        name: what ledgers call it.
        intervention: what is done; None for statistics of the one forward pass.
        site: where moments are taken; empty for anything else.
        layer_consistency: what gives recovery errors; None for anything else.
        shapley: what gives Shapley values; None for anything else.
        fakeness: what gives fakeness; None for anything else.
    """

    name: str
    intervention: Intervention | None = None
    site: str = ""
    layer_consistency: LayerConsistency | None = None
    shapley: ShapleyValues | None = None
    fakeness: Fakeness | None = None

    @classmethod
    def of(cls, intervention: Intervention) -> Item:
        """The item that adds an intervention."""
        return cls(intervention.name, intervention)

    @property
    def family(self) -> str:
        """Family of the intervention, ``"moments"``, ``"recovery"``, ``"shapley"`` or ``"fakeness"``."""
        if self.intervention is not None:
            return self.intervention.family
        if self.shapley is not None:
            return "shapley"
        if self.fakeness is not None:
            return "fakeness"
        return "moments" if self.site else "recovery"

    @property
    def passes(self) -> int:
        """Whole forward passes that its rows take at least, where that is known without a clock: else 0.

        It is known of what is done to the whole input.
        """
        made = self.intervention
        if made is None or made.site != INPUT or {"scale", "restore"} & set(made.settings):
            return 0
        return made.draws

    @property
    def exportable(self) -> bool:
        """Whether it can become part of an ONNX graph."""
        return self.intervention is None or self.intervention.exportable


def signature_of(classifier: Classifier, items: Sequence[Item], chunk: int | None) -> Signature:
    """The signature of these items, on the classifier's device."""
    interventions = [item.intervention for item in items if item.intervention is not None]
    sites = tuple(item.site for item in items if item.site)
    recovery = next((item.layer_consistency for item in items if item.layer_consistency is not None), None)
    shapley = next((item.shapley for item in items if item.shapley is not None), None)
    fakeness = next((item.fakeness for item in items if item.fakeness is not None), None)
    made = Signature(
        classifier, interventions, sites=sites, layer_consistency=recovery, shapley=shapley, fakeness=fakeness,
        chunk=chunk,
    )  # fmt: skip
    return made.to(classifier.device)


def columns_of(items: Sequence[Item], names: Sequence[str]) -> dict[str, Index]:
    """Columns of each item in a signature that has them all, by name of the item.

    Args:
        items: all that the signature is made of.
        names: of its features.

    Returns:
        Positions among the features; those of the free statistics are under the empty name.
    """
    position = {name: i for i, name in enumerate(names)}
    found = {}
    for item in items:
        if item.intervention is not None:
            own = [position[name] for name in feature_names(item.intervention)]
        elif item.layer_consistency is not None:
            own = [position[name] for name in item.layer_consistency.names]
        elif item.shapley is not None:
            own = [position[name] for name in item.shapley.names]
        elif item.fakeness is not None:
            own = [position[name] for name in item.fakeness.names]
        else:
            moments = tuple(f"trace.{moment}[{item.site}][" for moment in ("mean", "deviation"))
            own = [i for i, name in enumerate(names) if name.startswith(moments)]
        found[item.name] = np.array(own)
    found[""] = np.setdiff1d(np.arange(len(names)), np.concatenate([np.zeros(0, int), *found.values()]))
    return found
