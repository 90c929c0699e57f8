"""What carried a score: its attribution to interventions and free statistics, and what each of them did, in words.

Integrated gradients (Sundararajan, Taly, Yan 2017, arXiv 1703.01365; Captum's), from the median of clean inputs in each
feature to the signature of the input. The shares of an input sum to its score less that of the median signature. For a
linear head they are exact, up to the steps of the integral: each feature counts by itself there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ce_detect.core.extras import needed_for
from ce_detect.detector.gate import GateModule
from ce_detect.explain.words import in_words
from ce_detect.features.effects import EFFECTS
from ce_detect.features.signature import Signature, feature_names
from ce_detect.heads.base import LEFT_OUT

STEPS = 64
"""Points at which gradients are taken on the way."""

FREE = {
    "trace.layer-consistency": "how well early layers follow from the deepest one",
    "trace.image-gradients": "differences of neighbouring pixels",
    "trace.shapley": "what each activation adds to the highest logits, against clean ones",
    "trace.fakeness": "how fake the input looks to a network that knows fakes",
    "trace.": "logits and activations of the one forward pass",
}
"""Parts of the free statistics: how the names of their features begin, and what they are in words."""


@dataclass(frozen=True, slots=True)
class Carried:
    """What one part of the evidence added to the score of one input.

    Attributes:
        name: of the intervention, or of a part of the free statistics.
        share: what it added, in units of the score; negative speaks for a clean input.
        effect: change of the decision's log-odds after the intervention, its fall being positive; None of a statistic.
        usual: median and interquartile range of that change on clean inputs; None of a statistic, and where the head
            leaves the change out, see `ce_detect.heads.base.squashing`.
        words: all of this as a sentence.
        less: share of clean inputs of the same class that move less in that direction; None of a statistic, and where
            too few of them were given.
        of_class: number of these inputs; None where `less` is.
    """

    name: str
    share: float
    effect: float | None
    usual: tuple[float, float] | None
    words: str
    less: float | None = None
    of_class: int | None = None


def carried(gate: GateModule, features: Tensor, alike: Sequence[Tensor] | None = None) -> list[list[Carried]]:
    """Attribute scores to the parts of a signature, for each input the largest first.

    Args:
        gate: a calibrated gate.
        features: signatures ``(batch, features)`` of inputs.
        alike: for each input signatures ``(n, features)`` of clean inputs of the same class; none where they are few.

    Raises:
        MissingExtraError: Captum is not installed.
    """
    with needed_for("Attributing a score", extra="explain"):
        from captum.attr import IntegratedGradients
    head = gate.head
    middle = head.center[None].expand_as(features)
    with torch.enable_grad():
        shares = IntegratedGradients(head).attribute(features.detach().clone(), middle, n_steps=STEPS).detach()
    parts = parts_of(gate.signature)
    beside = [features[:0]] * len(features) if alike is None else alike
    return [
        sorted(
            (_carried(gate, name, columns, one, row, clean) for name, columns in parts.items()),
            key=lambda part: -part.share,
        )
        for one, row, clean in zip(shares, features, beside, strict=True)
    ]


def parts_of(signature: Signature) -> dict[str, list[int]]:
    """Columns of each intervention, and of each part of the free statistics, by name."""
    parts: dict[str, list[int]] = {}
    for place, name in enumerate(signature.names[: signature.free]):
        words = next(words for start, words in FREE.items() if name.startswith(start))
        parts.setdefault(words, []).append(place)
    place = signature.free
    for intervention in signature.interventions:
        width = len(feature_names(intervention))  # type: ignore[arg-type]
        parts[str(intervention.name)] = list(range(place, place + width))
        place += width
    return parts


def _carried(
    gate: GateModule, name: str, columns: list[int], shares: Tensor, features: Tensor, clean: Tensor
) -> Carried:
    share = float(shares[columns].sum())
    intervention = next((one for one in gate.signature.interventions if one.name == name), None)
    if intervention is None:
        return Carried(name, share, None, None, f"{name}: {_added(share)}")
    wanted = {f"{name}.{EFFECTS[0]}{order}" for order in ("", ".mean")}
    column = next(column for column in columns if gate.signature.names[column] in wanted)
    effect = float(features[column])
    usual = float(gate.head.center[column]), float(gate.head.scale[column])
    words = f"after do({in_words(intervention)}) the top label {_moved(effect)}"
    if usual[1] >= LEFT_OUT:
        return Carried(name, share, effect, None, f"{words}: {_added(share)}")
    if len(clean):
        others, way = clean[:, column], "fall" if effect >= 0 else "rise"
        less = float((others < effect if effect >= 0 else others > effect).float().mean())
        words += f"; {100 * less:.1f} % of {len(clean)} clean inputs of this class {way} less"
        return Carried(name, share, effect, usual, f"{words}: {_added(share)}", less, len(clean))
    words += f"; the median of clean inputs {_moved(usual[0])}, with an interquartile range of {usual[1]:.1f}"
    return Carried(name, share, effect, usual, f"{words}: {_added(share)}")


def _moved(effect: float) -> str:
    return f"{'fell' if effect >= 0 else 'rose'} by {abs(effect):.1f} log-odds"


def _added(share: float) -> str:
    return f"{'added' if share >= 0 else 'took'} {abs(share):.2f} {'to' if share >= 0 else 'off'} the score"
