"""Expected causal effects of concepts: by hand, on real images, and what is refused."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from support.calibrated import guard, images
from support.gates import black_box
from support.models import TINY, tiny_classifier
from torch import Tensor, nn

from ce_detect.classifiers.base import Classifier
from ce_detect.classifiers.wrapping import wrap
from ce_detect.core.errors import UsageError
from ce_detect.explain.concepts import concept_effects
from ce_detect.interventions import AblateConcept

SITE = "body"


class TwoChannels(nn.Module):
    """Class 1 against class 0 by four times the mean of channel 0 alone; channel 1 is seen and not used."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(2, 2, 1, bias=False)
        self.head = nn.Linear(2, 2)
        with torch.no_grad():
            self.body.weight.copy_(torch.eye(2)[..., None, None])
            self.head.weight.copy_(torch.tensor([[-2.0, 0.0], [2.0, 0.0]]))
            self.head.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Return two logits."""
        return self.head(self.body(x).relu().mean((2, 3)))


def by_hand(*, multi_label: bool = False) -> Any:
    """A gate whose concepts are the two channels themselves."""
    model = TwoChannels().eval()
    classifier = wrap(model, input_shape=(2, 4, 4), bounds=(0.0, 1.0), sites=(SITE,), multi_label=multi_label)
    channels = AblateConcept(site=SITE, channels=2, concepts=2, size=1)
    with torch.no_grad():
        for convolution in (channels.encoder, channels.decoder):
            convolution.weight.copy_(torch.eye(2)[..., None, None])
    return gate_of(classifier, channels)


def gate_of(classifier: Classifier, *interventions: AblateConcept) -> Any:
    """What a ranking looks at of a gate."""
    return SimpleNamespace(signature=SimpleNamespace(classifier=classifier, interventions=interventions))


def pictures() -> Tensor:
    """Different images whose channels are even: channel 0 grows with the position, channel 1 falls."""
    levels = torch.linspace(0.1, 0.9, 40)
    return torch.stack([levels, 1 - levels], dim=1)[..., None, None].expand(-1, -1, 4, 4).clone()


@pytest.mark.parametrize("multi_label", [False, True])
def test_effects_are_those_of_the_formula(multi_label: bool) -> None:
    """Without channel 0 log-odds become 0; without the other channel nothing happens."""
    gate = by_hand(multi_label=multi_label)
    found = concept_effects(gate, pictures().numpy())
    assert [one.number for one in found.concepts] == [0, 1]
    assert (found.own, found.agreement, found.ranked_by) == (True, 1.0, 20)
    ranked = sorted({place for one in found.concepts for place in one.images})
    assert set(ranked) <= set(range(40))
    by_image = [expected(float(level), multi_label) for level in pictures()[:, 0, 0, 0]]
    assert min(by_image) < found.concepts[0].effect < max(by_image)
    assert found.concepts[1].effect == pytest.approx(0, abs=1e-6)
    assert "without concept 0 decisions are weaker" in found.concepts[0].words
    alone = concept_effects(gate, np.repeat(pictures().numpy()[[7, 30]], 20, axis=0), shown=1)
    (place,) = alone.concepts[0].images  # equal images stay together, so one of the two levels ranks
    assert alone.concepts[0].effect == pytest.approx(by_image[7 if place < 20 else 30], abs=1e-3)


def expected(level: float, multi_label: bool) -> float:
    """By hand: logits -2 and 2 times the level, and 0 without the channel."""
    z = np.array([-2 * level, 2 * level])
    if multi_label:
        return float((z / (1 + np.exp(-z))).sum())
    p = np.exp(z) / np.exp(z).sum()
    return float(p @ np.array([z[0] - z[1], z[1] - z[0]]))


def test_images_that_excite_a_concept_most_come_first() -> None:
    """Channel 0 grows with the position, and the other one falls."""
    first, second = concept_effects(by_hand(), pictures().numpy(), shown=3).concepts
    assert first.images == sorted(first.images, reverse=True)
    assert second.images == sorted(second.images)
    assert min(first.images) > max(second.images)
    assert first.excitation == sorted(first.excitation, reverse=True)
    assert np.asarray(first.places).shape == (3, 4, 4)


def test_concepts_of_a_real_model_are_learned_and_ranked() -> None:
    """On Fashion-MNIST: insertion keeps most decisions, the largest effect is first and above all scatter of none."""
    found = concept_effects(guard().gate, images().x, shown=4)
    effects = [one.effect for one in found.concepts]
    assert not found.own
    assert found.agreement > 0.8
    assert effects == sorted(effects, reverse=True)
    assert effects[0] > 0.1
    assert all(len(set(one.images)) == 4 for one in found.concepts)
    assert concept_effects(guard().gate, images().x, shown=4).to_dict() == found.to_dict()


@pytest.mark.parametrize(
    ("count", "options", "said"),
    [(4, {}, "4 clean images are too few"), (40, {"site": "nowhere"}, "'nowhere' has no feature map, which concepts")],
)
def test_what_cannot_be_ranked_is_refused(count: int, options: dict[str, Any], said: str) -> None:
    """With what is needed."""
    gate = gate_of(tiny_classifier("plain"))
    x = np.random.default_rng(0).random((count, *TINY["plain"].shape), dtype=np.float32)
    with pytest.raises(UsageError, match=said):
        concept_effects(gate, x, **options)


def test_a_classifier_that_runs_in_onnx_runtime_has_no_concepts(tmp_path: Path) -> None:
    """Its layers can be reached, but there are no gradients to learn from."""
    gate = gate_of(black_box("plain", tmp_path))
    x = np.random.default_rng(0).random((40, *TINY["plain"].shape), dtype=np.float32)
    with pytest.raises(UsageError, match="no concepts can be learned for this classifier"):
        concept_effects(gate, x)
