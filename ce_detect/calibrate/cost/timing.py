"""Wall-clock cost relative to a bare forward pass, measured on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch

T = TypeVar("T")

LEAST_ROUNDS = 3
"""Rounds that are always timed, however slow the functions are."""

FINE = 1e-4
"""Seconds: a clock of processor time that is no finer is not looked at."""


def ratios(
    bare: Callable[[], Any],
    functions: Sequence[Callable[[], Any]],
    *,
    rounds: int = 15,
    warm_up: int = 2,
    seconds: float | None = None,
    device: torch.device | None = None,
) -> list[float]:
    """Time functions against ``bare``, taking turns so that drifts of the machine hit all alike.

    Args:
        bare: what costs 1.0.
        functions: what to compare with it.
        rounds: how often each runs.
        warm_up: runs before the clock starts.
        seconds: time after which no new round begins, once there were `LEAST_ROUNDS`.
        device: where the functions compute; None for the accelerator that PyTorch would take, or else the CPU.

    Returns:
        For each function the median over the rounds of its time divided by that of ``bare`` in the same round.
    """
    everything = [bare, *functions]
    where = device or torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    for function in everything * warm_up:
        function()
    taken: list[list[float]] = []
    begun = time.perf_counter()
    while len(taken) < rounds and not (
        seconds is not None and len(taken) >= LEAST_ROUNDS and time.perf_counter() - begun > seconds
    ):
        taken.append([seconds_of(function, where) for function in everything])
    times = np.array(taken)
    return [float(ratio) for ratio in np.median(times[:, 1:] / times[:, :1], axis=0)]


def on_each(function: Callable[[T], Any], parts: Sequence[T]) -> Callable[[], None]:
    """Return what calls a function with one part after the other."""

    def run() -> None:
        for part in parts:
            function(part)

    return run


def seconds_of(function: Callable[[], Any], device: torch.device) -> float:
    """Time of one call of what computes on a device.

    On a CPU it is the processor time of this process where that is less: it does not run while other programs have the
    processor. They take it in turns of some milliseconds, which hardly ever fall into a call that is short, and nearly
    always into one that is twice as long. By the wall clock a gate would then cost far more than it does.
    """
    start, busy = time.perf_counter(), time.process_time()
    function()
    if device.type != "cpu":  # its work goes on after the call
        torch.accelerator.synchronize(device)
        return time.perf_counter() - start
    taken, busy = time.perf_counter() - start, time.process_time() - busy
    return min(taken, busy) if busy > 0 and time.get_clock_info("process_time").resolution < FINE else taken
