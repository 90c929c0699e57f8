"""Attacks on the workers of dask and ray: the same bytes, and nothing kept but by the caller."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import joblib
import numpy as np
import pytest
from support.attacks import PGD, SQUARE, chunks_in
from support.models import as_array, subject, tiny_images

from ce_detect.attacks import chunks, generation, parallel
from ce_detect.attacks.generation import attack_all
from ce_detect.storage import atomic

OPT_IN = pytest.mark.skipif(
    os.environ.get("CE_DETECT_OPT_IN") != "1", reason="starts a local cluster: set CE_DETECT_OPT_IN=1"
)


@contextmanager
def dask() -> Iterator[None]:
    """Two processes of two threads each, as joblib's backend."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=None) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config(backend="dask"),
    ):
        yield


@contextmanager
def ray() -> Iterator[None]:
    """Two workers, as joblib's backend."""
    ray = pytest.importorskip("ray")
    from ray.util.joblib import register_ray

    register_ray()
    ray.init(num_cpus=2, include_dashboard=False)
    try:
        with joblib.parallel_config(backend="ray"):
            yield
    finally:
        ray.shutdown()


@OPT_IN
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("cluster", [dask, ray])
def test_clusters_give_the_same_bytes(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers on a cluster make exactly the files that this process makes, and only this process writes them."""
    monkeypatch.setattr(chunks, "CHUNK", 4)
    x, classifier = as_array(tiny_images("plain", 22)), subject("plain").classifier
    attack_all(classifier, x, (PGD, SQUARE), seed=0, cache=tmp_path / "here", jobs=1)
    written: list[int] = []
    write = atomic.write
    monkeypatch.setattr(atomic, "write", lambda path, content: (written.append(os.getpid()), write(path, content)))
    with cluster():
        made = attack_all(classifier, x, (PGD, SQUARE), seed=0, cache=tmp_path / "there")
        late = attack_all(classifier, x, (PGD, SQUARE), seed=1, cache=tmp_path / "late", seconds=0)
    assert chunks_in(tmp_path / "here") == chunks_in(tmp_path / "there")
    assert set(written) == {os.getpid()}
    assert made["pgd 8/255"].index.tolist() == list(range(22))
    assert [attacked.index.tolist() for attacked in late.values()] == [[0, 1, 2, 3]] * 2


def test_configured_backend_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend that the caller chose runs even short work; the default one keeps it here. Threads take turns."""
    monkeypatch.setattr(chunks, "CHUNK", 4)
    x, classifier = as_array(tiny_images("plain", 10)), subject("plain").classifier
    chosen: list[int] = []
    run = parallel.run_in_workers

    def noted(function: Any, packed: Any, calls: Any, count: int) -> Any:
        chosen.append(count)
        return run(function, packed, calls, count)

    monkeypatch.setattr(parallel, "run_in_workers", noted)
    attack_all(classifier, x, (PGD,), seed=0, cache=tmp_path / "here")
    assert chosen == []
    with joblib.parallel_config(backend="threading", n_jobs=3):
        attack_all(classifier, x, (PGD, SQUARE), seed=0, cache=tmp_path / "threads")
    assert chosen == [3]
    attack_all(classifier, x, (PGD, SQUARE), seed=0, cache=tmp_path / "here", jobs=1)
    assert chunks_in(tmp_path / "threads") == chunks_in(tmp_path / "here")


def test_time_is_up_before_a_worker_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has not been handed out when the time is up is not handed out, and no clock of a worker matters."""
    monkeypatch.setattr(chunks, "CHUNK", 4)
    x, classifier = as_array(tiny_images("plain", 22)), subject("plain").classifier
    now = iter(np.arange(100.0))
    monkeypatch.setattr(generation, "time", SimpleNamespace(monotonic=lambda: next(now)))
    done: list[float] = []
    with joblib.parallel_config(backend="threading", n_jobs=2):
        made = attack_all(
            classifier, x, (PGD,), seed=0, cache=tmp_path, seconds=3.5, progress=lambda *report: done.append(report[1])
        )["pgd 8/255"]
    assert made.index.tolist() == list(range(12))
    assert done == sorted(done)
    assert len(done) == 6
