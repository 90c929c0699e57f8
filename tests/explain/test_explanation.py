"""Explanations: what they hold, what they leave out where there are no gradients, and what is refused."""

from __future__ import annotations

import functools
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.calibrated import for_photographs, fresh, guard
from support.onnx_files import black_box_file

from ce_detect.classifiers import onnx as onnx_models
from ce_detect.classifiers.wrapping import wrap
from ce_detect.core.errors import InputError, UsageError
from ce_detect.detector.gate import GateModule
from ce_detect.explain.explanation import explain
from ce_detect.features.signature import Signature
from ce_detect.fitting import untrained
from ce_detect.interventions import Flip


@functools.cache
def without_gradients() -> Any:
    """A gate on the same model as that of `guard`, as a file that no gradient goes through."""
    model = wrap(onnx_models.load(black_box_file()), input_shape=(1, 28, 28), bounds=(0.0, 1.0))
    assert not model.differentiable
    signature = Signature(model, [Flip()])
    head = untrained.head(len(signature.names), "distance")
    return GateModule(signature, head, clean_scores=torch.arange(10.0), threshold=5.0, prevalence=0.1).eval()


def test_a_file_without_gradients_has_what_needs_none(caplog: pytest.LogCaptureFixture) -> None:
    """Maps as of the model in PyTorch, and what carried the score; the rest is said to be left out."""
    x = fresh()[0][:1]
    with caplog.at_level(logging.WARNING, logger="ce_detect"):
        found = explain(
            without_gradients(), x, method=("effect-map", "grad-cam"), attack=2 / 255, concepts=fresh()[0][:32], label=4
        )
    assert found.left_out == ("Grad-CAM", "maps after an attack", "concepts")
    assert "left out, as the classifier has no gradients: Grad-CAM, maps after an attack, concepts" in caplog.text
    assert set(found.other_maps) == {"effect-map"}
    assert (found.after, found.concepts) == (None, None)
    levels = np.round(x * 255).astype(np.float32) / 255
    same = guard().explain(levels, method="effect-map", label=4)
    assert same.left_out == ()
    for name in ("target", "non_target", "rival"):
        own, expected = getattr(found.maps, name), getattr(same.maps, name)
        assert np.corrcoef(own.flatten(), expected.flatten())[0, 1] > 0.99
    assert np.corrcoef(found.other_maps["effect-map"].ravel(), same.other_maps["effect-map"].ravel())[0, 1] > 0.99
    assert "Flip(scale=1.0)@input" in [part.name for part in found.carried[0]]
    assert np.isfinite(found.result.score).all()


def test_nothing_is_left_out_where_nothing_needs_gradients(caplog: pytest.LogCaptureFixture) -> None:
    """And no warning says so."""
    with caplog.at_level(logging.WARNING, logger="ce_detect"):
        assert explain(without_gradients(), fresh()[0][:1]).left_out == ()
    assert "left out" not in caplog.text


def broken(kind: str) -> np.ndarray[Any, Any]:
    """Two inputs of which the second is wrong in some way."""
    x = fresh()[0][:2].copy()
    if kind == "constant":
        x[1] = 0.25
    elif kind == "nan":
        x[1, 0, 3, 3] = np.nan
    elif kind == "size":
        x = np.pad(x, ((0, 0), (0, 0), (2, 2), (2, 2)))
    elif kind == "range":
        x[1] *= 300
    return x


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("constant", r"input 1 is constant.*no map"),
        ("nan", r"NaN or infinite pixels in 1 of 2 inputs, first at position 1"),
        ("size", r"got shape \(2, 1, 32, 32\), expected \(batch, 1, 28, 28\)"),
        ("range", r"pixel"),
    ],
)
def test_wrong_inputs_are_refused(kind: str, said: str) -> None:
    """With what is wrong, and before any map is made."""
    with pytest.raises(InputError, match=said):
        guard().explain(broken(kind))


@pytest.mark.parametrize("label", [10, -1])
def test_a_class_that_there_is_not_is_refused(label: int) -> None:
    """With the classes that there are; so is an unknown method, with the known ones."""
    x = torch.from_numpy(fresh()[0][:1])
    with pytest.raises(UsageError, match=rf"label = {label}, expected a number from 0 to 9: .* has 10 classes"):
        guard().explain(x, label=label)
    with pytest.raises(UsageError, match=r"method = 'magic', expected one of effect-map"):
        guard().explain(x, method="magic")


def test_maps_come_in_the_size_of_a_photograph(tmp_path: Path) -> None:
    """Where the classifier sees it, with the same values; arrays keep the size of an input."""
    x = fresh()[0][0, 0]
    large = np.kron(np.pad(np.round(x * 255).astype(np.uint8), 2, mode="edge"), np.ones((5, 5), np.uint8))
    Image.fromarray(np.pad(large, ((0, 0), (20, 20)))).save(tmp_path / "photograph.png")
    found = for_photographs().explain(tmp_path / "photograph.png")
    assert found.pixels.shape == (1, 1, 28, 28)
    maps = found.original_maps(0)
    assert {values.shape for values in maps.values()} == {(160, 200)}
    (described,) = found.to_dict()
    shown = described["original"]["shown"]
    assert shown == {"top": 10.0, "left": 30.0, "height": 140.0, "width": 140.0}
    target = maps["target"]
    assert np.isfinite(target).sum() == 140 * 140
    centres = target[12:150:5, 32:170:5]
    np.testing.assert_allclose(centres, found.maps.target[0].numpy(), atol=1e-5)
    given = for_photographs().explain(found.pixels)
    assert given.original_maps(0)["target"].shape == (28, 28)
    assert "original" not in given.to_dict()[0]
