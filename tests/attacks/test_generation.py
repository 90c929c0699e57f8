"""Splits by identity, and attacked sets: made once, resumable, the same every time."""

from __future__ import annotations

import errno
import logging
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.models import Subject, as_array, subject, tiny_images, tiny_model
from support.strategies import images_with_twins

from ce_detect.attacks import Attack, generation, parallel
from ce_detect.attacks.generation import AttackedSet, attack_all
from ce_detect.classifiers.wrapping import wrap
from ce_detect.core.errors import CalibrationError
from ce_detect.data.splits import split_by_identity
from ce_detect.storage import atomic
from ce_detect.storage.folders import cache_folder

Floats = NDArray[np.float32]

PGD = Attack.of("pgd", max_iter=2)
SQUARE = Attack.of("square", max_iter=3)
FRACTIONS = {"fit": 0.4, "select": 0.15, "calibrate": 0.3, "test": 0.15}


@pytest.fixture
def x() -> Floats:
    """Ten images, two chunks and a half of them."""
    return as_array(tiny_images("plain", 10))


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four images a chunk."""
    monkeypatch.setattr(generation, "CHUNK", 4)


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names of the attacks that were run since, one for each chunk that was attacked."""
    names: list[str] = []
    run = Attack.run

    def counted(self: Attack, *args: Any, **kwargs: Any) -> Any:
        names.append(self.name)
        return run(self, *args, **kwargs)

    monkeypatch.setattr(Attack, "run", counted)
    return names


def attack(
    x: Floats, cache: Path, *attacks: Attack, part: Subject | None = None, **settings: Any
) -> dict[str, AttackedSet]:
    """Attack images of the plain classifier in this process."""
    classifier = (part or subject("plain")).classifier
    return attack_all(classifier, x, attacks or (PGD,), cache=cache, **{"seed": 0, "jobs": 1, **settings})


def chunks_in(cache: Path) -> dict[str, bytes]:
    """Files of finished chunks by name."""
    return {path.name: path.read_bytes() for path in sorted((cache / "attacks").iterdir())}


# --- splits


@given(images_with_twins(), st.integers(0, 5), st.sampled_from([FRACTIONS, {"a": 0.5, "b": 0.5}, {"all": 1.0}]))
def test_splits_keep_equal_images_together(x: Floats, seed: int, fractions: dict[str, float]) -> None:
    """Every image is in exactly one split, equal images are in the same one, and the seed decides which."""
    parts = split_by_identity(x, fractions, seed)
    assert list(parts) == list(fractions)
    everyone = np.concatenate(list(parts.values()))
    assert sorted(everyone) == list(range(len(x)))
    where = np.empty(len(x), dtype=object)
    for name, index in parts.items():
        assert (np.diff(index) > 0).all()
        where[index] = name
    for i in range(len(x)):
        for j in range(i):
            if (x[i] == x[j]).all():
                assert where[i] == where[j]
    again = split_by_identity(x.copy(), fractions, seed)
    assert all(np.array_equal(parts[name], again[name]) for name in parts)


def test_splits_have_the_shares_they_should() -> None:
    """Shares are of distinct images, in no order, and another seed gives others."""
    x = np.random.default_rng(0).uniform(size=(200, 1, 2, 2)).astype(np.float32)
    parts = split_by_identity(x, FRACTIONS, 0)
    assert [len(part) for part in parts.values()] == [80, 30, 60, 30]
    assert parts["fit"].max() > 150
    assert not np.array_equal(parts["fit"], split_by_identity(x, FRACTIONS, 1)["fit"])


# --- attacking


