"""However a signature is run, it is the same, and no more is run than must be."""

from __future__ import annotations

import pytest
import torch
from support.models import Subject
from support.signatures import signature_of

from ce_detect.classifiers.base import INPUT, PENULTIMATE
from ce_detect.core.errors import CalibrationError
from ce_detect.features.signature import Signature
from ce_detect.interventions import Flip, GaussianNoise, MakeCounterfactual, Scale, Shift


@pytest.mark.parametrize("chunk", [1, 8, 20, 1000])
@torch.inference_mode()
def test_chunks_change_nothing(any_model: Subject, chunk: int) -> None:
    """However many rows are resumed at a time, the signature is the same."""
    whole = signature_of(any_model)(any_model.x)[1]
    torch.testing.assert_close(signature_of(any_model, chunk=chunk)(any_model.x)[1], whole, rtol=1e-3, atol=1e-3)


@torch.inference_mode()
def test_one_pass_changes_nothing(any_model: Subject) -> None:
    """Interventions give the same as rows of the one forward pass, and resumed from their sites."""
    signature = signature_of(any_model, chunk=20)
    resumed, joined = (signature(any_model.x, one_pass=one_pass)[1] for one_pass in (False, True))
    torch.testing.assert_close(joined, resumed, rtol=1e-3, atol=1e-3)


@torch.inference_mode()
def test_first_and_second_make_the_whole(any_model: Subject) -> None:
    """The free features, and those of the interventions from what the first step left."""
    signature = signature_of(any_model)
    logits, free, latents = signature.first(any_model.x)
    others = signature.second(any_model.x, logits, latents)
    assert free.shape[1] == signature.free
    assert tuple(latents) == signature.changed
    expected = signature(any_model.x, one_pass=False)[1]
    torch.testing.assert_close(torch.cat([free, others], dim=1), expected, rtol=1e-3, atol=1e-3)


@torch.inference_mode()
def test_small_batches_take_one_pass(plain: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as the inputs and all further rows fit into a chunk, nothing that keeps its shape is resumed."""
    resumed: list[int] = []
    resume = plain.classifier.resume
    monkeypatch.setattr(plain.classifier, "resume", lambda site, h, x: resumed.append(len(h)) or resume(site, h, x))
    signature = Signature(plain.classifier, [Flip(), GaussianNoise(draws=2), Flip(scale=0.5)], chunk=16)
    for count, expected in ((4, [4]), (5, [5, 15])):
        resumed.clear()
        signature(plain.x[:count])
        assert sorted(resumed) == expected


@torch.inference_mode()
def test_what_is_known_of_the_input_is_not_run_again(plain: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """An intervention that asks which class comes second gets it from the one forward pass."""
    resumed: list[int] = []
    resume = plain.classifier.resume
    monkeypatch.setattr(plain.classifier, "resume", lambda site, h, x: resumed.append(len(h)) or resume(site, h, x))
    classes = plain.classifier.num_classes
    Signature(plain.classifier, [MakeCounterfactual(channels=3, classes=classes, width=2, depth=1)])(plain.x[:4])
    assert resumed == [4]


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
