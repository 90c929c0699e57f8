"""Intervened rows that ride along give what tracing and resuming give, for every kind of classifier."""

from __future__ import annotations

import torch
from support.models import Subject

from ce_detect.classifiers.base import INPUT


@torch.inference_mode()
def test_riding_along_equals_tracing_and_resuming(any_model: Subject) -> None:
    """Rows that join at the input and at every site leave the trace and each other alone."""
    classifier, x = any_model.classifier, any_model.x
    trace = classifier.trace(x)
    do = {site: lambda h, k=k: torch.cat([h * (0.9 - 0.02 * k), h.flip(0)]) for k, site in enumerate(classifier.sites)}
    do[INPUT] = lambda h: h.flip(-1)
    ridden, logits = classifier.trace_and_resume(x, classifier.sites, do)
    torch.testing.assert_close(ridden.logits, trace.logits, rtol=1e-3, atol=1e-3)
    assert set(logits) == {INPUT, *classifier.sites}
    for site, make in do.items():
        latent = trace.latents.get(site, x)
        if site != INPUT:
            torch.testing.assert_close(ridden.latents[site], latent, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(logits[site], classifier.resume(site, make(latent), x), rtol=1e-3, atol=1e-3)


@torch.inference_mode()
def test_only_the_sites_that_are_asked_for_are_kept(any_model: Subject) -> None:
    """Keeping a latent costs memory."""
    classifier = any_model.classifier
    ridden, logits = classifier.trace_and_resume(any_model.x, classifier.sites[:1], {})
    assert tuple(ridden.latents) == classifier.sites[:1]
    assert logits == {}
