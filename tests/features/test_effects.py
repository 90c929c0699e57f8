"""Effects on logits, against a plain re-implementation in double precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.strategies import logits_before_and_after

from ce_detect.classifiers.log_odds import energy, log_odds
from ce_detect.features.effects import EFFECTS, MAX_DIVERGENCE, effects

Pair = tuple[NDArray[np.float32], NDArray[np.float32]]


def expected_effects(z: NDArray[np.float64], z_do: NDArray[np.float64]) -> list[float]:
    """The definitions of one input, spelled out: logits ``(classes,)`` before and after."""
    c = int(z.argmax())
    others = [k for k in range(len(z)) if k != c]

    def odds(logits: NDArray[np.float64]) -> float:
        return float(logits[c] - np.logaddexp.reduce(logits[others]))

    def log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
        return logits - np.logaddexp.reduce(logits)

    p, q = log_softmax(z), log_softmax(z_do)
    a, b = z - z.mean(), z_do - z_do.mean()
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return [
        odds(z) - odds(z_do),
        z[c] - z_do[c],
        float(np.mean([abs(z[k] - z_do[k]) for k in others])),
        max((z_do[k] - z[k]) - (z_do[c] - z[c]) for k in others),
        min(MAX_DIVERGENCE, float((np.exp(p) * (p - q)).sum())),
        float(a @ b) / norms if norms else 0.0,
    ]


def expected_of_labels(z: NDArray[np.float64], z_do: NDArray[np.float64]) -> list[float]:
    """The same where each logit is the log-odds of a label of its own."""
    c = int(z.argmax())
    p, q = (1 / (1 + np.exp(-logits)) for logits in (z, z_do))
    kl = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    norms = float(np.linalg.norm(z) * np.linalg.norm(z_do))
    _, logit, distortion, rival, _, _ = expected_effects(z, z_do)
    return [z[c] - z_do[c], logit, distortion, rival, min(MAX_DIVERGENCE, float(kl.sum())), float(z @ z_do) / norms]


def computed(z: NDArray[np.float32], z_do: NDArray[np.float32], *, multi_label: bool = False) -> NDArray[np.float32]:
    """Effects as an array."""
    return effects(torch.from_numpy(z), torch.from_numpy(z_do), multi_label=multi_label).numpy()


@given(logits_before_and_after())
def test_effects_follow_their_definitions(pair: Pair) -> None:
    """Every effect of every draw and input is what its definition says, in the order of ``EFFECTS``."""
    z, z_do = pair
    got = computed(z, z_do)
    assert got.shape == (*z_do.shape[:2], len(EFFECTS))
    spread = np.linalg.norm(z_do - z_do.mean(-1, keepdims=True), axis=-1)
    assume((spread > 1e-2).all())  # a cosine with next to nothing is all rounding
    for draw in range(z_do.shape[0]):
        for row in range(z_do.shape[1]):
            expected = expected_effects(z[row].astype(np.float64), z_do[draw, row].astype(np.float64))
            np.testing.assert_allclose(got[draw, row], expected, rtol=1e-4, atol=2e-4)


@given(logits_before_and_after())
def test_effects_on_labels_follow_their_definitions(pair: Pair) -> None:
    """Where several labels may hold, odds, divergence and agreement are those of labels on their own."""
    z, z_do = pair
    assume((np.linalg.norm(z, axis=-1) > 1e-2).all() and (np.linalg.norm(z_do, axis=-1) > 1e-2).all())
    got = computed(z, z_do, multi_label=True)
    for draw in range(z_do.shape[0]):
        for row in range(z_do.shape[1]):
            expected = expected_of_labels(z[row].astype(np.float64), z_do[draw, row].astype(np.float64))
            np.testing.assert_allclose(got[draw, row], expected, rtol=1e-4, atol=2e-4)


@given(logits_before_and_after())
def test_one_more_label_changes_no_labels_odds(pair: Pair) -> None:
    """The log-odds of a class depend on its rivals, those of a label do not; each label adds its own energy."""
    z = torch.from_numpy(pair[0])
    label = z.argmax(1)
    more = torch.cat([z, torch.full((len(z), 1), -20.0)], dim=1)
    assert torch.equal(log_odds(z, label, multi_label=True), log_odds(more, label, multi_label=True))
    assert torch.equal(log_odds(z, label, multi_label=True), z.amax(1))
    parts = [energy(z[:, k : k + 1], multi_label=True) for k in range(z.shape[1])]
    torch.testing.assert_close(energy(z, multi_label=True), torch.stack(parts).sum(0))
    torch.testing.assert_close(energy(z), z.logsumexp(1))


@given(logits_before_and_after(), st.integers(-64, 64), st.integers(-64, 64))
def test_a_constant_added_to_logits_changes_odds_and_divergence_not(pair: Pair, before: int, after: int) -> None:
    """What softmax ignores, the target effect, rival rise, divergence and agreement ignore too."""
    z, z_do = (np.round(part * 8) / 8 for part in pair)  # so that adding whole numbers is exact
    assume((np.ptp(z_do, axis=-1) > 0.1).all())
    plain, moved = computed(z, z_do), computed(z + np.float32(before), z_do + np.float32(after))
    invariant = [EFFECTS.index(name) for name in ("target effect", "rival rise", "divergence", "agreement")]
    np.testing.assert_allclose(moved[..., invariant], plain[..., invariant], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(moved[..., 1], plain[..., 1] + before - after, atol=1e-3)


@pytest.mark.parametrize("confidence", [0.0, 4.0, 12.0])
@pytest.mark.parametrize("size", [1e-3, 1e-2, 0.3])
@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_small_effects_are_no_rounding(classes: int, size: float, confidence: float) -> None:
    """Divergence and agreement are of second order: a mild intervention's are tiny, and still right to half a per cent.

    Else two runtimes would disagree about them, by as much as clean images differ.
    """
    generator = np.random.default_rng(0)
    z = generator.normal(size=(8, classes)).astype(np.float32)
    z[:, 0] += np.float32(confidence)
    z_do = (z + size * generator.normal(size=z.shape)).astype(np.float32)
    got, alone = computed(z, z_do[None])[0], computed(z, z_do[None], multi_label=True)[0]
    expected = np.array([expected_effects(*pair) for pair in zip(z.astype(float), z_do.astype(float), strict=True)])
    labels = np.array([expected_of_labels(*pair) for pair in zip(z.astype(float), z_do.astype(float), strict=True)])
    np.testing.assert_allclose(got[:, 4], expected[:, 4], rtol=5e-3, atol=1e-14)
    np.testing.assert_allclose(alone[:, 4], labels[:, 4], rtol=5e-3, atol=1e-14)
    np.testing.assert_allclose(got[:, 5], expected[:, 5], atol=1.5e-7)


@given(logits_before_and_after())
def test_nothing_done_has_no_effect(pair: Pair) -> None:
    """Equal logits give five zeros and an agreement of one."""
    z, _ = pair
    got = computed(z, z[None])[0]
    np.testing.assert_allclose(got, [[0, 0, 0, 0, 0, 1]] * len(z), atol=1e-5)


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("classes", [2, 10])
def test_saturated_logits_stay_finite(classes: int, multi_label: bool) -> None:
    """Logits of ten thousand either way, as after a confident attack, give finite effects with finite gradients."""
    z = torch.full((1, classes), -1e4)
    z[0, 0] = 1e4
    z_do = z.flip(1)[None].clone().requires_grad_(True)
    got = effects(z, z_do, multi_label=multi_label)
    (gradient,) = torch.autograd.grad(got.sum(), z_do)
    assert torch.isfinite(got).all()
    assert torch.isfinite(gradient).all()
    named = dict(zip(EFFECTS, got[0, 0].tolist(), strict=True))
    assert named["target logit"] == 2e4
    assert named["divergence"] == MAX_DIVERGENCE
    assert named["rival rise"] == 4e4


def test_two_classes_are_enough() -> None:
    """With one other class, the odds are the difference of the logits and the rival is that class."""
    got = effects(torch.tensor([[1.0, -1.0]]), torch.tensor([[[0.5, 2.0]]]))[0, 0]
    target, logit, distortion, rival, _, agreement = got.tolist()
    assert (target, logit, distortion, rival) == pytest.approx((3.5, 0.5, 3.0, 3.5))
    assert agreement == pytest.approx(-1.0)


@pytest.mark.parametrize("multi_label", [False, True])
def test_memory_grows_with_the_number_of_classes_alone(multi_label: bool) -> None:
    """A square of 100,000 classes would take 40 gigabytes."""
    z = torch.linspace(-1, 1, 100_000).expand(1, -1)
    got = effects(z, z.flip(1)[None], multi_label=multi_label)
    assert got.shape == (1, 1, len(EFFECTS))
    assert torch.isfinite(got).all()


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 2, 3)])
def test_log_odds_of_any_class(shape: tuple[int, ...]) -> None:
    """The log-odds of a class are those of its softmax probability, whatever dimensions come first."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(*shape, generator=generator, dtype=torch.float64)
    for label in range(3):
        p = z.softmax(-1)[..., label]
        expected = torch.log(p / (1 - p))
        torch.testing.assert_close(log_odds(z, torch.full(shape[:-1], label)), expected)


