"""A multi-label model from calibration to explanation: which digits a picture of two shows, as a whole and by label.

Ten sigmoid outputs, of which several hold at once, as of a chest X-ray with several findings. The digits are real.
"""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from support.calibrated import PGD, cache
from support.command_line import call
from support.digits import labeller_of_pairs, rows_of_digits

from ce_detect.calibrate.recipe import Recipe
from ce_detect.core.errors import ModelError, UsageError
from ce_detect.guard.detected_model import DetectedModel
from ce_detect.runtime import Gate

WATCHED = 3

RECIPE = Recipe.parse(
    "pairs",
    {
        "head": "logistic",
        "splits": {"fit": 0.5, "select": 0.2, "calibrate": 0.3, "test": 0.0},
        "attack": [{**PGD, "eps": "30/255", "eps_step": "8/255"}],
        "intervention": [{"kind": "Shift", "dx": 1, "dy": 0}],
    },
)


@functools.cache
def pairs() -> tuple[np.ndarray, np.ndarray]:
    """Images of two digits side by side that the model was not trained on, and the digits."""
    return rows_of_digits(400, 2, seed=1, training=False)


@functools.cache
def guarded(label: int | None = None) -> DetectedModel:
    """The model behind a gate: for all labels, or for one that is watched."""
    guard = DetectedModel(labeller_of_pairs(), bounds=(0.0, 1.0), multi_label=True, label=label)
    return guard.calibrate(pairs()[0][:300], recipe=RECIPE, fpr=0.1, budget=math.inf, cache=cache(), jobs=1)


@pytest.mark.parametrize("label", [None, WATCHED])
def test_the_exported_graph_judges_as_the_gate(label: int | None, tmp_path: Path) -> None:
    """Of all labels and of one: the same verdicts in ONNX Runtime, after the artifact was saved and loaded."""
    guarded(label).save(tmp_path / "guard.safetensors")
    again = DetectedModel.load(tmp_path / "guard.safetensors", labeller_of_pairs())
    again.export(tmp_path / "gate.onnx")
    x = pairs()[0][300:]
    expected, found = guarded(label)(x), Gate(tmp_path / "gate.onnx")(x)
    assert found.logits.shape == (100, 10 if label is None else 2)
    np.testing.assert_array_equal(found.label, expected.label)
    np.testing.assert_allclose(found.score, expected.score, atol=1e-3)


def sides(maps: Any, places: np.ndarray) -> np.ndarray:
    """Share of the largest target effects that lies in each half of the picture, ``(n, 2)``."""
    target = np.asarray(maps.target)[places]
    above = np.clip(target - np.median(target, axis=(1, 2), keepdims=True), 0, None)
    halves = np.stack([above[..., :8].sum((1, 2)), above[..., 8:].sum((1, 2))], axis=1)
    return halves / halves.sum(1, keepdims=True)


def test_each_label_is_explained_by_its_own_digit() -> None:
    """Asked for the digit on the left, maps lie there, and for the one on the right they lie there."""
    x, shown = (part[300:] for part in pairs())
    with torch.inference_mode():
        z = labeller_of_pairs()(torch.from_numpy(x)).numpy()
    for side in (0, 1):
        own, other = shown[:, side], shown[:, 1 - side]
        known = (z[np.arange(100), own] > 1) & (own != other)
        for label in (1, 4, 6):
            places = np.flatnonzero(known & (own == label))[:4]
            assert len(places)
            found = guarded().explain(x[places], label=label)
            assert found.maps.label.tolist() == [label] * len(places)
            assert [entry["explained_label"] for entry in found.to_dict()] == [label] * len(places)
            assert sides(found.maps, np.arange(len(places)))[:, side].mean() > 0.75


def test_the_top_label_is_explained_where_none_is_named() -> None:
    """As when it is named; a watched label is explained as a decision between two classes."""
    x = pairs()[0][300:302]
    plain = guarded().explain(x[:1])
    top = int(guarded()(x[:1]).label[0])
    torch.testing.assert_close(guarded().explain(x[:1], label=top).maps.target, plain.maps.target)
    watched = guarded(WATCHED).explain(x, label=1)
    alone = guarded().explain(x, label=WATCHED)
    torch.testing.assert_close(watched.maps.target, alone.maps.target, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("label", [10, -1, True, "3", 2.0])
def test_a_label_that_there_is_not_is_refused(label: Any) -> None:
    """With the labels that there are."""
    with pytest.raises(UsageError, match=r"label = .* expected a number from 0 to 9: the classifier has 10 labels"):
        guarded().explain(pairs()[0][300:301], label=label)
    with pytest.raises(UsageError, match=r"has 2 classes \(label 3 of the model: 1 where it holds, else 0\)"):
        guarded(WATCHED).explain(pairs()[0][300:301], label=5)
    with pytest.raises(ModelError, match="has 10 labels, 0 to 9"):
        DetectedModel(labeller_of_pairs(), input_shape=(1, 8, 16), bounds=(0.0, 1.0), multi_label=True, label=10)


def test_the_command_line_explains_a_label(tmp_path: Path) -> None:
    """``--label`` chooses it, and an impossible one is said to be."""
    guarded().save(tmp_path / "guard.safetensors")
    save_file(labeller_of_pairs().state_dict(), tmp_path / "weights.safetensors")
    np.savez(tmp_path / "one.npz", x=pairs()[0][300:301])
    model = ("--model", "support.digits:DigitCNN", "--weights", tmp_path / "weights.safetensors")
    asked = ("explain", tmp_path / "guard.safetensors", tmp_path / "one.npz", *model, "--json")
    done = call(*asked, "--label", 4)
    assert done.code == 0
    assert '"explained_label": 4' in done.out
    refused = call(*asked, "--label", 11)
    assert refused.code == 2
    assert "expected a number from 0 to 9" in refused.err
