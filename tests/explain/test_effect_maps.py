"""Effect maps of models whose effects are known by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.models import TINY, tiny_classifier, tiny_images, tiny_model
from torch import Tensor, nn

from ce_detect.classifiers.base import Classifier
from ce_detect.classifiers.flops import flops
from ce_detect.classifiers.wrapping import wrap
from ce_detect.core.errors import UsageError
from ce_detect.explain import effect_maps as maps_module
from ce_detect.explain.effect_maps import FINER, SHARES, SMALL, effect_maps


class OneQuadrant(nn.Module):
    """Class 1 against class 0 by the mean of the top left quarter alone."""

    def forward(self, x: Tensor) -> Tensor:
        """Return two logits."""
        mean = x[:, :, :8, :8].mean((1, 2, 3))
        return torch.stack([-8 * mean, 8 * mean], dim=1)


def one_quadrant() -> Classifier:
    """That model, wrapped."""
    return wrap(OneQuadrant().eval(), input_shape=(3, 16, 16), bounds=(0.0, 1.0))


def bright_quadrant() -> Tensor:
    """A dark picture whose top left quarter is bright."""
    x = torch.full((1, 3, 16, 16), 0.1)
    x[:, :, :8, :8] = 0.9
    return x


@pytest.mark.parametrize("baseline", ["mean", "noise"])
def test_the_map_sits_where_the_model_looks(baseline: str) -> None:
    """Of a model that looks at one quarter, nearly all of the largest effects are there."""
    classifier = one_quadrant()
    maps = effect_maps(classifier, bright_quadrant(), baseline=baseline)
    above = (maps.target - maps.target.median()).clamp_min(0)
    assert float(above[:, :8, :8].sum() / above.sum()) >= 0.95
    assert maps.label.tolist() == [1]


def test_hiding_everything_that_counts_has_the_effect_of_the_formula() -> None:
    """A pixel's value is a mean over the sizes, by one over their areas, of the effects over it; one corner by hand."""
    classifier = one_quadrant()
    x = bright_quadrant()
    mean = float(x.mean())
    expected, weights = [], []
    for share in (*FINER[1], *SHARES):  # of 16 pixels that is one
        size = int(16 * share)  # the one window over the first pixel begins at the corner
        covered = min(size, 8) ** 2 / 64
        after = 0.9 * (1 - covered) + mean * covered
        expected.append(16 * (0.9 - after))  # log-odds of two logits: their difference
        weights.append(1 / size**2)
    found = effect_maps(classifier, x).target[0, 0, 0]
    np.testing.assert_allclose(found, np.average(expected, weights=weights), rtol=5e-3)


def test_the_maps_of_another_label_are_of_that_label() -> None:
    """Of two classes one gains what the other loses."""
    classifier, x = one_quadrant(), bright_quadrant()
    decided, other = (effect_maps(classifier, x, labels=labels) for labels in (None, torch.tensor([0])))
    torch.testing.assert_close(other.target, -decided.target, atol=1e-4, rtol=1e-4)
    assert other.label.tolist() == [0]


def test_a_constant_picture_has_no_effects() -> None:
    """Its mean is what stands there already."""
    classifier = one_quadrant()
    maps = effect_maps(classifier, torch.full((2, 3, 16, 16), 0.5))
    assert float(maps.target.abs().max()) < 1e-5
    assert maps.target.shape == (2, 16, 16)


def test_other_parameters_give_another_map() -> None:
    """Maps are of the model, not of the picture alone."""
    x, shape = tiny_images("plain", 1), TINY["plain"]
    other = tiny_model("plain")
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * parameter.abs().mean())
    models = tiny_classifier("plain"), wrap(other, input_shape=shape.shape, bounds=shape.bounds)
    maps = [effect_maps(classifier, x).target.flatten().numpy() for classifier in models]
    assert abs(np.corrcoef(*maps)[0, 1]) < 0.9


def test_hidden_layers_have_maps_in_the_size_of_the_input() -> None:
    """At every site with a feature map; batched images have the maps that they have alone."""
    classifier = tiny_classifier("plain")
    x = tiny_images("plain", 2)
    site = next(name for name in classifier.sites if name != "input")
    maps = effect_maps(classifier, x, site=site)
    assert maps.rival.shape == (2, *x.shape[2:])
    alone = effect_maps(classifier, x[1:], site=site)
    torch.testing.assert_close(alone.target[0], maps.target[1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("side", [SMALL, SMALL + 1])
def test_small_pictures_alone_are_hidden_pixel_by_pixel(side: int) -> None:
    """One pixel that decides is found by itself there; larger ones take some hundred forward passes, not thousands."""
    seen = []

    class OnePixel(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(len(x))
            return torch.stack([-8 * x[:, 0, 5, 7], 8 * x[:, 0, 5, 7]], dim=1)

    x = torch.zeros(1, 1, side, side)
    x[0, 0, 5, 7] = 1
    classifier = wrap(OnePixel().eval(), input_shape=(1, side, side), bounds=(0.0, 1.0))
    seen.clear()
    target = effect_maps(classifier, x).target[0]
    assert (sum(seen) > side * side) == (side <= SMALL)
    assert target.argmax() == 5 * side + 7 or side > SMALL
    assert target[5, 7] == target.max() > 0


@pytest.mark.parametrize(("most", "smallest"), [(1500, 1), (500, 2), (300, 3), (130, 4), (1, 4)])
def test_windows_are_as_small_as_the_work_allows(monkeypatch: pytest.MonkeyPatch, most: int, smallest: int) -> None:
    """A picture is hidden by fewer and larger windows where a pass takes more work, at least by those of large ones."""
    seen: list[int] = []

    class Convolution(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(1, 2, 3)

        def forward(self, x: Tensor) -> Tensor:
            seen.append(len(x))
            return self.layer(x).mean((2, 3))

    classifier = wrap(Convolution().eval(), input_shape=(1, 32, 32), bounds=(0.0, 1.0))
    monkeypatch.setattr(maps_module, "WORK", most * flops(classifier))
    seen.clear()
    effect_maps(classifier, torch.rand(1, 1, 32, 32))
    changed = sum(seen) - 3  # the picture as it is, what counts the work, and what shapes of sites are found by
    assert changed <= max(most, 122)
    side = 32 // smallest + bool(32 % smallest)
    assert changed >= side * side


@pytest.mark.parametrize(
    ("options", "said"),
    [({"baseline": "black"}, "one of mean, blur, noise"), ({"site": "nowhere"}, "has no feature map here, expected")],
)
def test_what_there_is_not_is_refused(options: dict[str, str], said: str) -> None:
    """With what there is."""
    with pytest.raises(UsageError, match=said):
        effect_maps(tiny_classifier("plain"), tiny_images("plain", 1), **options)
