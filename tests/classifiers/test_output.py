"""Outputs that are read as logits, and those that are refused."""

from __future__ import annotations

import pytest
import torch
from support.models import GREY, PLAIN, Subject, around, subject, tiny_model, two_logits

from ce_detect.classifiers.base import PENULTIMATE
from ce_detect.classifiers.wrapping import wrap
from ce_detect.core.errors import ModelError


def test_one_logit_is_read_as_log_odds() -> None:
    """One output is the log-odds of class 1: two logits whose difference it is, and whose sum is zero."""
    part = subject("one-logit")
    with torch.inference_mode():
        logits, odds = part.classifier.logits(part.x), part.model(part.x)
        column = wrap(around("one-logit", lambda z: z[:, None]), **GREY).logits(part.x)
    torch.testing.assert_close(logits[:, 1] - logits[:, 0], odds)
    torch.testing.assert_close(logits.sum(1), torch.zeros(8))
    torch.testing.assert_close(column, logits)


@pytest.mark.parametrize("name", ["plain", "branching"])
@torch.inference_mode()
def test_one_label_of_several_is_watched(name: str) -> None:
    """A label of a multi-label model is a decision of its own: two logits whose difference its logit is."""
    part = subject(name)
    settings = {"input_shape": part.tiny.shape, "bounds": part.tiny.bounds, "multi_label": True}
    several, one = wrap(part.model, **settings), wrap(part.model, **settings, label=2)
    z = part.model(part.x)
    torch.testing.assert_close(several.logits(part.x), z, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(one.logits(part.x), two_logits(z[:, 2]), rtol=1e-4, atol=1e-4)
    assert (several.multi_label, several.label, several.num_classes) == (True, None, 4)
    assert (one.multi_label, one.label, one.num_classes) == (False, 2, 2)
    assert one.sites == several.sites == part.classifier.sites
    assert one.fingerprint() == part.classifier.fingerprint()
    logits, latents = one.trace(part.x)
    for site, latent in latents.items():
        torch.testing.assert_close(one.resume(site, latent, part.x), logits)
    if name == "plain":
        bias = two_logits(part.model.head.bias[2:3])
        torch.testing.assert_close(latents[PENULTIMATE] @ one.head_weight.T + bias, logits)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label": 2}, r"label = 2 is for a multi-label model.*add multi_label=True"),
        ({"label": 4, "multi_label": True}, r"label = 4, but PlainCNN has 4 labels, 0 to 3"),
        ({"label": -1, "multi_label": True}, r"label = -1, but PlainCNN has 4 labels"),
    ],
)
def test_labels_that_are_none_are_refused(plain: Subject, options: dict[str, object], message: str) -> None:
    """The error says which labels there are, or that classes are no labels."""
    with pytest.raises(ModelError, match=message):
        wrap(plain.model, **PLAIN, **options)


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("plain", lambda z: z.softmax(1)),
        ("plain", torch.sigmoid),
        ("one-logit", torch.sigmoid),
        ("one-logit", lambda z: torch.sigmoid(z)[:, None]),
        ("branching", lambda z: z.softmax(1)),
        ("branching", torch.sigmoid),
        ("branching", lambda z: torch.sigmoid(z)[:, 1:3].reshape(-1, 2)),
    ],
)
def test_probabilities_are_refused(name: str, function: object) -> None:
    """A model that ends in a softmax or a sigmoid is refused with the remedy, whether it can be cut or not."""
    part = subject(name)
    with pytest.raises(ModelError, match=r"returns probabilities.*Remove the final softmax or sigmoid"):
        wrap(around(name, function), input_shape=part.tiny.shape, bounds=part.tiny.bounds)


def test_log_probabilities_are_logits(plain: Subject) -> None:
    """A log-softmax only shifts the logits of an input, so it is accepted."""
    classifier = wrap(around("plain", lambda z: z.log_softmax(1)), **PLAIN)
    with torch.inference_mode():
        expected = plain.model(plain.x).log_softmax(1)
        torch.testing.assert_close(classifier.logits(plain.x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda z: (z, z), r"Around returns tuple, expected one tensor of logits.*forward returns the logits only"),
        (lambda z: {"logits": z}, "Around returns dict"),
        (lambda z: z[:, :, None], r"returns shape \(4, 4, 1\) for 4 inputs, expected \(4, classes\)"),
        (lambda z: z.sum(), r"returns shape \(\) for 4 inputs"),
        (lambda z: z.argmax(1, keepdim=True).repeat(1, 3), "not finite logits"),
        (lambda z: z * torch.nan, "not finite logits"),
    ],
)
def test_outputs_that_are_no_logits_are_refused(function: object, message: str) -> None:
    """The error says what the model returned and what was expected."""
    with pytest.raises(ModelError, match=message):
        wrap(around("branching", function), **GREY)


@pytest.mark.parametrize(
    ("name", "shape"), [("plain", (1, 16, 16)), ("transformer", (3, 13, 13)), ("in-place", (1, 28, 28))]
)
def test_wrong_input_shape_is_a_model_error(name: str, shape: tuple[int, int, int]) -> None:
    """Whatever the model raises on a shape that it was not built for, the error says which shape and what to do."""
    listed = ", ".join(map(str, shape))
    with pytest.raises(ModelError, match=rf"fails on an input of shape \('batch', {listed}\).*input_shape="):
        wrap(tiny_model(name), input_shape=shape, bounds=(0.0, 1.0))
