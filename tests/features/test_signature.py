"""From inputs to features: what enters a signature, under which name, and what must not change it."""

from __future__ import annotations

import torch
from support.models import Subject
from support.signatures import signature_of

from ce_detect.classifiers.segmented import TorchClassifier
from ce_detect.data import Images
from ce_detect.features.effects import EFFECTS, effects
from ce_detect.features.signature import Signature, feature_names
from ce_detect.interventions import Flip, GridMask, Scale, Shift


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


def test_names_of_effects() -> None:
    """One draw gives six features, several give mean, least and largest of each."""
    assert feature_names(Flip()) == tuple(f"Flip(scale=1.0)@input.{effect}" for effect in EFFECTS)
    several = feature_names(GridMask())
    assert len(several) == 18
    assert several[0].endswith(".target effect.mean")
    assert several[-1].endswith(".agreement.max")


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
