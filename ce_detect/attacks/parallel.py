"""Work for several processes of this machine, or for the machines of a joblib backend such as dask or ray."""

from __future__ import annotations

import hashlib
import os
import pickle
import threading
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ce_detect.classifiers.base import Classifier
from ce_detect.classifiers.interface import ModuleClassifier

WORTH_A_POOL = 60_000.0
"""Forward passes below which starting worker processes costs more time than it saves."""

_CALLS_A_ROUND = 2
"""Calls that a worker gets at a time, where a backend gives nothing back before all is done."""


def worker_count(classifier: Classifier, work: float, jobs: int | None) -> int:
    """How many workers to use.

    Args:
        classifier: the classifier that they run.
        work: forward passes in all.
        jobs: what the caller asked for; by default as many as there are, where the work is long enough.
    """
    if jobs is not None:
        return max(1, jobs)
    if not work:
        return 1
    if (configured := _configured()) is not None:
        return configured
    on_cpu = classifier.device.type == "cpu"
    return (os.cpu_count() or 1) if on_cpu and work > WORTH_A_POOL else 1


def _configured() -> int | None:
    """Workers that the caller named with ``joblib.parallel_config``, −1 for all of a backend; None where he did not."""
    from joblib.parallel import BACKENDS, DEFAULT_BACKEND, get_active_backend

    backend, jobs = get_active_backend()
    named: int | None = jobs if isinstance(backend, BACKENDS[DEFAULT_BACKEND]) else jobs or -1
    return named


def pack(classifier: Classifier) -> NDArray[np.uint8] | None:
    """The classifier for other processes, as an array, which joblib sends once and not with every call.

    None for a hooked one, whose code they may not be able to import.
    """
    portable = isinstance(classifier, ModuleClassifier) and classifier.portable
    return np.frombuffer(pickle.dumps(classifier), np.uint8) if portable else None


def run_in_workers(
    function: Callable[..., Any], packed: NDArray[np.uint8], calls: Iterable[tuple[int, tuple[Any, ...]]], count: int
) -> Iterator[tuple[int, Any]]:
    """Call ``function(classifier, *arguments)`` on the workers, and yield number and result of each call as it ends.

    A call is taken from ``calls`` when a worker is free for it, not before.

    Args:
        function: importable on the workers.
        packed: the classifier, see `pack`.
        calls: numbers and arguments.
        count: workers; −1 for all that there are.
    """
    from joblib import Parallel, delayed, effective_n_jobs
    from joblib.parallel import get_active_backend

    name = hashlib.sha256(packed.data).hexdigest()
    work = (delayed(_call)(function, packed, name, number, arguments) for number, arguments in calls)
    if get_active_backend()[0].supports_return_generator:
        yield from Parallel(count, return_as="generator_unordered", pre_dispatch="1 * n_jobs", batch_size=1)(work)
        return
    with Parallel(count, batch_size=1) as pool:  # ray is such a backend
        while some := list(islice(work, _CALLS_A_ROUND * effective_n_jobs(count))):
            yield from pool(some)


_alone = threading.Lock()  # attacks draw from global generators, and the workers of a cluster may be threads
_received: dict[str, Classifier] = {}


def _call(
    function: Callable[..., Any], packed: NDArray[np.uint8], name: str, number: int, arguments: tuple[Any, ...]
) -> tuple[int, Any]:
    """Make a call in a worker process, one at a time, unpacking the classifier once.

    The bytes come from `pack` in the process that started this one, never from a file or a network of others.
    """
    with _alone:
        if name not in _received:
            _received.clear()
            _received[name] = pickle.loads(packed.data)
        return number, function(_received[name], *arguments)
