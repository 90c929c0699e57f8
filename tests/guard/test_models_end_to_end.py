"""Models of every kind, trained on real digits: wrap, calibrate, gate, detect, save, load."""

from __future__ import annotations

import copy
import functools
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from support.digits import (
    TRAINED,
    DigitCNN,
    DigitViT,
    DigitWary,
    Number,
    classifier_of_digits,
    digits,
    labeller_of_pairs,
    rows_of_digits,
)
from torch import nn

from ce_detect import cli
from ce_detect.calibrate.recipe import Recipe
from ce_detect.classifiers.base import PENULTIMATE
from ce_detect.classifiers.hooked import HookClassifier
from ce_detect.classifiers.segmented import TorchClassifier
from ce_detect.guard.detected_model import DetectedModel

pytestmark = pytest.mark.slow  # whole calibrations of eight kinds of model

CALIBRATION, FRESH = 400, 240


@dataclass(frozen=True)
class Kind:
    """A kind of model.

    Attributes:
        build: makes the trained model.
        images: makes so many images that it was not trained on.
        intervention: a recipe's intervention in its latents.
        options: of `DetectedModel`.
        cut: whether it can be cut.
        classes: number of logits that the gate returns.
        auroc: what PGD must reach at least, over successes.
    """

    build: Callable[[], nn.Module]
    images: Callable[[int], NDArray[np.float32]]
    intervention: dict[str, Any]
    options: dict[str, Any]
    cut: bool
    classes: int
    auroc: float


def single(count: int) -> NDArray[np.float32]:
    """Images of one digit."""
    return digits()[0][TRAINED : TRAINED + count]


def pairs(count: int) -> NDArray[np.float32]:
    """Images of two digits."""
    return rows_of_digits(count, 2, seed=1, training=False)[0]


def triples(count: int) -> NDArray[np.float32]:
    """Images of three digits."""
    return rows_of_digits(count, 3, seed=1, training=False)[0]


def half(build: Callable[[], nn.Module], kind: torch.dtype, device: str = "cpu") -> nn.Module:
    """A copy of a trained model in another precision."""
    return copy.deepcopy(build()).to(device, kind)


MAP = {"kind": "Blur", "site": "stage1.2", "sigma": 0.7}
TOKENS = {"kind": "Contrast", "site": "encoder.layers.0", "factor": 0.7}
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
cnn = functools.partial(classifier_of_digits, DigitCNN)
vit = functools.partial(classifier_of_digits, DigitViT, epochs=12)

KINDS = {
    "transformer": Kind(vit, single, TOKENS, {}, True, 10, 0.7),
    "cannot be cut": Kind(functools.partial(classifier_of_digits, DigitWary), single, MAP, {}, False, 10, 0.8),
    "1000 classes": Kind(lambda: Number(cnn()).eval(), triples, {"kind": "Flip"}, {}, True, 1000, 0.7),
    "multi-label": Kind(labeller_of_pairs, pairs, MAP, {"multi_label": True}, True, 10, 0.7),
    "one label": Kind(labeller_of_pairs, pairs, MAP, {"multi_label": True, "label": 3}, True, 2, 0.7),
    "bfloat16": Kind(functools.partial(half, cnn, torch.bfloat16), single, MAP, {}, True, 10, 0.8),
    "GPU": Kind(functools.partial(half, cnn, torch.float32, "cuda"), single, MAP, {}, True, 10, 0.8),
    "float16 on GPU": Kind(functools.partial(half, cnn, torch.float16, "cuda"), single, MAP, {}, True, 10, 0.8),
    "transformer on GPU": Kind(functools.partial(half, vit, torch.float16, "cuda"), single, TOKENS, {}, True, 10, 0.7),
}


@dataclass(frozen=True)
class Guarded:
    """A kind of model behind its gate."""

    kind: Kind
    model: nn.Module
    guard: DetectedModel
    fresh: NDArray[np.float32]
    cache: Path


@pytest.fixture(scope="module", params=[pytest.param(name, marks=GPU if "GPU" in name else ()) for name in KINDS])
def guarded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Guarded:
    """Every kind of model in turn, calibrated."""
    kind = KINDS[request.param]
    cache = tmp_path_factory.mktemp("cache")
    model, images = kind.build(), kind.images(CALIBRATION + FRESH)
    recipe = Recipe.parse(
        "digits",
        {
            "head": "logistic",
            "splits": {"fit": 0.4, "select": 0.2, "calibrate": 0.3, "test": 0.1},
            "attack": [{"kind": "fgsm", "eps": "30/255"}, PGD],
            "intervention": [{"kind": "Shift", "dx": 1, "dy": 0}, kind.intervention],
        },
    )
    guard = DetectedModel(model, bounds=(0.0, 1.0), **kind.options)
    guard.calibrate(images[:CALIBRATION], recipe=recipe, fpr=0.1, budget=math.inf, cache=cache, jobs=1)
    return Guarded(kind, model, guard, images[CALIBRATION:], cache)


PGD = {"kind": "pgd", "eps": "30/255", "eps_step": "8/255", "max_iter": 7}


