"""What is learned at calibration: that it learns, leaves the classifier alone, and is saved."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from support.models import subject
from torch import Tensor

from ce_detect.calibrate.search.candidates import completed, learnable
from ce_detect.classifiers.segmented import TorchClassifier
from ce_detect.core.errors import CalibrationError
from ce_detect.data import Images, load_data
from ce_detect.features.signature import Signature, feature_names
from ce_detect.fitting import interventions
from ce_detect.interventions import (
    AblateConcept,
    LearnedIntervention,
    LearnedMask,
    UniversalPerturbation,
    kinds,
)
from ce_detect.interventions.concept import deep_loss, interpretability_loss, shallow_loss

SITE = "stage2.8"


@pytest.fixture(scope="module")
def images() -> Images:
    """Real test images of the embedded data."""
    return load_data("demo").subset(np.arange(700))


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it does not matter how well something is learned."""
    monkeypatch.setattr(interventions, "STEPS", interventions.LEAST_STEPS)


def resume_at(classifier: TorchClassifier, site: str, x: Tensor) -> Callable[[Tensor], Tensor]:
    """The classifier from a site on."""
    return lambda latent: classifier.resume(site, latent, x)


def pupil(kind: type[LearnedIntervention], classifier: TorchClassifier, **settings: Any) -> Any:
    """A learned intervention with the shape of its site filled in."""
    made = completed({"kind": kind.__name__, **settings}, classifier)
    assert isinstance(made, kind)
    return made


# --- learning


def test_the_universal_perturbation_changes_more_decisions_than_noise(fashion: TorchClassifier, images: Images) -> None:
    """Learned on some images, it fools the classifier on others several times as often as random signs of its size."""
    made = pupil(UniversalPerturbation, fashion, eps=0.04)
    assert interventions.teach(fashion, [made], images.x[:500], seed=0) == [made]
    x = torch.from_numpy(images.x[500:])
    noise = 0.04 * torch.randn(made.perturbation.shape, generator=torch.Generator().manual_seed(0)).sign()
    with torch.inference_mode():
        before = fashion.logits(x).argmax(1)
        fooled = (fashion.logits(made(x)).argmax(1) != before).float().mean()
        by_noise = (fashion.logits((x + noise).clamp(0, 1)).argmax(1) != before).float().mean()
    assert float(made.perturbation.abs().max()) <= 0.04 + 1e-6
    assert float(fooled) > 2 * float(by_noise)


def test_learned_masks_move_the_tensor_and_not_the_decision(fashion: TorchClassifier, images: Images) -> None:
    """On images it was not learned from, a mask beats its start at its own loss; masks differ from each other."""
    made = pupil(LearnedMask, fashion, site=SITE)
    x = torch.from_numpy(images.x[500:])
    with torch.no_grad():
        z, latents = fashion.trace(x, (SITE,))
        made.start(latents[SITE], torch.Generator().manual_seed(0))
        start = float(made.loss(latents[SITE], z, resume_at(fashion, SITE, x)))
        interventions.teach(fashion, [made], images.x[:500], seed=0)
        end = float(made.loss(latents[SITE], z, resume_at(fashion, SITE, x)))
    assert end < start - 0.5
    assert not torch.allclose(made.mask[0], made.mask[1], atol=0.05)
    assert float(made.mask.min()) >= 0


def test_the_inserted_autoencoder_keeps_most_of_the_accuracy(fashion: TorchClassifier, images: Images) -> None:
    """Training raises the agreement of decisions, and the accuracy with the autoencoder inserted is measured."""
    made = pupil(AblateConcept, fashion, site=SITE)
    assert images.y is not None
    with torch.no_grad():
        latents = fashion.trace(torch.from_numpy(images.x[:32]), (SITE,)).latents
        made.start(latents[SITE], torch.Generator().manual_seed(0))
    before = interventions.inserted(fashion, made, images.x[500:], images.y[500:])
    interventions.teach(fashion, [made], images.x[:500], seed=0)
    after = interventions.inserted(fashion, made, images.x[500:], images.y[500:])
    assert after["agreement"] > max(0.7, before["agreement"])
    assert after["accuracy"] > 0.85
    assert 0.7 < after["accuracy_inserted"] <= 1
    assert set(interventions.inserted(fashion, made, images.x[500:510], None)) == {"agreement"}