def test_every_image_is_attacked(plain: Subject, x: Floats, tmp_path: Path) -> None:
    """One set for each attack, by name: images within bounds and radius, each with the position of its clean twin."""
    made = attack(x, tmp_path, PGD, SQUARE)
    assert list(made) == ["pgd 8/255", "square 8/255"]
    for name, attacked in made.items():
        assert attacked.attack.name == name
        assert attacked.x.shape == x.shape
        assert attacked.x.dtype == np.float32
        assert attacked.index.tolist() == list(range(10))
        assert attacked.x.min() >= 0
        assert attacked.x.max() <= 1
        assert 0 < np.abs(attacked.x - x).max() <= 8 / 255 + 1e-6
    assert not np.allclose(made["pgd 8/255"].x, made["square 8/255"].x)
    with torch.inference_mode():
        before = plain.classifier.logits(torch.from_numpy(x))
        after = plain.classifier.logits(torch.from_numpy(made["pgd 8/255"].x))
    own = before.argmax(1, keepdim=True)
    assert (after.log_softmax(1).gather(1, own) < before.log_softmax(1).gather(1, own)).all()


def test_pixels_of_any_range_are_attacked_in_it(tmp_path: Path) -> None:
    """With pixels from 0 to 255 the radius of 8/255 is eight, and the result is clipped to the bounds."""
    part = subject("residual")
    x = as_array(tiny_images("residual", 4))
    x[0, :, :2] = 0
    x[0, :, 2:4] = 255
    (attacked,) = attack(x, tmp_path, part=part).values()
    assert 4 < np.abs(attacked.x - x).max() <= 8 + 1e-3
    assert 0 <= attacked.x.min() <= attacked.x.max() <= 255


def test_second_call_does_no_work(x: Floats, tmp_path: Path, built: list[str]) -> None:
    """What is in the cache is not made again, under whatever name, also as part of a larger call."""
    first = attack(x, tmp_path)
    assert len(built) == 3
    renamed = Attack.of("pgd", name="mine", max_iter=2)
    second = attack(x, tmp_path, renamed)
    third = attack(x, tmp_path, PGD, SQUARE)
    assert built == ["pgd 8/255"] * 3 + ["square 8/255"] * 3
    np.testing.assert_array_equal(second["mine"].x, first["pgd 8/255"].x)
    np.testing.assert_array_equal(third["pgd 8/255"].x, first["pgd 8/255"].x)


def test_more_images_cost_only_the_new_chunks(x: Floats, tmp_path: Path, built: list[str]) -> None:
    """Whole chunks of an earlier call are used when images are added behind them."""
    attack(x[:8], tmp_path)
    attack(x, tmp_path)
    assert len(built) == 3


def test_another_seed_attack_image_or_model_misses(x: Floats, tmp_path: Path, built: list[str]) -> None:
    """The cache tells apart whatever changes the outcome."""
    attack(x[:4], tmp_path)
    attack(x[:4], tmp_path, seed=1)
    attack(x[:4], tmp_path, Attack.of("pgd", max_iter=3))
    attack(x[:4] * np.float32(0.999), tmp_path)
    assert len(built) == 4
    model = tiny_model("plain")
    with torch.no_grad():
        model.head.bias[0] += 1e-4
    other = wrap(model, input_shape=(3, 16, 16), bounds=(0.0, 1.0), sites=())
    attack_all(other, x[:4], (PGD,), seed=0, cache=tmp_path, jobs=1)
    wider = wrap(tiny_model("plain"), input_shape=(3, 16, 16), bounds=(0.0, 2.0), sites=())
    attack_all(wider, x[:4], (PGD,), seed=0, cache=tmp_path, jobs=1)
    assert len(built) == len(chunks_in(tmp_path)) == 6


def test_same_seed_gives_the_same_bytes(x: Floats, tmp_path: Path) -> None:
    """Random starts come from the seed and the chunk alone, not from what ran before; another seed gives others."""
    attack(x, tmp_path / "one", PGD, SQUARE)
    random.seed(7)
    np.random.seed(7)
    torch.rand(3)
    attack(x, tmp_path / "two", SQUARE, PGD)
    attack(x, tmp_path / "three", PGD, SQUARE, seed=1)
    assert chunks_in(tmp_path / "one") == chunks_in(tmp_path / "two")
    assert not set(chunks_in(tmp_path / "one").values()) & set(chunks_in(tmp_path / "three").values())


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
    attack(x, tmp_path, PGD, SQUARE)
    assert drawn() == expected
    seed()
    with pytest.raises(CalibrationError):
        attack(x, tmp_path, Attack.of("square", p_init=9.0))
    assert drawn() == expected


