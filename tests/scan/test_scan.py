"""A scan from images to a table: every image is a row, whatever interrupts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet
from support import fused
from support.fused import THRESHOLD, images, write_graph
from support.scans import COUNT, ROWS, full_after, scanned

from ce_detect.core.errors import UsageError
from ce_detect.runtime import Gate
from ce_detect.scan import scan as scanning
from ce_detect.scan.sources import opened


def test_every_image_is_a_row(gate: Gate, array: Path, tmp_path: Path) -> None:
    """The table holds the verdicts of the gate, in the order of the images, and says whose they are."""
    found = scanned(gate, array, tmp_path / "out.parquet")
    table, result = parquet.read_table(tmp_path / "out.parquet"), gate(images(COUNT))
    assert table.column("name").to_pylist() == [f"x.npz:{i}" for i in range(COUNT)]
    for name in ("label", "score", "p_value", "probability", "is_adversarial"):
        np.testing.assert_array_equal(table.column(name).to_numpy(), getattr(result, name))
    assert table.column("error").null_count == COUNT
    assert found == scanning.Summary(
        inputs=COUNT, passed=int((~result.is_adversarial).sum()), adversarial=int(result.is_adversarial.sum()),
        errors=0, first_error=None, flag_rate=float(result.is_adversarial.mean()), resumed=0,
    )  # fmt: skip
    said = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    assert said["ce_detect.guard"] == gate.fingerprint
    assert json.loads(said["ce_detect.manifest"]) == gate.manifest
    assert json.loads(said["ce_detect.scan"])["threshold"] == THRESHOLD
    assert not (tmp_path / "out.parquet.parts").exists()


def test_a_campaign_in_the_files_is_told(array: Path, tmp_path: Path) -> None:
    """Where the gate says what its promise rests on; not for verdicts of another threshold."""
    manifest = {**fused.MANIFEST, "data": {"splits": {"calibrate": 600}}}
    (tmp_path / "guard.onnx").write_bytes(fused.graph(said=fused.metadata(manifest)))
    np.savez(tmp_path / "bright.npz", x=np.full((40, *fused.SHAPE), 0.9995, np.float32))
    gate = Gate(tmp_path / "guard.onnx")
    (alarm,) = scanned(gate, tmp_path / "bright.npz", tmp_path / "bright.parquet").alarms
    assert "Suspicious inputs of all clients" in alarm
    source = opened(str(tmp_path / "bright.npz"))
    table = scanning.checkpoints_of(gate, source, tmp_path / "bright.parquet")
    assert scanning.scan(gate, source, table, scanning.local_engine(gate, source), watched=False).alarms == ()


KILLED = """
import os, signal, sys
sys.path[:0] = {path}
from pathlib import Path
from ce_detect.scan import checkpoints, scan
from ce_detect.scan.sources import opened
from ce_detect.runtime import Gate
checkpoints.ROWS, checkpoints.PARTS = {rows}, 2
left, fsync = int(sys.argv[4]), os.fsync
def killing(handle):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(handle)
os.fsync = killing
gate, source = Gate(sys.argv[1]), opened(sys.argv[2])
scan.scan(gate, source, scan.checkpoints_of(gate, source, Path(sys.argv[3])), scan.local_engine(gate, source))
"""


@pytest.mark.parametrize("writes", [1, 2, 4, 6], ids=["before the first", "first part", "third part", "at the end"])
def test_killed_scan_goes_on(gate: Gate, array: Path, tmp_path: Path, writes: int) -> None:
    """A kill in the middle of any write costs that part alone; the end is the same to the byte, and leaves nothing."""
    out = tmp_path / "out.parquet"
    source = KILLED.format(path=[str(Path(__file__).parents[1])], rows=ROWS)
    command = [sys.executable, "-c", source, str(gate.path), str(array), str(out), str(writes)]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == -9, done.stderr
    assert not out.exists()
    seen: list[float] = []
    found = scanned(gate, array, out, lambda _, done, total: seen.append(done))
    kept = min(COUNT, max(0, writes - 2) * ROWS)
    assert found.resumed == seen[0] == kept
    scanned(gate, array, tmp_path / "whole.parquet")
    assert out.read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["guard.onnx", "out.parquet", "whole.parquet", "x.npz"]


def test_finished_scan_is_left_as_it_is(gate: Gate, array: Path, tmp_path: Path) -> None:
    """The same command once more reads the verdicts and judges nothing; what a kill left behind goes."""
    first = scanned(gate, array, tmp_path / "out.parquet")
    before = (tmp_path / "out.parquet").stat().st_mtime_ns
    (tmp_path / "out.parquet.parts").mkdir()
    again = scanned(gate, array, tmp_path / "out.parquet")
    assert (again.resumed, again.adversarial) == (COUNT, first.adversarial)
    assert (tmp_path / "out.parquet").stat().st_mtime_ns == before
    assert not (tmp_path / "out.parquet.parts").exists()


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("change", ["guard", "threshold", "data"])
def test_other_scans_are_not_gone_on_with(
    gate: Gate, array: Path, tmp_path: Path, change: str, half: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Verdicts of another guard, threshold or other data are refused, half done and finished, and stay."""
    out = tmp_path / "out.parquet"
    if half:
        with full_after(1, monkeypatch), pytest.raises(UsageError):
            scanned(gate, array, out)
    else:
        scanned(gate, array, out)
    if change == "guard":
        (tmp_path / "other").mkdir()
        gate = Gate(write_graph(tmp_path / "other", said={**_said(gate), "note": "another"}))
    elif change == "threshold":
        gate = Gate(gate.path, threshold=0.1)
    else:
        np.savez(array, x=images(COUNT, seed=1))
        os.utime(array, ns=(0, 0))
    with pytest.raises(UsageError, match=rf"another scan \({change} differ.*remove it"):
        scanned(gate, array, out)
    assert (out.with_name("out.parquet.parts") if half else out).exists()


def _said(gate: Gate) -> dict[str, str]:
    return dict(gate._graph._session.get_modelmeta().custom_metadata_map)
