"""Batching: who shares a batch, who waits, who is turned away, and that nobody fails for a neighbour."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.serving import PATIENCE, limits

from ce_detect.core.errors import InputError
from ce_detect.records.record import Job
from ce_detect.serve.batching import Batcher
from ce_detect.serve.errors import QueueFullError, RequestError
from ce_detect.verdict.result import GateResult

BOUNDS = (0.0, 1.0)


def judged(x: NDArray[Any]) -> GateResult:
    """Verdicts whose score is the mean of an input; refuses as the gate does."""
    if not (x.min() >= 0 and x.max() <= 1):
        raise InputError(f"pixels outside the bounds in one of {len(x)} inputs")
    score = x.reshape(len(x), -1).mean(1, dtype=np.float32)
    return GateResult(np.stack([score, -score], 1), score.astype(int), score, 1 - score, score, score > 0.5, 0.5)


class Held:
    """A gate that waits for a word before it judges, and remembers how many inputs came together."""

    def __init__(self, judge: Callable[[NDArray[Any]], GateResult] = judged) -> None:
        self.judge, self.sizes = judge, list[int]()
        self.entered, self.go = threading.Event(), threading.Event()

    def __call__(self, x: NDArray[Any]) -> GateResult:
        self.sizes.append(len(x))
        self.entered.set()
        assert self.go.wait(PATIENCE)
        return self.judge(x)


@contextmanager
def batching(judge: Any = judged, *, policy: str = "flag", record: Any = None, **changed: Any) -> Iterator[Batcher]:
    """A batcher that is closed at the end."""
    batcher = Batcher(judge, bounds=BOUNDS, limits=limits(**changed), policy=policy, record=record)
    try:
        yield batcher
    finally:
        if isinstance(judge, Held):
            judge.go.set()
        batcher.close()


def job(count: int = 1, value: float | None = None, seed: int = 0, **more: Any) -> Job:
    """Inputs of shape (2, 2, 2)."""
    x = np.random.default_rng(seed).random((count, 2, 2, 2), np.float32)
    return Job(x if value is None else np.full_like(x, value), **more)


def score(of: Job) -> NDArray[Any]:
    """The scores of a job, once they are there."""
    found: NDArray[Any] = of.future.result(PATIENCE).score
    return found


def test_requests_share_batches() -> None:
    """What comes while a batch is computed goes through the gate together, and each gets its own rows."""
    held = Held()
    with batching(held) as batcher:
        first = batcher.submit(job(1, seed=9))
        assert held.entered.wait(PATIENCE)
        jobs = [batcher.submit(job(count, seed=count)) for count in (1, 2, 3)]
        held.go.set()
        for one in (first, *jobs):
            np.testing.assert_allclose(score(one), one.x.mean((1, 2, 3)), rtol=1e-6)
    assert held.sizes == [1, 6]
    assert [one.batch for one in jobs] == [6, 6, 6]


def test_batches_keep_to_their_limit() -> None:
    """A job that no longer fits waits for the next batch; one that never fits is split."""
    held = Held()
    with batching(held, batch=4) as batcher:
        batcher.submit(job())
        assert held.entered.wait(PATIENCE)
        jobs = [batcher.submit(job(count, seed=count)) for count in (3, 2, 11)]
        held.go.set()
        for one in jobs:
            np.testing.assert_allclose(score(one), one.x.mean((1, 2, 3)), rtol=1e-6)
    assert held.sizes == [1, 3, 2, 4, 4, 3]


def test_incomplete_batch_waits_for_company() -> None:
    """With a delay, requests that come one after the other are judged together once the batch is full."""
    held = Held()
    held.go.set()
    with batching(held, batch=3, delay=PATIENCE) as batcher:
        jobs = [batcher.submit(job(seed=i)) for i in range(3)]
        for one in jobs:
            score(one)
    assert held.sizes == [3]


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, 255.0])
def test_a_bad_request_fails_alone(value: float) -> None:
    """NaN, infinity and pixels out of range fail their request, not those that share its batch."""
    held = Held()
    with batching(held) as batcher:
        batcher.submit(job())
        assert held.entered.wait(PATIENCE)
        before, bad, after = (batcher.submit(one) for one in (job(2, seed=1), job(2, value), job(3, seed=2)))
        held.go.set()
        np.testing.assert_allclose(score(before), before.x.mean((1, 2, 3)), rtol=1e-6)
        np.testing.assert_allclose(score(after), after.x.mean((1, 2, 3)), rtol=1e-6)
        with pytest.raises(InputError, match="one of 2 inputs"):
            bad.future.result(PATIENCE)


def test_gate_that_breaks() -> None:
    """An error of the gate goes to the requests of that batch; the next ones are judged."""
    broken = [True]

    def judge(x: NDArray[Any]) -> GateResult:
        if broken.pop() if broken else False:
            raise RuntimeError("out of memory")
        return judged(x)

    with batching(judge) as batcher:
        with pytest.raises(RuntimeError, match="out of memory"):
            batcher.submit(job()).future.result(PATIENCE)
        assert len(score(batcher.submit(job()))) == 1
        assert batcher.alive


def test_records_that_break() -> None:
    """Where verdicts cannot be recorded for an unforeseen reason they are not given."""

    def record(_: Any) -> None:
        raise RuntimeError("no record")

    with batching(record=record) as batcher:
        with pytest.raises(RuntimeError, match="no record"):
            batcher.submit(job()).future.result(PATIENCE)
        assert batcher.alive


def test_recorded_before_answered() -> None:
    """The records see every verdict first."""
    seen: list[bool] = []
    with batching(record=lambda pairs: seen.extend(one.future.done() for one, _ in pairs)) as batcher:
        score(batcher.submit(job()))
    assert seen == [False]


def test_full_queue() -> None:
    """What does not fit is refused at once and told to come again; an empty queue takes any size."""
    held = Held()
    with batching(held, queue=4) as batcher:
        batcher.submit(job())
        assert held.entered.wait(PATIENCE)
        waiting = batcher.submit(job(3))
        with pytest.raises(QueueFullError, match="3 of 4") as full:
            batcher.submit(job(2))
        assert (full.value.status, full.value.retry_after, batcher.waiting) == (503, 1, 3)
        held.go.set()
        score(waiting)
        assert len(score(batcher.submit(job(9)))) == 9


def test_cancelled_requests_are_not_judged() -> None:
    """Whoever gave up waiting costs nothing."""
    held = Held()
    with batching(held) as batcher:
        batcher.submit(job())
        assert held.entered.wait(PATIENCE)
        gone, stays = batcher.submit(job(2)), batcher.submit(job(1))
        assert gone.future.cancel()
        held.go.set()
        score(stays)
    assert held.sizes == [1, 1]


def test_closing_finishes_what_waits() -> None:
    """Closing drops nothing, and takes nothing more."""
    held = Held()
    with batching(held, delay=PATIENCE) as batcher:
        first = batcher.submit(job(32))
        assert held.entered.wait(PATIENCE)
        waiting = [batcher.submit(job(seed=i)) for i in range(5)]
        closing = threading.Thread(target=batcher.close)
        closing.start()
        held.go.set()
        closing.join(PATIENCE)
        for one in (first, *waiting):
            assert one.future.done()
        with pytest.raises(RequestError, match="stopping"):
            batcher.submit(job())


def test_thresholds_of_clients_share_a_batch() -> None:
    """Each verdict is held against its own threshold, and the policy follows the verdict."""
    held = Held()
    with batching(held, policy="abstain") as batcher:
        batcher.submit(job())
        assert held.entered.wait(PATIENCE)
        jobs = [batcher.submit(job(1, 0.6, threshold=threshold)) for threshold in (None, 0.7, 0.55)]
        held.go.set()
        results = [one.future.result(PATIENCE) for one in jobs]
    assert [bool(result.is_adversarial[0]) for result in results] == [True, False, True]
    assert [int(result.label[0]) for result in results] == [-1, 0, -1]
    assert [result.threshold for result in results] == [0.5, 0.7, 0.55]


def test_inputs_that_are_not_aligned() -> None:
    """A view of a body may begin anywhere; the gate gets whole words."""
    x = np.frombuffer(b"x" + np.full((1, 2, 2, 2), 0.5, np.float32).tobytes(), "<f4", 8, 1).reshape(1, 2, 2, 2)
    aligned: list[bool] = []

    def judge(given: NDArray[Any]) -> GateResult:
        aligned.append(given.flags.aligned)
        return judged(given)

    with batching(judge) as batcher:
        np.testing.assert_array_equal(score(batcher.submit(Job(x))), [0.5])
    assert not x.flags.aligned
    assert aligned == [True]


def test_many_clients_get_their_own_rows() -> None:
    """Under contention every request gets the verdicts of its own inputs."""
    with batching(batch=8, delay=0.001, queue=10_000) as batcher:
        mixed: list[list[Job]] = [[] for _ in range(8)]

        def ask(which: int) -> None:
            for i in range(40):
                mixed[which].append(batcher.submit(job(1 + i % 3, seed=100 * which + i)))

        threads = [threading.Thread(target=ask, args=(which,)) for which in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        for one in (one for jobs in mixed for one in jobs):
            np.testing.assert_allclose(score(one), one.x.mean((1, 2, 3)), rtol=1e-6)
