"""What a search may add to a signature: every candidate fits the classifier it is proposed for."""

from __future__ import annotations

import pytest
import torch
from support.models import Subject, subject, tiny_classifier

from ce_detect.calibrate.search.candidates import candidates, completed, learnable
from ce_detect.core.errors import CalibrationError
from ce_detect.features.signature import Signature
from ce_detect.fitting import interventions, layer_consistency
from ce_detect.interventions import (
    GradientStep,
    LearnedIntervention,
)


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it does not matter how well something is learned."""
    monkeypatch.setattr(interventions, "STEPS", interventions.LEAST_STEPS)


@pytest.mark.parametrize("name", ["plain", "residual", "in-place", "transformer", "branching", "one-logit"])
def test_every_candidate_fits_its_classifier(name: str, few_steps: None) -> None:
    """All that a search would try can be put in one signature, once it is learned, and gives finite features."""
    part = subject(name)
    items = [*candidates(part.classifier, 0), *learnable(part.classifier)]
    pupils = [i.intervention for i in items if isinstance(i.intervention, LearnedIntervention)]
    assert interventions.teach(part.classifier, pupils, part.x.numpy(), seed=0) == pupils
    recovery = layer_consistency.fitted(part.classifier, part.x.numpy())
    made = [item.intervention for item in items if item.intervention is not None]
    with torch.inference_mode():
        _, features = Signature(part.classifier, made, layer_consistency=recovery)(part.x)
    assert torch.isfinite(features).all()
    if name == "transformer":
        assert any(type(i).tokens and i.site.startswith("block") for i in made)


@pytest.mark.parametrize("name", ["plain", "transformer", "branching"])
def test_gradient_steps_work_in_a_gate_and_in_an_attack_on_it(name: str) -> None:
    """Cut or hooked, on maps or on tokens: the same features with and without inference mode, and a finite gradient."""
    part: Subject = subject(name)
    steps = [i.intervention for i in candidates(part.classifier, 0) if isinstance(i.intervention, GradientStep)]
    signature = Signature(part.classifier, [*steps, GradientStep(low=0.0, high=1.0)])  # type: ignore[list-item]
    with torch.inference_mode():
        _, inside = signature(part.x)
    x = part.x.clone().requires_grad_(True)
    _, outside = signature(x)
    torch.testing.assert_close(inside, outside.detach(), rtol=1e-3, atol=1e-3)
    (gradient,) = torch.autograd.grad(outside.sum(), x)
    assert torch.isfinite(gradient).all()
    assert gradient.flatten(1).abs().sum(1).gt(0).all()


def test_what_a_recipe_makes_smaller_keeps_its_size_where_there_is_but_one(caplog: pytest.LogCaptureFixture) -> None:
    """A recipe for large models names small inputs; a transformer behind it runs them enlarged again."""
    classifier = tiny_classifier("transformer")
    assert not classifier.elastic
    for spec in ({"kind": "Downscale", "scale": 0.5, "restore": False}, {"kind": "Flip", "scale": 0.75}):
        intervention = completed(spec, classifier)
        assert intervention(classifier.probe(2)).shape[-2:] == classifier.probe(2).shape[-2:]
        assert f"images of one size alone: {spec['kind']} runs with" in caplog.text
        assert Signature(classifier, [intervention])(classifier.probe(2))[1].isfinite().all()
    with pytest.raises(CalibrationError, match="take Blur there, or leave it out"):
        completed({"kind": "Pool", "site": "block1"}, classifier)
    caplog.clear()
    completed({"kind": "Downscale", "scale": 0.5, "restore": True}, classifier)
    completed({"kind": "Downscale", "scale": 0.5}, tiny_classifier("plain"))
    assert not caplog.text
