"""Chunks: what they depend on, and nothing else."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from support.attacks import PGD, SQUARE, attack_plain, chunks_in
from support.models import as_array, tiny_images, tiny_model

from ce_detect.attacks import ATTACKS, Attack, chunks
from ce_detect.attacks import attack as registered
from ce_detect.attacks.generation import attack_all
from ce_detect.classifiers.wrapping import wrap
from ce_detect.core.errors import CalibrationError
from ce_detect.core.types import Floats


@pytest.fixture
def x() -> Floats:
    """Ten images, two chunks and a half of them."""
    return as_array(tiny_images("plain", 10))


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four images a chunk."""
    monkeypatch.setattr(chunks, "CHUNK", 4)


def test_keys_and_seeds_never_change() -> None:
    """Users keep attacked images under these keys, and their random starts come from them."""
    classifier = SimpleNamespace(fingerprint=lambda: "abc", bounds=(0.0, 1.0))
    probe, x = np.array([[0.128, -2.5]], np.float32), np.linspace(0, 1, 8, dtype=np.float32).reshape(2, 1, 2, 2)
    key = chunks._key(classifier, probe, x, Attack.of("pgd", target="next"), seed=3)
    assert key == "c3ec48609bc9a789b7703313a6c3e614b23be8553092e6ad222d6e4e9b24eb95"
    assert chunks.Chunk(Attack.of("pgd"), x, 0, key).seed == int(key[:8], 16)


def test_attack_that_makes_other_images_has_another_key(x: Floats, tmp_path: Path, monkeypatch: Any) -> None:
    """What an earlier version of the attack left in the cache is not taken for what this one makes."""
    attack_plain(x[:4], tmp_path)
    newer = dataclasses.replace(ATTACKS["pgd"], version=2)
    monkeypatch.setattr(registered, "ATTACKS", {**ATTACKS, "pgd": newer})
    attack_plain(x[:4], tmp_path)
    assert len(chunks_in(tmp_path)) == 2


def test_another_seed_attack_image_or_model_misses(x: Floats, tmp_path: Path) -> None:
    """The cache tells apart whatever changes the outcome."""
    attack_plain(x[:4], tmp_path)
    attack_plain(x[:4], tmp_path, seed=1)
    attack_plain(x[:4], tmp_path, Attack.of("pgd", max_iter=3))
    attack_plain(x[:4] * np.float32(0.999), tmp_path)
    assert len(chunks_in(tmp_path)) == 4
    model = tiny_model("plain")
    with torch.no_grad():
        model.head.bias[0] += 1e-4
    other = wrap(model, input_shape=(3, 16, 16), bounds=(0.0, 1.0), sites=())
    attack_all(other, x[:4], (PGD,), seed=0, cache=tmp_path, jobs=1)
    wider = wrap(tiny_model("plain"), input_shape=(3, 16, 16), bounds=(0.0, 2.0), sites=())
    attack_all(wider, x[:4], (PGD,), seed=0, cache=tmp_path, jobs=1)
    assert len(chunks_in(tmp_path)) == 6


def test_same_seed_gives_the_same_bytes(x: Floats, tmp_path: Path) -> None:
    """Random starts come from the seed and the chunk alone, not from what ran before; another seed gives others."""
    attack_plain(x, tmp_path / "one", PGD, SQUARE)
    random.seed(7)
    np.random.seed(7)
    torch.rand(3)
    attack_plain(x, tmp_path / "two", SQUARE, PGD)
    attack_plain(x, tmp_path / "three", PGD, SQUARE, seed=1)
    assert chunks_in(tmp_path / "one") == chunks_in(tmp_path / "two")
    assert not set(chunks_in(tmp_path / "one").values()) & set(chunks_in(tmp_path / "three").values())


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_attacks_have_gradients_where_the_caller_turned_them_off(off: Any, x: Floats, tmp_path: Path) -> None:
    """Who calibrates inside of a block without gradients gets the same attacks."""
    attack_plain(x[:4], tmp_path / "on")
    with off():
        attack_plain(x[:4], tmp_path / "off")
    assert chunks_in(tmp_path / "on") == chunks_in(tmp_path / "off")


def test_global_generators_are_left_alone(x: Floats, tmp_path: Path) -> None:
    """The caller's random numbers are the same with and without an attack in between, also if it fails."""

    def drawn() -> list[float]:
        return [random.random(), float(np.random.rand()), float(torch.rand(1))]

    def seed() -> None:
        random.seed(5)
        np.random.seed(5)
        torch.manual_seed(5)

    seed()
    expected = drawn()
    seed()
    attack_plain(x, tmp_path, PGD, SQUARE)
    assert drawn() == expected
    seed()
    with pytest.raises(CalibrationError):
        attack_plain(x, tmp_path, Attack.of("square", p_init=9.0))
    assert drawn() == expected
