"""Attacked sets: made once, resumable, the same every time."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save
from support.attacks import PGD, SQUARE, attack_plain, chunks_in
from support.models import Subject, as_array, subject, tiny_images

from ce_detect.attacks import Attack, chunks, generation, parallel
from ce_detect.attacks.generation import attack_all
from ce_detect.core.errors import CalibrationError
from ce_detect.core.types import Floats
from ce_detect.storage import atomic
from ce_detect.storage.folders import cache_folder


@pytest.fixture
def x() -> Floats:
    """Ten images, two chunks and a half of them."""
    return as_array(tiny_images("plain", 10))


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four images a chunk."""
    monkeypatch.setattr(chunks, "CHUNK", 4)


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names of the attacks that were run since, one for each chunk that was attacked."""
    names: list[str] = []
    run = chunks.run

    def counted(attack: Attack, *args: Any, **kwargs: Any) -> Any:
        names.append(attack.name)
        return run(attack, *args, **kwargs)

    monkeypatch.setattr(chunks, "run", counted)
    return names


# --- attacking


def test_every_image_is_attacked(plain: Subject, x: Floats, tmp_path: Path) -> None:
    """One set for each attack, by name: images within bounds and radius, each with the position of its clean twin."""
    made = attack_plain(x, tmp_path, PGD, SQUARE)
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
    (attacked,) = attack_plain(x, tmp_path, part=part).values()
    assert 4 < np.abs(attacked.x - x).max() <= 8 + 1e-3
    assert 0 <= attacked.x.min() <= attacked.x.max() <= 255


def test_second_call_does_no_work(x: Floats, tmp_path: Path, built: list[str]) -> None:
    """What is in the cache is not made again, under whatever name, also as part of a larger call."""
    first = attack_plain(x, tmp_path)
    assert len(built) == 3
    renamed = Attack.of("pgd", name="mine", max_iter=2)
    second = attack_plain(x, tmp_path, renamed)
    third = attack_plain(x, tmp_path, PGD, SQUARE)
    assert built == ["pgd 8/255"] * 3 + ["square 8/255"] * 3
    np.testing.assert_array_equal(second["mine"].x, first["pgd 8/255"].x)
    np.testing.assert_array_equal(third["pgd 8/255"].x, first["pgd 8/255"].x)


def test_more_images_cost_only_the_new_chunks(x: Floats, tmp_path: Path, built: list[str]) -> None:
    """Whole chunks of an earlier call are used when images are added behind them."""
    attack_plain(x[:8], tmp_path)
    attack_plain(x, tmp_path)
    assert len(built) == 3


def test_hooked_classifiers_are_attacked(tmp_path: Path) -> None:
    """A classifier that cannot be cut is attacked in this process, whatever the number of jobs."""
    part = subject("branching")
    (attacked,) = attack_plain(as_array(part.x), tmp_path, part=part, jobs=4).values()
    assert attacked.x.shape == (8, 1, 12, 12)
    assert np.abs(attacked.x - as_array(part.x)).max() > 1e-3


# --- interruptions


def test_interrupted_run_goes_on_where_it_stopped(
    x: Floats, tmp_path: Path, built: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C after the first chunk keeps that chunk; the next call makes the others only, with the same result."""
    run = chunks.attacked
    runs: list[object] = []

    def interrupted(*args: Any) -> Any:
        runs.append(args)
        if len(runs) == 2:
            raise KeyboardInterrupt
        return run(*args)

    monkeypatch.setattr(chunks, "attacked", interrupted)
    with pytest.raises(KeyboardInterrupt):
        attack_plain(x, tmp_path / "one")
    assert len(built) == len(chunks_in(tmp_path / "one")) == 1
    attack_plain(x, tmp_path / "one")
    assert len(built) == 3
    attack_plain(x, tmp_path / "two")
    assert chunks_in(tmp_path / "one") == chunks_in(tmp_path / "two")


@pytest.mark.parametrize("damage", ["truncated", "emptied", "foreign", "other tensor", "other shape"])
def test_damaged_chunk_is_made_again(
    x: Floats, tmp_path: Path, built: list[str], caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    """A chunk that is not what it should be is made again, to the same bytes, and the log names the file."""
    attack_plain(x, tmp_path)
    before = chunks_in(tmp_path)
    path = tmp_path / "attacks" / min(before)
    path.write_bytes({
        "truncated": before[path.name][:100],
        "emptied": b"",
        "foreign": b"something else entirely",
        "other tensor": save({"y": np.zeros(3, np.float32)}),
        "other shape": save({"x": np.zeros((1, 3, 16, 16), np.float32)}),
    }[damage])  # fmt: skip
    with caplog.at_level(logging.WARNING):
        attack_plain(x, tmp_path)
    assert len(built) == 4
    assert chunks_in(tmp_path) == before
    assert path.name in caplog.text
    assert "they will be made again" in caplog.text


def test_no_time_gives_every_attack_its_first_chunk(x: Floats, tmp_path: Path, built: list[str]) -> None:
    """With the time used up no further chunk is started; those in the cache count all the same."""
    made = attack_plain(x, tmp_path, PGD, SQUARE, seconds=0)
    assert sorted(built) == ["pgd 8/255", "square 8/255"]
    assert {name: attacked.index.tolist() for name, attacked in made.items()} == {
        "pgd 8/255": [0, 1, 2, 3], "square 8/255": [0, 1, 2, 3],
    }  # fmt: skip
    attack_plain(x, tmp_path, PGD)
    made = attack_plain(x, tmp_path, PGD, SQUARE, seconds=0)
    assert {name: len(attacked.x) for name, attacked in made.items()} == {"pgd 8/255": 10, "square 8/255": 4}
    assert len(built) == 4


def test_progress_reaches_the_end(x: Floats, tmp_path: Path) -> None:
    """Progress grows from chunk to chunk up to the whole; work found in the cache is counted as done."""
    reports: list[tuple[str, float, float]] = []
    attack_plain(x[:8], tmp_path)
    attack_plain(x, tmp_path, PGD, SQUARE, progress=lambda *report: reports.append(report))
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
    one = attack_plain(x, tmp_path / "one", PGD, SQUARE)
    two = attack_plain(x, tmp_path / "two", PGD, SQUARE, jobs=2)
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
    attack_plain(x, tmp_path / "short", jobs=None)
    monkeypatch.setattr(parallel, "WORTH_A_POOL", 10.0)
    attack_plain(x, tmp_path / "long", jobs=None)
    attack_plain(x[:4], tmp_path / "single", jobs=None)
    assert chosen == [1, 16, 1]


# --- mistakes and places


def test_two_attacks_of_one_name_are_refused(x: Floats, tmp_path: Path) -> None:
    """Tables and sets go by name, so names must differ; nothing is attacked before that is known."""
    with pytest.raises(CalibrationError, match="two attacks are both called 'pgd 8/255'; give them different names"):
        attack_plain(x, tmp_path, PGD, Attack.of("pgd", max_iter=5))
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
        attack_plain(x, tmp_path)
    assert len(chunks_in(tmp_path)) == 1


def test_cache_that_is_a_file_is_refused(x: Floats, tmp_path: Path) -> None:
    """A cache folder that cannot be made is named."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CalibrationError, match=f"cannot keep attacked images in {tmp_path / 'file' / 'attacks'}"):
        attack_plain(x, tmp_path / "file")


def test_cache_folder_is_the_default(plain: Subject, x: Floats) -> None:
    """Without a folder, chunks go where `cache_folder` says."""
    attack_all(plain.classifier, x[:4], (PGD,), seed=0, jobs=1)
    assert len(chunks_in(cache_folder())) == 1
