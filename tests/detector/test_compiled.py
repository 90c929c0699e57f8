"""A traced gate says what the gate says, and whatever cannot be traced runs as it is."""

from __future__ import annotations

import copy
import threading
from typing import Any

import pytest
import torch
from support.models import Subject, subject, tiny_images
from torch import Tensor

from ce_detect import interventions
from ce_detect.classifiers.base import Classifier
from ce_detect.detector import compiled
from ce_detect.detector.compiled import Compiled, can_compile
from ce_detect.features.layer_consistency import LayerConsistency
from ce_detect.features.signature import Signature
from ce_detect.fitting import layer_consistency


def signature(tiny: Subject) -> Signature:
    """One with interventions that keep the shape, one of another size where that goes, one of two draws."""
    channels, height, _ = tiny.tiny.shape
    chosen: list[interventions.Intervention] = [
        interventions.Flip(),
        interventions.GaussianNoise(sigma=0.05, draws=2, channels=channels, side=height),
    ]
    if tiny.tiny.elastic:
        chosen.append(interventions.Downscale(scale=0.75))
    return Signature(tiny.classifier, chosen, chunk=4).eval()


def programs(run: Compiled) -> list[Any]:
    """What runs batches of each shape so far."""
    return list(run._programs.values())


@torch.inference_mode()
def test_a_trace_says_the_same(cut_model: Subject) -> None:
    """Of every kind of model, in batches that take one pass, that resume, and that are resumed in chunks."""
    module = signature(cut_model)
    run = Compiled(module)
    for count in (1, 2, 8):
        x = cut_model.x[:count]
        run(x), run(x)
        assert isinstance(run._programs[(tuple(x.shape),)], torch.jit.ScriptFunction)
        for pixels in (x, tiny_images(cut_model.name, count, seed=5)):
            for expected, got in zip(module(pixels), run(pixels), strict=True):
                torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def test_parameters_still_ask_for_gradients_afterwards(plain: Subject) -> None:
    """A trace takes them for constants, but they are the user's."""
    classifier = copy.deepcopy(plain.classifier).requires_grad_(True)
    run = Compiled(Signature(classifier, [interventions.Flip()], chunk=4).eval())
    with torch.inference_mode():
        run(plain.x), run(plain.x)
    assert all(parameter.requires_grad for parameter in classifier.parameters())
    assert isinstance(programs(run)[0], torch.jit.ScriptFunction)


def test_gradients_pass_through(plain: Subject) -> None:
    """What needs gradients runs the module itself, also once it is traced."""
    module = signature(plain)
    run = Compiled(module)
    with torch.inference_mode():
        run(plain.x), run(plain.x)
    x = plain.x.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(run(x)[1].sum(), x)
    (expected,) = torch.autograd.grad(module(x)[1].sum(), x)
    assert torch.equal(gradient, expected)
    assert bool(gradient.abs().sum() > 0)


def test_what_runs_code_of_the_model_is_not_traced() -> None:
    """A hooked model may decide by value; an intervention that takes gradients is no list of operations."""
    hooked, plain = subject("branching"), subject("plain")
    assert not can_compile(signature(hooked))
    assert not can_compile(Signature(plain.classifier, [interventions.GradientStep()]))
    assert can_compile(Signature(plain.classifier, []))
    run, module = Compiled(signature(hooked)), signature(hooked)
    with torch.inference_mode():
        for _ in range(3):
            assert torch.equal(run(hooked.x)[1], module(hooked.x)[1])
    assert programs(run) == [run._module]


class Deciding(Signature):
    """Returns what the first pixel of the batch decides."""

    def forward(self, x: Tensor, *, one_pass: bool | None = None) -> tuple[Tensor, Tensor]:
        """See `Signature`."""
        z, features = super().forward(x, one_pass=one_pass)
        return z, features + (1.0 if float(x[0, 0, 0, 0]) < float(x[0, 0, -1, -1]) else 0.0)


def test_a_trace_that_is_not_faithful_is_thrown_away(plain: Subject) -> None:
    """A value that became a number in the trace."""
    module = Deciding(plain.classifier, [])
    run = Compiled(module)
    x = plain.x.clone()
    x[0, 0, 0, 0], x[0, 0, -1, -1], x[0, 0, -1, 0], x[0, 0, 0, -1] = 0.0, 1.0, 0.9, 0.1
    with torch.inference_mode():
        for pixels in (x, x, x.flip(2), x):
            assert torch.equal(run(pixels)[1], module(pixels)[1])
    assert programs(run) == [module]


def test_without_torchscript_everything_runs_as_it_is(plain: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where PyTorch no longer has it."""

    def gone(*_: object, **__: object) -> None:
        raise RuntimeError("torch.jit.trace is not supported")

    monkeypatch.setattr(torch.jit, "trace", gone)
    module = signature(plain)
    run = Compiled(module)
    with torch.inference_mode():
        for _ in range(3):
            assert torch.equal(run(plain.x)[1], module(plain.x)[1])
    assert programs(run) == [module]


def test_only_so_many_shapes_are_traced(plain: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that sees every size must not fill memory with traces."""
    monkeypatch.setattr(compiled, "MOST_SHAPES", 2)
    module = signature(plain)
    run = Compiled(module)
    with torch.inference_mode():
        for count in (1, 2, 3, 1, 2, 3, 3):
            x = plain.x[:count]
            assert torch.equal(run(x)[1], module(x)[1])
    assert [shape[0] for (shape,) in run._programs] == [1, 2]


def test_threads_trace_one_after_the_other(plain: Subject) -> None:
    """Many threads that begin at once all get the same, and parameters are left as they were."""
    classifier = copy.deepcopy(plain.classifier).requires_grad_(True)
    module = Signature(classifier, [interventions.Flip()], chunk=4).eval()
    run = Compiled(module)
    sizes = [1, 2, 3, 4, 5, 6, 7, 8] * 2
    with torch.inference_mode():
        expected = [module(plain.x[:size])[1] for size in sizes]
    got: list[Tensor | None] = [None] * len(sizes)

    def work(place: int) -> None:
        with torch.inference_mode():
            for _ in range(3):
                got[place] = run(plain.x[: sizes[place]])[1]

    threads = [threading.Thread(target=work, args=(place,)) for place in range(len(sizes))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for found, wanted in zip(got, expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    assert all(parameter.requires_grad for parameter in classifier.parameters())


@torch.inference_mode()
def test_moments_and_layer_consistency_are_traced(plain: Subject) -> None:
    """Statistics of the one forward pass, too."""
    module = Signature(
        plain.classifier, [], sites=plain.classifier.sites[:2], layer_consistency=_consistency(plain.classifier)
    ).eval()
    run = Compiled(module)
    run(plain.x), run(plain.x)
    assert isinstance(programs(run)[0], torch.jit.ScriptFunction)
    assert torch.equal(run(plain.x.flip(3))[1], module(plain.x.flip(3))[1])


def _consistency(classifier: Classifier) -> LayerConsistency | None:
    return layer_consistency.fitted(classifier, tiny_images("plain", 64, seed=3).numpy())