def test_users_model_stays_trainable(x: Floats, tmp_path: Path) -> None:
    """The weights that the wrapper shares with the user's model have their gradients on afterwards, and none stored."""
    model = tiny_model("plain")
    model.stage1[0].weight.requires_grad_(False)
    classifier = wrap(model, input_shape=(3, 16, 16), bounds=(0.0, 1.0))
    attack_all(classifier, x, (PGD, Attack.of("deepfool", max_iter=2)), seed=0, cache=tmp_path, jobs=1)
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    assert frozen == ["stage1.0.weight"]
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not model.training
    PGD.run(classifier, x[:2], batch_size=2)
    assert [name for name, parameter in model.named_parameters() if not parameter.requires_grad] == frozen


def test_hooked_classifiers_are_attacked(tmp_path: Path) -> None:
    """A classifier that cannot be cut is attacked in this process, whatever the number of jobs."""
    part = subject("branching")
    (attacked,) = attack(as_array(part.x), tmp_path, part=part, jobs=4).values()
    assert attacked.x.shape == (8, 1, 12, 12)
    assert np.abs(attacked.x - as_array(part.x)).max() > 1e-3


# --- interruptions


def test_interrupted_run_goes_on_where_it_stopped(
    x: Floats, tmp_path: Path, built: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C after the first chunk keeps that chunk; the next call makes the others only, with the same result."""
    run = generation._run
    runs: list[object] = []

    def interrupted(*args: Any) -> Any:
        runs.append(args)
        if len(runs) == 2:
            raise KeyboardInterrupt
        return run(*args)

    monkeypatch.setattr(generation, "_run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        attack(x, tmp_path / "one")
    assert len(built) == len(chunks_in(tmp_path / "one")) == 1
    attack(x, tmp_path / "one")
    assert len(built) == 3
    attack(x, tmp_path / "two")
    assert chunks_in(tmp_path / "one") == chunks_in(tmp_path / "two")


@pytest.mark.parametrize("damage", ["truncated", "emptied", "foreign", "other tensor", "other shape"])
def test_damaged_chunk_is_made_again(
    x: Floats, tmp_path: Path, built: list[str], caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    """A chunk that is not what it should be is made again, to the same bytes, and the log names the file."""
    attack(x, tmp_path)
    before = chunks_in(tmp_path)
    path = tmp_path / "attacks" / min(before)
    path.write_bytes({
        "truncated": before[path.name][:100],
        "emptied": b"",
        "foreign": b"something else entirely",
        "other tensor": generation.save({"y": np.zeros(3, np.float32)}),
        "other shape": generation.save({"x": np.zeros((1, 3, 16, 16), np.float32)}),
    }[damage])  # fmt: skip
    with caplog.at_level(logging.WARNING):
        attack(x, tmp_path)
    assert len(built) == 4
    assert chunks_in(tmp_path) == before
    assert path.name in caplog.text
    assert "making them again" in caplog.text


def test_no_time_gives_every_attack_its_first_chunk(x: Floats, tmp_path: Path, built: list[str]) -> None:
    """With the time used up no further chunk is started; those in the cache count all the same."""
    made = attack(x, tmp_path, PGD, SQUARE, seconds=0)
    assert sorted(built) == ["pgd 8/255", "square 8/255"]
    assert {name: attacked.index.tolist() for name, attacked in made.items()} == {
        "pgd 8/255": [0, 1, 2, 3], "square 8/255": [0, 1, 2, 3],
    }  # fmt: skip
    attack(x, tmp_path, PGD)
    made = attack(x, tmp_path, PGD, SQUARE, seconds=0)
    assert {name: len(attacked.x) for name, attacked in made.items()} == {"pgd 8/255": 10, "square 8/255": 4}
    assert len(built) == 4


def test_progress_reaches_the_end(x: Floats, tmp_path: Path) -> None:
    """Progress grows from chunk to chunk up to the whole; work found in the cache is counted as done."""
    reports: list[tuple[str, float, float]] = []
    attack(x[:8], tmp_path)
    attack(x, tmp_path, PGD, SQUARE, progress=lambda *report: reports.append(report))
    names, done, total = zip(*reports, strict=True)
    assert set(names) == {"attack pgd 8/255", "attack square 8/255"}
    assert len(reports) == 4
    assert list(done) == sorted(done)
    assert set(total) == {done[-1]}
    assert total[0] == pytest.approx((PGD.passes + SQUARE.passes) * 10)
    assert done[0] > PGD.passes * 8


# --- processes


def test_processes_give_the_same_bytes(x: Floats, tmp_path: Path) -> None:
    """Two worker processes make exactly the files that one process makes."""
    one = attack(x, tmp_path / "one", PGD, SQUARE)
    two = attack(x, tmp_path / "two", PGD, SQUARE, jobs=2)
    assert chunks_in(tmp_path / "one") == chunks_in(tmp_path / "two")
    for name, attacked in one.items():
        np.testing.assert_array_equal(two[name].x, attacked.x)
        assert two[name].index.tolist() == attacked.index.tolist()


def test_processes_start_only_where_they_pay(x: Floats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default short work stays in this process, and long work uses every core."""
    chosen: list[int] = []
    executed = generation._executed

    def noted(classifier: Any, tasks: Any, workers: int, deadline: float | None) -> Any:
        chosen.append(workers)
        return executed(classifier, tasks, 1, deadline)

    monkeypatch.setattr(generation, "_executed", noted)
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    attack(x, tmp_path / "short", jobs=None)
    monkeypatch.setattr(parallel, "WORTH_A_POOL", 10.0)
    attack(x, tmp_path / "long", jobs=None)
    attack(x[:4], tmp_path / "single", jobs=None)
    assert chosen == [1, 16, 1]


# --- mistakes and places


def test_two_attacks_of_one_name_are_refused(x: Floats, tmp_path: Path) -> None:
    """Tables and sets go by name, so names must differ; nothing is attacked before that is known."""
    with pytest.raises(CalibrationError, match="two attacks are both called 'pgd 8/255'; give them different names"):
        attack(x, tmp_path, PGD, Attack.of("pgd", max_iter=5))
    assert not list(tmp_path.iterdir())


def test_full_disk_names_the_folder(x: Floats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is an error that names the folder and the remedy, and keeps what is done."""
    write = atomic.write
    calls: list[Path] = []

    def full_after_one(path: Path, content: bytes) -> None:
        calls.append(path)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, content)

    monkeypatch.setattr(atomic, "write", full_after_one)
    with pytest.raises(CalibrationError, match=rf"{tmp_path}.*No space left.*CE_DETECT_CACHE. What is done .* kept"):
        attack(x, tmp_path)
    assert len(chunks_in(tmp_path)) == 1


def test_cache_that_is_a_file_is_refused(x: Floats, tmp_path: Path) -> None:
    """A cache folder that cannot be made is named."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CalibrationError, match=f"cannot keep attacked images in {tmp_path / 'file' / 'attacks'}"):
        attack(x, tmp_path / "file")


def test_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Our own variable wins over the system's, and the home folder is the last resort."""
    monkeypatch.setenv("CE_DETECT_CACHE", str(tmp_path / "ours"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "system"))
    assert cache_folder() == tmp_path / "ours"
    monkeypatch.delenv("CE_DETECT_CACHE")
    assert cache_folder() == tmp_path / "system" / "ce-detect"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "ce-detect"


def test_cache_folder_is_the_default(plain: Subject, x: Floats) -> None:
    """Without a folder, chunks go where `cache_folder` says."""
    attack_all(plain.classifier, x[:4], (PGD,), seed=0, jobs=1)
    assert len(chunks_in(cache_folder())) == 1