def test_effects_are_differentiable() -> None:
    """Finite differences agree with the gradient, away from ties."""
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(2, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    z_do = torch.randn(3, 2, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(effects, (z, z_do))
    assert torch.autograd.gradcheck(lambda *pair: effects(*pair, multi_label=True), (z, z_do))


def test_a_label_may_take_the_place_of_the_decision() -> None:
    """The effects on a label are those of classes in another order, where it comes first."""
    z, z_do = torch.tensor([[3.0, 1.0, -1.0]]), torch.tensor([[[2.0, 1.5, 0.0]]])
    expected = expected_effects_on(1, z[0].double().numpy(), z_do[0, 0].double().numpy())
    found = effects(z, z_do, label=torch.tensor([1]))[0, 0, :4]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    torch.testing.assert_close(effects(z, z_do, label=torch.tensor([0])), effects(z, z_do))


def expected_effects_on(label: int, z: NDArray[np.float64], z_do: NDArray[np.float64]) -> list[float]:
    """Target effect, target logit, non-target effect and rival rise of a label, spelled out."""
    others = np.delete(np.arange(len(z)), label)
    odds = [logits[label] - np.logaddexp.reduce(logits[others]) for logits in (z, z_do)]
    change = z_do - z
    return [odds[0] - odds[1], -change[label], np.abs(change[others]).mean(), (change[others] - change[label]).max()]
