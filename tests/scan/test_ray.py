"""A scan on a Ray cluster."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet
from support.scans import COUNT, ROWS, folder, full_after, scanned

from ce_detect.core.errors import UsageError
from ce_detect.runtime import Gate
from ce_detect.scan import scan as scanning
from ce_detect.scan.sources import opened

OPT_IN = pytest.mark.skipif(
    os.environ.get("CE_DETECT_OPT_IN") != "1", reason="starts a local cluster: set CE_DETECT_OPT_IN=1"
)


@OPT_IN
@pytest.mark.filterwarnings("default")
def test_ray_gives_the_same_table(gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers of a local Ray, of which one half was done here, make the bytes that this process makes."""
    ray: Any = pytest.importorskip("ray")
    from ce_detect.scan import ray as cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    data, out = folder(tmp_path), tmp_path / "out.parquet"
    source = opened(data)
    scanned(gate, source, tmp_path / "here.parquet")
    with full_after(2, monkeypatch), pytest.raises(UsageError):
        scanned(gate, source, out)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
    try:
        engine = cluster.ray_engine(gate, source, str(data), providers=None, threads=None)
        found = scanning.scan(gate, source, scanning.checkpoints_of(gate, source, out), engine)
    finally:
        ray.shutdown()
    assert (found.inputs, found.resumed) == (COUNT, 2 * ROWS)
    assert out.read_bytes() == (tmp_path / "here.parquet").read_bytes()


def test_ray_is_an_extra(gate: Gate, array: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Ray the error names the extra."""
    from ce_detect.core.errors import MissingExtraError
    from ce_detect.scan import ray as cluster

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"ce-detect\[ray\]"):
        cluster.ray_engine(gate, opened(array), str(array), providers=None, threads=None)


def test_workers_refuse_other_files(gate: Gate, array: Path) -> None:
    """A worker whose guard or images are not those of the scan stops it; another one judges."""
    from ce_detect.scan.ray import Worker

    prints = (gate.fingerprint, opened(array).fingerprint)
    content = Worker(str(gate.path), str(array), prints, {})({"part": 1, "start": 3, "stop": 9})["content"]
    assert parquet.read_table(pa.BufferReader(content)).column("name").to_pylist() == [
        f"x.npz:{i}" for i in range(3, 9)
    ]
    with pytest.raises(UsageError, match="differs between the machines"):
        Worker(str(gate.path), str(array), (prints[0], "other"), {})
