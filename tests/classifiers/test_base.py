"""What every classifier does, whatever is behind the seam."""

from __future__ import annotations

import torch
from support.models import Subject, two_logits

from ce_detect.classifiers.base import INPUT, PENULTIMATE, is_classifier, movable


def test_a_wrapped_model_is_told_from_a_bare_one(any_model: Subject) -> None:
    """Also where what is asked for is a buffer of a module, which ``isinstance`` of a protocol does not see."""
    assert is_classifier(any_model.classifier)
    assert not is_classifier(any_model.model)


@torch.inference_mode()
def test_logits_equal_the_models(any_model: Subject) -> None:
    """The wrapped model gives the logits of the bare one, batch norms folded or not."""
    expected = two_logits(any_model.model(any_model.x))
    torch.testing.assert_close(any_model.classifier.logits(any_model.x), expected, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_trace_keeps_what_was_asked_for(any_model: Subject) -> None:
    """A trace gives the logits, and the latents of all sites or of those that are named."""
    classifier = any_model.classifier
    whole = classifier.trace(any_model.x)
    part = classifier.trace(any_model.x, classifier.sites[-1:])
    assert tuple(whole.latents) == classifier.sites
    assert tuple(part.latents) == classifier.sites[-1:]
    assert classifier.trace(any_model.x, ()).latents == {}
    torch.testing.assert_close(whole.logits, classifier.logits(any_model.x))
    torch.testing.assert_close(part.logits, whole.logits)


@torch.inference_mode()
def test_resume_from_its_own_latent_changes_nothing(any_model: Subject) -> None:
    """At every site, and at the input, going on from what was there gives the same logits."""
    logits, latents = any_model.classifier.trace(any_model.x)
    assert latents
    for site, latent in {INPUT: any_model.x, **latents}.items():
        torch.testing.assert_close(any_model.classifier.resume(site, latent, any_model.x), logits)


@torch.inference_mode()
def test_resume_takes_several_draws(any_model: Subject) -> None:
    """Draws stacked draw-major give what each gives alone, and different latents give different logits."""
    for site, latent in any_model.classifier.trace(any_model.x).latents.items():
        draws = [latent, latent.flip(0), latent.clamp(max=latent.mean())]
        together = any_model.classifier.resume(site, torch.cat(draws), any_model.x).chunk(3)
        for draw, logits in zip(draws, together, strict=True):
            alone = any_model.classifier.resume(site, draw, any_model.x)
            torch.testing.assert_close(logits, alone, rtol=1e-4, atol=1e-5)
        if any_model.tiny.cut:  # the latent carries everything
            torch.testing.assert_close(together[1], together[0].flip(0), rtol=1e-4, atol=1e-5)
        assert not torch.allclose(together[2], together[0], atol=1e-3)


@torch.inference_mode()
def test_batch_of_one_equals_a_row(any_model: Subject) -> None:
    """An input gets the logits and latents that it gets in company."""
    logits, latents = any_model.classifier.trace(any_model.x)
    alone = any_model.classifier.trace(any_model.x[2:3])
    torch.testing.assert_close(alone.logits, logits[2:3], rtol=1e-4, atol=1e-4)
    for site, latent in latents.items():
        torch.testing.assert_close(alone.latents[site], latent[2:3], rtol=1e-4, atol=1e-4)


def test_logits_have_gradients(any_model: Subject) -> None:
    """The gradient of a logit reaches the pixels, and through a resume the latent."""
    classifier = any_model.classifier
    x = any_model.x.clone().requires_grad_(True)
    logits, latents = classifier.trace(x)
    (gradient,) = torch.autograd.grad(logits[:, 0].sum(), x)
    assert gradient.abs().amax(dim=(1, 2, 3)).gt(0).all()
    for site, latent in latents.items():
        inside = latent.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(classifier.resume(site, inside, x)[:, 0].sum(), inside)
        assert gradient.flatten(1).abs().amax(1).gt(0).all(), site


@torch.inference_mode()
def test_inputs_are_left_as_they_are(any_model: Subject) -> None:
    """Neither a trace nor a resume writes into the arrays that it is given."""
    x = any_model.x.clone()
    for site, latent in any_model.classifier.trace(x).latents.items():
        before = latent.clone()
        any_model.classifier.resume(site, latent, x)
        assert torch.equal(latent, before), site
    assert torch.equal(x, any_model.x)


@torch.inference_mode()
def test_penultimate_feeds_the_head(any_model: Subject) -> None:
    """Where the last layer is linear, its weight is known and the site before it carries its input."""
    classifier = any_model.classifier
    if classifier.head_weight is None:
        assert PENULTIMATE not in classifier.sites
        return
    logits, latents = classifier.trace(any_model.x)
    products = latents[PENULTIMATE] @ classifier.head_weight.T
    torch.testing.assert_close(logits - products, (logits - products)[:1].expand_as(logits), rtol=1e-3, atol=1e-3)


@torch.inference_mode()
def test_tracing_and_resuming_at_once_equals_one_after_the_other(any_model: Subject) -> None:
    """Rows that join at the input and at every site leave the trace and each other alone."""
    classifier, x = any_model.classifier, any_model.x
    trace = classifier.trace(x)
    do = {site: lambda h, k=k: torch.cat([h * (0.9 - 0.02 * k), h.flip(0)]) for k, site in enumerate(classifier.sites)}
    do[INPUT] = lambda h: h.flip(-1)
    traced, logits = classifier.trace_and_resume(x, classifier.sites, do)
    torch.testing.assert_close(traced.logits, trace.logits, rtol=1e-3, atol=1e-3)
    assert set(logits) == {INPUT, *classifier.sites}
    for site, make in do.items():
        latent = trace.latents.get(site, x)
        if site != INPUT:
            torch.testing.assert_close(traced.latents[site], latent, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(logits[site], classifier.resume(site, make(latent), x), rtol=1e-3, atol=1e-3)


@torch.inference_mode()
def test_only_the_sites_that_are_asked_for_are_kept(any_model: Subject) -> None:
    """Keeping a latent costs memory."""
    classifier = any_model.classifier
    traced, logits = classifier.trace_and_resume(any_model.x, classifier.sites[:1], {})
    assert tuple(traced.latents) == classifier.sites[:1]
    assert logits == {}


def test_a_map_that_tokens_are_made_of_can_be_moved_and_one_that_is_pooled_cannot() -> None:
    """Attention knows where its tokens are; a mean over the image does not."""
    maps = {"stem": (8, 16, 16), "stem.1": (16, 8, 8)}
    assert movable({**maps, PENULTIMATE: (16,)}) == ["stem"]
    assert movable({**maps, "block": (64, 16), PENULTIMATE: (16,)}) == ["stem", "stem.1"]
    assert movable({"stem": (8, 16, 16), PENULTIMATE: (16,)}) == ["stem"]
    assert movable(maps) == ["stem", "stem.1"]
    assert movable({}) == []
