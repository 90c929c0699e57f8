"""Relative costs, on a clock that the tests move, and the table that keeps them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from ce_detect.calibrate.cost.table import CostTable
from ce_detect.calibrate.cost.timing import LEAST_ROUNDS, ratios


class Clock:
    """A clock that moves only when something is done."""

    def __init__(self) -> None:
        self.now = 0.0

    def taking(self, *seconds: float) -> Callable[[], None]:
        """A function that takes so long; of several durations the last is kept for good."""
        left = list(seconds)

        def function() -> None:
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return function


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock in place of the real one."""
    fake = Clock()
    monkeypatch.setattr(time, "perf_counter", lambda: fake.now)
    return fake


def table(folder: Path, **changes: object) -> CostTable:
    """A table of one model on one machine."""
    described = {"fingerprint": "abc", "input_shape": (3, 32, 32), "sites": ("a",), "device": "cpu", **changes}
    batches = described.pop("batches", (1, 32))
    digest = described.pop("fingerprint")
    return CostTable(folder, SimpleNamespace(fingerprint=lambda: digest, **described), batches=batches)


def test_costs_are_relative_to_the_bare_model(clock: Clock) -> None:
    """Each function's time is divided by that of the bare one."""
    assert ratios(clock.taking(2.0), [clock.taking(3.0), clock.taking(0.5)]) == pytest.approx([1.5, 0.25])
    assert ratios(clock.taking(2.0), []) == []


def test_warm_up_does_not_count(clock: Clock) -> None:
    """The first calls of each function are not timed."""
    bare, slow_start = clock.taking(9.0, 9.0, 1.0), clock.taking(100.0, 100.0, 3.0)
    assert ratios(bare, [slow_start], rounds=1, warm_up=2) == pytest.approx([3.0])


def test_outliers_do_not_count(clock: Clock) -> None:
    """One slow call moves no median."""
    bare, one_hiccup = clock.taking(1.0, 80.0, 1.0), clock.taking(3.0, 3.0, 50.0, 3.0)
    assert ratios(bare, [one_hiccup], rounds=5, warm_up=0) == pytest.approx([3.0])


def test_drift_hits_all_alike(clock: Clock) -> None:
    """A machine that slows down while it measures gives the ratio that a steady one gives."""
    growing = [1.0 + 0.1 * turn for turn in range(9)]
    bare, twice = clock.taking(*growing), clock.taking(*(2 * seconds for seconds in growing))
    assert ratios(bare, [twice], rounds=9, warm_up=0) == pytest.approx([2.0])


def test_functions_run_as_often_as_told() -> None:
    """Every function runs once a round and once each warm-up, in turns."""
    calls: list[str] = []
    ratios(lambda: calls.append("bare"), [lambda: calls.append("gate")], rounds=3, warm_up=1)
    assert calls == ["bare", "gate"] * 4


def test_slow_functions_are_timed_less_often(clock: Clock) -> None:
    """Once the time is up no new round begins, but there are always a few."""
    bare, slow = clock.taking(1.0), clock.taking(10.0)
    assert ratios(bare, [slow], rounds=50, warm_up=0, seconds=5.0) == pytest.approx([10.0])
    assert clock.now == pytest.approx(LEAST_ROUNDS * 11.0)


def test_known_costs_are_not_measured_again(tmp_path: Path) -> None:
    """Only what is not known is measured, also by a later table in the same folder."""
    asked: list[list[str]] = []

    def measure(names: list[str]) -> list[float]:
        asked.append(names)
        return [float(len(name)) for name in names]

    assert table(tmp_path).get(["a", "bb"], measure) == {"a": 1.0, "bb": 2.0}
    assert table(tmp_path).get(["bb", "ccc"], measure) == {"bb": 2.0, "ccc": 3.0}
    assert table(tmp_path).get(["ccc", "a"], measure) == {"ccc": 3.0, "a": 1.0}
    assert asked == [["a", "bb"], ["ccc"]]


@pytest.mark.parametrize(
    "change",
    [{"fingerprint": "abd"}, {"batches": (1,)}, {"device": "cuda"}, {"input_shape": (3, 64, 64)}, {"sites": ()}],
)
def test_another_model_batch_or_device_is_measured_anew(tmp_path: Path, change: dict[str, object]) -> None:
    """Costs of one environment say nothing about another."""
    table(tmp_path).get(["a"], lambda _: [1.0])
    assert table(tmp_path, **change).get(["a"], lambda _: [2.0]) == {"a": 2.0}
    assert table(tmp_path).get(["a"], lambda _: [3.0]) == {"a": 1.0}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1]", b'{"a": "fast"}'])
def test_damaged_table_is_measured_anew(tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """A table that cannot be read is only a cache: it is made again, and the log says so."""
    table(tmp_path).get(["a"], lambda _: [1.0])
    (path,) = (tmp_path / "costs").iterdir()
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert table(tmp_path).get(["a"], lambda _: [2.0]) == {"a": 2.0}
    assert path.name in caplog.text
    assert table(tmp_path).get(["a"], lambda _: [3.0]) == {"a": 2.0}
