"""Relative costs, on a clock that the tests move."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch

from ce_detect.calibrate.cost.timing import LEAST_ROUNDS, ratios, seconds_of


class Clock:
    """A clock that moves only when something is done.

    Attributes:
        now: what the process has done, in seconds.
        others: what other programs did meanwhile, while the process waited.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.others = 0.0

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
    monkeypatch.setattr(time, "perf_counter", lambda: fake.now + fake.others)
    monkeypatch.setattr(time, "process_time", lambda: fake.now)
    return fake


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


def test_time_of_other_programs_does_not_count(clock: Clock) -> None:
    """They take the processor for longer than a short call lasts, and always in the middle of a longer one."""
    gate = clock.taking(2e-3)

    def interrupted() -> None:
        gate()
        clock.others += 4e-3

    assert ratios(clock.taking(1e-3), [interrupted], device=torch.device("cpu")) == pytest.approx([2.0])


def test_threads_of_one_process_are_not_added_up(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """On two cores processor time runs twice as fast as the clock on the wall, which then counts."""
    monkeypatch.setattr(time, "process_time", lambda: 2 * clock.now)
    assert seconds_of(clock.taking(3.0), torch.device("cpu")) == pytest.approx(3.0)


def test_a_coarse_clock_of_processor_time_is_not_asked(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it moves in steps of sixteen milliseconds, short calls would take nothing."""
    coarse = SimpleNamespace(resolution=0.0156)
    monkeypatch.setattr(time, "get_clock_info", lambda name: coarse)
    monkeypatch.setattr(time, "process_time", lambda: clock.now // 0.0156 * 0.0156)
    assert seconds_of(clock.taking(0.02), torch.device("cpu")) == pytest.approx(0.02)


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


def test_a_device_is_waited_for(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that only queues its work takes as long as the work; a CPU has nothing to wait for."""
    waited: list[torch.device] = []

    def synchronize(device: torch.device) -> None:
        waited.append(device)
        clock.now += 1.0

    monkeypatch.setattr(torch.accelerator, "synchronize", synchronize)
    second = torch.device("cuda", 1)
    assert ratios(clock.taking(1.0), [clock.taking(3.0)], rounds=1, warm_up=0, device=second) == pytest.approx([2.0])
    assert waited == [second, second]
    assert ratios(clock.taking(1.0), [clock.taking(3.0)], device=torch.device("cpu")) == pytest.approx([3.0])
    assert len(waited) == 2
