"""From inputs to features: what enters a signature, under which name, and what must not change it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.models import Subject, subject

from ce_detect.classifiers.base import INPUT, PENULTIMATE, site_shapes
from ce_detect.classifiers.segmented import TorchClassifier
from ce_detect.core.errors import CalibrationError
from ce_detect.data import Images
from ce_detect.features.activations import MARGIN_FLOOR, TOP_LOGITS, moments
from ce_detect.features.effects import EFFECTS, effects
from ce_detect.features.signature import Signature, feature_names
from ce_detect.interventions import AblateChannels, Flip, GaussianNoise, GridMask, Scale, Shift


def spatial(part: Subject) -> str:
    """The last site with a feature map."""
    shapes = site_shapes(part.classifier)
    return [site for site, shape in shapes.items() if len(shape) == 3][-1]


def signature_of(part: Subject, *, chunk: int | None = None) -> Signature:
    """Statistics at every site and interventions at the input and, where there is a feature map, at a latent."""
    channels = part.tiny.shape[0]
    low, high = part.tiny.bounds
    site = spatial(part)
    interventions = [
        Flip(),
        AblateChannels(site=site, groups=3),
        GaussianNoise(draws=2, channels=channels, width=high - low),
        Shift(),
        Scale(site=site),
    ]
    sites = tuple(name for name in part.classifier.sites if name != PENULTIMATE)
    return Signature(part.classifier, interventions, sites=sites, chunk=chunk)


# --- what holds for every classifier


@torch.inference_mode()
def test_every_feature_has_a_name_of_its_own(any_model: Subject) -> None:
    """There are as many names as features, no two alike, and all features are finite."""
    signature = signature_of(any_model)
    logits, features = signature(any_model.x)
    assert features.shape == (8, len(signature.names))
    assert len(set(signature.names)) == len(signature.names)
    assert torch.isfinite(features).all()
    torch.testing.assert_close(logits, any_model.classifier.logits(any_model.x))


@torch.inference_mode()
def test_batch_of_one_equals_a_row(any_model: Subject) -> None:
    """An input has the same signature alone and in company."""
    signature = signature_of(any_model)
    _, features = signature(any_model.x)
    _, alone = signature(any_model.x[5:6])
    torch.testing.assert_close(alone, features[5:6], rtol=1e-3, atol=1e-3)


@torch.inference_mode()
def test_permuting_the_batch_permutes_the_signature(any_model: Subject) -> None:
    """Order among the inputs does not matter."""
    signature, order = signature_of(any_model), torch.tensor([3, 7, 0, 1, 6, 5, 2, 4])
    torch.testing.assert_close(signature(any_model.x[order])[1], signature(any_model.x)[1][order], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("chunk", [1, 8, 20, 1000])
@torch.inference_mode()
def test_chunks_change_nothing(any_model: Subject, chunk: int) -> None:
    """However many rows are resumed at a time, the signature is the same."""
    whole = signature_of(any_model)(any_model.x)[1]
    torch.testing.assert_close(signature_of(any_model, chunk=chunk)(any_model.x)[1], whole, rtol=1e-3, atol=1e-3)


@torch.inference_mode()
def test_features_are_the_effects_of_each_intervention(any_model: Subject) -> None:
    """Interventions that share a resume get what each gets alone; several draws give mean, least and largest."""
    signature = signature_of(any_model)
    logits, features = signature(any_model.x)
    columns = {name: features[:, i] for i, name in enumerate(signature.names)}
    classifier, latents = any_model.classifier, any_model.classifier.trace(any_model.x).latents
    for intervention in signature.interventions:
        changed = intervention(latents.get(intervention.site, any_model.x))
        z_do = classifier.resume(intervention.site, changed, any_model.x).unflatten(0, (-1, 8))
        alone = effects(logits, z_do)
        orders = {"": alone[0]}
        if intervention.draws > 1:
            orders = {".mean": alone.mean(0), ".min": alone.amin(0), ".max": alone.amax(0)}
        for order, expected in orders.items():
            got = torch.stack([columns[f"{intervention.name}.{effect}{order}"] for effect in EFFECTS], dim=1)
            torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3)


def test_every_feature_can_be_differentiated(any_model: Subject) -> None:
    """The gradient of the sum of the features reaches every input and is finite."""
    x = any_model.x.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(signature_of(any_model)(x)[1].sum(), x)
    assert torch.isfinite(gradient).all()
    assert gradient.flatten(1).abs().amax(1).gt(0).all()


@torch.inference_mode()
def test_contributions_explain_the_decision(any_model: Subject) -> None:
    """What each penultimate feature adds to the winner sums to its logit but for the bias."""
    if any_model.classifier.head_weight is None:
        assert not [name for name in signature_of(any_model).names if "contribution" in name]
        return
    signature = Signature(any_model.classifier, [])
    logits, features = signature(any_model.x)
    *_, head = (module for module in any_model.model.modules() if isinstance(module, torch.nn.Linear))
    bias = head.bias if len(head.bias) > 1 else torch.cat([-head.bias, head.bias]) / 2
    winner, runner_up = logits.topk(2, dim=1).indices.unbind(1)
    sums = {
        kind: features[:, [i for i, name in enumerate(signature.names) if name.startswith(f"trace.{kind}")]].sum(1)
        for kind in ("contribution", "contrast")
    }
    top = logits.gather(1, winner[:, None])[:, 0]
    margin = top - logits.gather(1, runner_up[:, None])[:, 0]
    torch.testing.assert_close(sums["contribution"], top - bias[winner], rtol=1e-3, atol=1e-3)
    expected = margin - bias[winner] + bias[runner_up]
    torch.testing.assert_close(sums["contrast"], expected, rtol=1e-3, atol=1e-3)


# --- what holds for its parts


@torch.inference_mode()
def test_logit_statistics(fashion: TorchClassifier, demo_images: Images) -> None:
    """Ten centred logits in falling order, the log-odds of the decision, the energy, and the log of the margin."""
    signature = Signature(fashion, [])
    logits, features = signature(torch.from_numpy(demo_images.x[:16]))
    assert signature.names[: TOP_LOGITS + 3] == (
        *(f"trace.logit[{rank}]" for rank in range(10)), "trace.log-odds", "trace.energy", "trace.log-margin",
    )  # fmt: skip
    z = logits.double().numpy()
    ordered = -np.sort(-z, axis=1) - z.mean(1, keepdims=True)
    p = np.exp(z - z.max(1, keepdims=True)).max(1) / np.exp(z - z.max(1, keepdims=True)).sum(1)
    energy = np.log(np.exp(z).sum(1))
    np.testing.assert_allclose(features[:, :10], ordered, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(features[:, 11], energy, rtol=1e-4)
    np.testing.assert_allclose(features[:, 12], np.log(ordered[:, 0] - ordered[:, 1] + MARGIN_FLOOR), rtol=1e-3)
    unsaturated = p < 0.999
    assert unsaturated.any()
    np.testing.assert_allclose(features[unsaturated, 10], np.log(p / (1 - p))[unsaturated], rtol=1e-2)


@pytest.mark.parametrize("name", ["plain", "transformer"])
@torch.inference_mode()
def test_moments_of_each_channel(name: str) -> None:
    """Means and standard deviations are taken over the positions, of feature maps and of token sequences."""
    part = subject(name)
    site = "stage2.2" if name == "plain" else "block1"
    signature = Signature(part.classifier, [], sites=(site,))
    _, features = signature(part.x)
    latent = part.classifier.trace(part.x).latents[site]
    by_channel = latent.flatten(2).transpose(1, 2) if latent.ndim == 4 else latent
    for kind, expected in (("mean", by_channel.mean(1)), ("deviation", by_channel.std(1, correction=0))):
        columns = [signature.names.index(f"trace.{kind}[{site}][{i}]") for i in range(by_channel.shape[2])]
        torch.testing.assert_close(features[:, columns], expected, rtol=1e-3, atol=1e-4)


def test_moments_of_a_constant_map_have_a_gradient() -> None:
    """A channel without variation has deviation zero and no infinite gradient."""
    latent = torch.full((1, 2, 3, 3), 5.0, requires_grad=True)
    mean, deviation = moments(latent)
    (gradient,) = torch.autograd.grad(mean.sum() + deviation.sum(), latent)
    assert mean.tolist() == [[5, 5]]
    assert deviation.abs().max() < 1e-2
    assert torch.isfinite(gradient).all()


def test_names_of_effects() -> None:
    """One draw gives six features, several give mean, least and largest of each."""
    assert feature_names(Flip()) == tuple(f"Flip(scale=1.0)@input.{effect}" for effect in EFFECTS)
    several = feature_names(GridMask())
    assert len(several) == 18
    assert several[0].endswith(".target effect.mean")
    assert several[-1].endswith(".agreement.max")


@torch.inference_mode()
def test_only_needed_latents_are_kept(plain: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trace is asked for the sites of statistics and interventions, and for what feeds the head, not for all."""
    asked: list[tuple[str, ...]] = []
    trace = plain.classifier.trace
    monkeypatch.setattr(plain.classifier, "trace", lambda x, sites=None: asked.append(sites) or trace(x, sites))
    Signature(plain.classifier, [Scale(site="stage3.2")], sites=("stage1.2",))(plain.x, one_pass=False)
    assert asked[-1] == ("stage1.2", "stage3.2", PENULTIMATE)