def test_attacks_are_told_from_clean_images(guarded: Guarded) -> None:
    """On images that calibration did not see, successful attacks score above clean ones, few of which are flagged."""
    figures = guarded.guard.evaluate(guarded.fresh, cache=guarded.cache, corruptions=(), jobs=1)
    assert figures.attacks["pgd 30/255"].success_rate > 0.3
    assert figures.attacks["pgd 30/255"].auroc_successes > guarded.kind.auroc
    assert figures.clean.false_positive_rate < 0.2


def test_the_gate_says_what_the_model_says(guarded: Guarded) -> None:
    """Logits are float32 and those of the model, read as the kind asks for; the label is the largest of them."""
    classifier, model = guarded.guard.classifier, guarded.model
    assert isinstance(classifier, TorchClassifier if guarded.kind.cut else HookClassifier)
    result = guarded.guard(guarded.fresh[:64])
    weight = next(model.parameters())
    with torch.inference_mode():
        expected = model(torch.from_numpy(guarded.fresh[:64]).to(weight)).float().cpu().numpy()
    if expected.shape[1] != guarded.kind.classes:
        z = expected[:, guarded.kind.options.get("label", 0)]
        expected = np.stack([-z / 2, z / 2], axis=1)
    assert result.logits.dtype == np.float32
    assert result.logits.shape == (64, guarded.kind.classes)
    np.testing.assert_allclose(result.logits, expected, atol=2 * classifier.tolerance * np.abs(expected).max())
    np.testing.assert_array_equal(result.label, result.logits.argmax(1))


def test_a_saved_detector_judges_alike(guarded: Guarded, tmp_path: Path) -> None:
    """Loaded in front of the model, without naming its kind again, the artifact gives the same bytes and verdicts."""
    guarded.guard.save(tmp_path / "a.safetensors")
    again = DetectedModel.load(tmp_path / "a.safetensors", guarded.model)
    again.save(tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    before, after = (guard(guarded.fresh[:64]) for guard in (guarded.guard, again))
    np.testing.assert_array_equal(before.logits, after.logits)
    np.testing.assert_array_equal(before.score, after.score)


def test_sites_lie_where_the_model_has_them(guarded: Guarded) -> None:
    """Sites are named as in the user's model, and their latents are float32, whatever the model computes in."""
    classifier = guarded.guard.classifier
    latents = classifier.trace(classifier.probe()).latents
    modules = dict(guarded.model.named_modules())
    assert set(classifier.sites) - {PENULTIMATE} <= set(modules)
    assert all(latent.dtype == torch.float32 for latent in latents.values())
    if guarded.kind.cut:
        assert PENULTIMATE in classifier.sites
        assert classifier.head_weight is not None
        assert classifier.head_weight.shape == (guarded.kind.classes, latents[PENULTIMATE].shape[1])
        assert classifier.head_weight.dtype == torch.float32


def test_a_model_that_cannot_be_cut_says_so_once(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """Wrapping it again, calibrating it and gating with it add no second warning."""
    model = copy.deepcopy(KINDS["cannot be cut"].build())
    images = single(CALIBRATION)
    with caplog.at_level(logging.WARNING, logger="ce_detect"):
        guard = DetectedModel(model, input_shape=(1, 8, 8), bounds=(0.0, 1.0))
        guard.calibrate(images, recipe="clean-only", fpr=0.1, budget=3.0, cache=tmp_path, jobs=1)
        guard(images[:4])
    assert sum("every resume costs a whole forward" in record.message for record in caplog.records) == 1


def test_the_command_line_watches_one_label(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``--multi-label --label`` are what the constructor takes; the artifact knows them and needs no telling."""
    save_file(labeller_of_pairs().state_dict(), tmp_path / "weights.safetensors")
    np.savez(tmp_path / "pairs.npz", x=pairs(CALIBRATION))
    model = ["--model", "support.digits:DigitCNN", "--weights", str(tmp_path / "weights.safetensors")]
    settings = ["--recipe", "clean-only", "--fpr", "0.1", "--budget", "3", "--bounds", "0", "1", "--jobs", "1"]
    files = ["--data", str(tmp_path / "pairs.npz"), "--output", str(tmp_path / "guard.safetensors")]
    assert cli.run(["calibrate", *model, *files, *settings, "--multi-label", "--label", "3"]) == 0
    guard = DetectedModel.load(tmp_path / "guard.safetensors", labeller_of_pairs())
    assert guard.manifest["model"]["label"] == 3
    with torch.inference_mode():
        z = labeller_of_pairs()(torch.from_numpy(pairs(16)))[:, 3].numpy()
    np.testing.assert_array_equal(guard(pairs(16)).label, z > 0)
    assert cli.run(["inspect", str(tmp_path / "guard.safetensors")]) == 0
    assert "label 3 of several" in capsys.readouterr().out
    assert cli.run(["calibrate", *model, *files, *settings, "--label", "3"]) == 2
    assert "add multi_label=True" in capsys.readouterr().err