@pytest.mark.parametrize(
    ("loss", "reaches_decoder"),
    [("shallow", True), ("deep", True), ("deep multi-label", True), ("interpretable", False)],
)
def test_each_loss_sends_its_gradient_where_it_should(
    fashion: TorchClassifier, images: Images, loss: str, reaches_decoder: bool
) -> None:
    """To the encoder all three, to the decoder all but interpretability, to the classifier none."""
    x = torch.from_numpy(images.x[:16])
    made = pupil(AblateConcept, fashion, site=SITE)
    with torch.no_grad():
        z, latents = fashion.trace(x, (SITE,))
        made.start(latents[SITE], torch.Generator().manual_seed(0))
    made.requires_grad_(True)
    h, code = latents[SITE], made.encode(latents[SITE])
    values = {
        "shallow": lambda: shallow_loss(h, made.decoder(code)),
        "deep": lambda: deep_loss(z, fashion.resume(SITE, made.decoder(code), x)),
        "deep multi-label": lambda: deep_loss(z, fashion.resume(SITE, made.decoder(code), x), multi_label=True),
        "interpretable": lambda: interpretability_loss(code),
    }
    parameters = [made.encoder.weight, made.decoder.weight]
    to_encoder, to_decoder = torch.autograd.grad(values[loss](), parameters, allow_unused=True)
    assert float(to_encoder.abs().sum()) > 0
    assert (to_decoder is not None and float(to_decoder.abs().sum()) > 0) == reaches_decoder


def test_losses_are_zero_where_nothing_is_lost() -> None:
    """A perfect copy costs nothing, and interpretability is the same for all multiples of the concept images."""
    generator = torch.Generator().manual_seed(0)
    h, z = torch.rand(4, 3, 6, 6, generator=generator), torch.randn(4, 5, generator=generator)
    assert float(shallow_loss(h, h)) == 0
    assert float(deep_loss(z, z)) == pytest.approx(0, abs=1e-6)
    assert float(deep_loss(z, z, multi_label=True)) == pytest.approx(0, abs=1e-6)
    assert float(deep_loss(z, z.flip(1))) > 0.1
    assert float(interpretability_loss(h)) == pytest.approx(float(interpretability_loss(100 * h)), rel=1e-3)
    smooth, equal = h.mean((2, 3), keepdim=True).expand_as(h), h[:, :1].expand_as(h)
    assert float(interpretability_loss(equal)) > float(interpretability_loss(h))
    spots = torch.zeros_like(h)
    spots[:, 0, 0, 0] = spots[:, 1, 3, 3] = spots[:, 2, 5, 5] = 1
    cells = torch.nn.functional.interpolate(spots[..., ::2, ::2], scale_factor=2)
    assert float(interpretability_loss(cells[:, :2])) < float(interpretability_loss(smooth[:, :2])) + 4
    assert torch.isfinite(interpretability_loss(torch.zeros_like(h)))