@torch.inference_mode()
def test_equal_sites_and_shapes_share_a_resume(plain: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two interventions on one latent cost one resume of twice the rows; one of another size costs its own."""
    resumed: list[tuple[str, int]] = []
    resume = plain.classifier.resume

    def counted(site: str, latent: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        resumed.append((site, len(latent)))
        return resume(site, latent, x)

    monkeypatch.setattr(plain.classifier, "resume", counted)
    Signature(plain.classifier, [Flip(), Scale(site="stage3.2"), Shift(), Flip(scale=0.5)])(plain.x, one_pass=False)
    assert sorted(resumed) == [(INPUT, 8), (INPUT, 16), ("stage3.2", 8)]


def test_site_that_the_classifier_lacks_is_refused(plain: Subject) -> None:
    """An intervention or a statistic at an unknown site is an error that lists the sites, not a change of the input."""
    with pytest.raises(CalibrationError, match=r"no site 'layer9'.*stage1\.2.*penultimate"):
        Signature(plain.classifier, [Scale(site="layer9")])
    with pytest.raises(CalibrationError, match="no site 'layer9'"):
        Signature(plain.classifier, [], sites=("layer9",))


@torch.inference_mode()
def test_interventions_do_something_to_the_demo(fashion: TorchClassifier, demo_images: Images) -> None:
    """On real images, shifting a latent changes every input's log-odds, and less so than scaling it away."""
    x = torch.from_numpy(demo_images.x[:32])
    site = fashion.sites[1]
    signature = Signature(fashion, [Shift(site=site), Scale(site=site, factor=0.0)])
    _, features = signature(x)
    shift, scale = (
        features[:, signature.names.index(f"{intervention.name}.non-target effect")].abs()
        for intervention in signature.interventions
    )
    assert (shift > 0).all()
    assert float(shift.mean()) < float(scale.mean())
