"""What is unwrapped, and what is refused with its reason before anything else is tried."""

from __future__ import annotations

import logging
import warnings

import pytest
import torch
from support.awkward import SHAPE, WRAP, cnn
from torch import nn

from ce_detect.classifiers.checks import is_exported, unwrapped
from ce_detect.classifiers.segmented import TorchClassifier
from ce_detect.classifiers.wrapping import wrap
from ce_detect.core.errors import ModelError

EXAMPLE = (torch.rand(2, *SHAPE),)
FREE = ({0: torch.export.Dim.AUTO},)


@torch.inference_mode()
def test_exported_programs_are_cut() -> None:
    """A program, or its module, which cannot be put into eval mode, gives the logits of what it was made of."""
    program = torch.export.export(cnn(), EXAMPLE, dynamic_shapes=FREE)
    for given in (program, program.module()):
        assert is_exported(unwrapped(given))
        classifier = wrap(given, **WRAP)  # type: ignore[arg-type]
        assert isinstance(classifier, TorchClassifier)
        assert len(classifier.sites) > 3
        torch.testing.assert_close(classifier.logits(EXAMPLE[0]), cnn()(EXAMPLE[0]), rtol=1e-4, atol=1e-4)


def test_an_exported_program_of_one_batch_size_says_how_to_export() -> None:
    """It cannot judge other batches."""
    with pytest.raises(ModelError, match=r"came out of torch\.export .* dynamic_shapes=\(\{0: torch"):
        wrap(torch.export.export(cnn(), EXAMPLE).module(), **WRAP)


@pytest.mark.parametrize("kind", ["scripted", "traced", "frozen"])
@torch.inference_mode()
def test_torchscript_is_judged_from_its_pixels(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """It has no sites, and the log says why and what has."""
    with warnings.catch_warnings():  # it is old, and says so itself
        warnings.simplefilter("ignore")
        script = torch.jit.trace(cnn(), EXAMPLE[0]) if kind == "traced" else torch.jit.script(cnn())
        script = torch.jit.freeze(script) if kind == "frozen" else script
    with caplog.at_level(logging.WARNING):
        classifier = wrap(script, **WRAP)
    assert classifier.sites == ()
    assert "it is TorchScript; wrap the Python module that it was made of, or an .onnx file of it" in caplog.text
    assert "no hidden tensor to intervene on" in caplog.text
    torch.testing.assert_close(classifier.logits(EXAMPLE[0]), cnn()(EXAMPLE[0]))


def test_models_without_values_or_gradients_are_refused() -> None:
    """The meta device and PyTorch's own quantisation, each with the remedy."""
    with pytest.raises(ModelError, match=r"no values, only shapes.*load_state_dict"):
        wrap(cnn().to("meta"), **WRAP)
    with warnings.catch_warnings():  # it is old, and says so itself
        warnings.simplefilter("ignore")
        quantised = torch.ao.quantization.quantize_dynamic(cnn(), {nn.Linear})
    with pytest.raises(ModelError, match=r"quantised by PyTorch \(.*Linear\).*Wrap the model before"):
        wrap(quantised, **WRAP)