def test_learning_leaves_the_classifier_as_it_was(fashion: TorchClassifier, images: Images, few_steps: None) -> None:
    """Frozen, in eval mode, without gradients, and with the same logits; only the pupils change, by the seed alone."""
    x = torch.from_numpy(images.x[:8])
    with torch.inference_mode():
        before = fashion.logits(x).clone()
    modes = [module.training for module in fashion.modules()]
    gradients = [
        parameter.grad for parameter in fashion.parameters()
    ]  # the model is shared, another test may leave some
    twins = [[item.intervention for item in learnable(fashion)] for _ in range(2)]
    for pupils in twins:
        assert interventions.teach(fashion, pupils, images.x[:100], seed=3) == pupils
    with torch.inference_mode():
        torch.testing.assert_close(fashion.logits(x), before)  # kernels round by where their buffers happen to lie
    assert [module.training for module in fashion.modules()] == modes
    assert all(now.grad is was for now, was in zip(fashion.parameters(), gradients, strict=True))
    for one, other in zip(*twins, strict=True):
        assert not any(parameter.requires_grad for parameter in one.parameters())
        for name, tensor in one.state_dict().items():
            assert torch.equal(tensor, other.state_dict()[name])


def test_what_cannot_be_learned_is_left_out_with_a_reason(
    fashion: TorchClassifier, images: Images, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A classifier without gradients, and one that is too large for the work allowed, give no learned intervention."""
    made = pupil(LearnedMask, fashion, site=SITE)
    with caplog.at_level(logging.INFO, logger="ce_detect"), monkeypatch.context() as patch:
        patch.setattr(type(fashion), "resume", lambda self, site, latent, x: torch.zeros(len(latent), 10))
        assert interventions.teach(fashion, [made], images.x[:64], seed=0) == []
    assert "not learned: LearnedMask" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="ce_detect"), monkeypatch.context() as patch:
        patch.setattr(interventions, "WORK", 1.0)
        assert interventions.teach(fashion, [made], images.x[:64], seed=0) == []
    assert "too large" in caplog.text


# --- in a signature


@torch.inference_mode()
def test_concepts_are_measured_against_the_inserted_autoencoder(fashion: TorchClassifier, images: Images) -> None:
    """Where the reconstruction is perfect, insertion has no effect; a concept that is never there has none either."""
    x = torch.from_numpy(images.x[:8])
    channels = fashion.trace(x, (SITE,)).latents[SITE].shape[1]
    made = AblateConcept(site=SITE, channels=channels, concepts=channels, size=1)
    assert made.encoder.bias is not None
    made.encoder.weight.copy_(torch.eye(channels)[:, :, None, None])
    made.decoder.weight.copy_(torch.eye(channels)[:, :, None, None])
    signature = Signature(fashion, [made])
    _, features = signature(x)
    columns = {name: features[:, signature.names.index(name)] for name in feature_names(made)}
    assert len(columns) == 4 * 6
    assert columns[f"{made.name}.divergence.inserted"].abs().max() < 1e-4  # after a ReLU, a ReLU copies
    assert columns[f"{made.name}.non-target effect.max"].min() > 0
    made.decoder.weight.zero_()
    _, features = signature(x)
    columns = {name: features[:, signature.names.index(name)] for name in feature_names(made)}
    assert columns[f"{made.name}.non-target effect.inserted"].min() > 0
    assert columns[f"{made.name}.non-target effect.max"].abs().max() < 1e-4


@pytest.mark.parametrize("kind", sorted(kind for kind, cls in kinds().items() if cls.latents != cls.tokens))
def test_tensors_that_an_intervention_does_not_take_are_refused(kind: str) -> None:
    """What moves pixels has no meaning on tokens, and what drops tokens none on maps; the error says what is needed."""
    part = subject("plain" if kinds()[kind].tokens else "transformer")
    site = "stage1.2" if kinds()[kind].tokens else "block1"
    spec = {"kind": kind, "site": site, "shape": "3x3x3", "channels": 9, "count": 9}
    known = kinds()[kind].__init__.__kwdefaults__ or {}
    needed = {"AblateConcept": {"channels"}, "LearnedMask": {"shape"}, "DropTokens": {"count"}}.get(kind, set())
    given = {key: value for key, value in spec.items() if key == "site" or key in needed or key in known}
    made = kinds()[kind](**given)
    with pytest.raises(CalibrationError, match=r"needs (a feature map|tokens) .* has shape"):
        Signature(part.classifier, [made])
