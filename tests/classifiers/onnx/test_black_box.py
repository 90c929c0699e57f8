"""Classifiers that ONNX Runtime runs."""

from __future__ import annotations

import pickle

import pytest
import torch
from support.models import tiny_classifier, tiny_images
from support.onnx_files import black_box_file, tiny_file, wrapped

from ce_detect.classifiers import onnx as onnx_models
from ce_detect.classifiers.base import is_classifier
from ce_detect.classifiers.onnx import RuntimeModule
from ce_detect.classifiers.onnx.black_box import OnnxClassifier
from ce_detect.classifiers.wrapping import wrap


@pytest.mark.parametrize("name", ["plain", "transformer"])
def test_a_black_box_has_sites_and_no_gradients(name: str) -> None:
    """ONNX Runtime runs what is behind a site; one_pass gives what resuming gives."""
    file = onnx_models.read(tiny_file(name))
    classifier = wrapped(RuntimeModule(file), name)
    assert isinstance(classifier, OnnxClassifier)
    assert is_classifier(classifier)
    assert len(classifier.sites) >= 3
    x = tiny_images(name, 3)
    trace = classifier.trace(x)
    torch.testing.assert_close(trace.logits, tiny_classifier(name).logits(x), rtol=1e-3, atol=1e-3)
    first, last = classifier.sites[0], classifier.sites[-1]
    do = {site: lambda h: torch.cat([h, 0.5 * h]) for site in ("input", first, last)}
    traced, logits = classifier.trace_and_resume(x, classifier.sites[:1], do)
    torch.testing.assert_close(traced.latents[first], trace.latents[first])
    for site, z in logits.items():
        torch.testing.assert_close(z[:3], trace.logits)
        torch.testing.assert_close(z, classifier.resume(site, do[site](trace.latents.get(site, x)), x))
    assert not classifier.differentiable
    assert not classifier.logits(x.requires_grad_(True)).requires_grad


def test_a_black_box_travels_to_another_process() -> None:
    """Pickled and read again it gives the same logits and has the same fingerprint."""
    model = onnx_models.load(black_box_file())
    assert isinstance(model, RuntimeModule)
    classifier = wrap(model, input_shape=(1, 28, 28), bounds=(0.0, 1.0))
    again = pickle.loads(pickle.dumps(classifier))
    x = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(again.logits(x), classifier.logits(x), rtol=0, atol=0)
    assert again.fingerprint() == classifier.fingerprint()
