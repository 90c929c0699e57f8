"""Scans: a row for every image, nothing twice, nothing lost, whatever interrupts them."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from PIL import Image
from pyarrow import parquet
from support.fused import THRESHOLD, images, written

from ce_detect.core.errors import InputError, UsageError
from ce_detect.runtime import Gate
from ce_detect.scan import checkpoints as scan_parts
from ce_detect.scan import scan as scanning
from ce_detect.scan.sources import Array, Source, opened
from ce_detect.storage import atomic

OPT_IN = pytest.mark.skipif(
    os.environ.get("CE_DETECT_OPT_IN") != "1", reason="starts a local cluster: set CE_DETECT_OPT_IN=1"
)
COUNT = 50
ROWS = 16


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of a few rows, so that a few images make several, and row groups of two parts."""
    monkeypatch.setattr(scan_parts, "ROWS", ROWS)
    monkeypatch.setattr(scan_parts, "_TOGETHER", 2)


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    """A gate in a file of its own."""
    return Gate(written(tmp_path))


@pytest.fixture
def array(tmp_path: Path) -> Path:
    """Floats in a file."""
    np.savez(tmp_path / "x.npz", x=images(COUNT))
    return tmp_path / "x.npz"


def levels() -> NDArray[np.uint8]:
    """Colour images ``(n, H, W, 3)``."""
    return np.rint(255 * images(COUNT)).astype(np.uint8).transpose(0, 2, 3, 1)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """One image, encoded."""
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "png")
    return sink.getvalue()


def folder(root: Path) -> Path:
    """Images in two folders, one of which is hidden, among other files."""
    for i, pixels in enumerate(levels()):
        path = root / "images" / f"class{i % 3}" / f"{i:03d}.{'png' if i % 2 else 'PNG'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(pixels))
    (root / "images" / "notes.txt").write_text("hello")
    (root / "images" / ".hidden").mkdir()
    (root / "images" / ".hidden" / "hidden.png").write_bytes(png(levels()[0]))
    return root / "images"


def tables(root: Path) -> Path:
    """Encoded images in two files, in row groups that end where no part does."""
    rows = [{"bytes": png(pixels), "path": None} for pixels in levels()]
    for name, part in (("a.parquet", rows[:30]), ("b.parquet", rows[30:])):
        (root / "tables").mkdir(exist_ok=True)
        parquet.write_table(pa.table({"image": part}), root / "tables" / name, row_group_size=7)
    return root / "tables"


def scanned(gate: Gate, data: Path | Source, out: Path, progress: Any = None) -> scanning.Summary:
    """Scan in this process."""
    source = data if isinstance(data, Source) else opened(data)
    parts = scanning.parts_of(gate, source, out)
    return scanning.scan(gate, source, parts, scanning.here(gate, source), progress)


# --- rows


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


@pytest.mark.parametrize("make", [folder, tables])
@pytest.mark.parametrize("uint8", [False, True])
def test_encoded_images_are_judged_as_their_pixels(
    make: Callable[[Path], Path], uint8: bool, gate: Gate, tmp_path: Path
) -> None:
    """Folders at any depth and tables give, by name, what the gate gives for the pixels, on either kind of graph."""
    other = Gate(written(tmp_path, uint8=True)) if uint8 else gate
    data = make(tmp_path)
    found = scanned(other, data, tmp_path / "out.parquet")
    table = parquet.read_table(tmp_path / "out.parquet").to_pylist()
    expected = gate((levels().transpose(0, 3, 1, 2) / 255).astype(np.float32))
    assert found.inputs == COUNT
    assert len({row["name"] for row in table}) == COUNT
    for row in table:
        if make is folder:
            i = int(row["name"].split("/")[-1].split(".")[0])
        else:
            file, number = row["name"].split(":")
            i = int(number) + (30 if file == "b.parquet" else 0)
        assert row["score"] == pytest.approx(expected.score[i], rel=1e-5)
        assert row["is_adversarial"] == expected.is_adversarial[i]


def test_what_cannot_be_judged_is_a_row_with_an_error(gate: Gate, tmp_path: Path) -> None:
    """Broken, oversized and unreadable images are told by name; all others are judged; grey ones become colour."""
    root = folder(tmp_path)
    (root / "class0" / "003.png").write_bytes(b"no image")
    (root / "class0" / "006.PNG").write_bytes((root / "class0" / "009.png").read_bytes()[:40])
    (root / "class0" / "012.PNG").write_bytes(png(np.zeros((9, 9, 3), np.uint8)))
    (root / "class0" / "015.png").write_bytes(png(levels()[0][:, :, 0]))
    found = scanned(gate, root, tmp_path / "out.parquet")
    rows = {row["name"]: row for row in parquet.read_table(tmp_path / "out.parquet").to_pylist()}
    errors = {name: row["error"] for name, row in rows.items() if row["error"] is not None}
    assert set(errors) == {"class0/003.png", "class0/006.PNG", "class0/012.PNG"}
    assert "cannot be read as an image" in errors["class0/003.png"]
    assert "9x9 pixels in colour, the gate takes 5x4 in colour" in errors["class0/012.PNG"]
    assert rows["class0/003.png"]["is_adversarial"] is rows["class0/003.png"]["score"] is None
    assert rows["class0/015.png"]["score"] == pytest.approx(levels()[0][:, :, 0].mean() / 255, rel=1e-5)
    assert (found.inputs, found.errors, found.passed + found.adversarial) == (COUNT, 3, COUNT - 3)
    assert found.flag_rate == found.adversarial / (COUNT - 3)
    assert found.first_error == f"class0/003.png: {errors['class0/003.png']}"


def test_floats_that_cannot_be_judged_are_rows_with_errors(gate: Gate, tmp_path: Path) -> None:
    """NaN and pixels out of bounds spoil their own row; a set of another size spoils every row, and is no crash."""
    x = images(COUNT)
    x[5, 0, 0, 0], x[20] = np.nan, x[20] * 255
    np.savez(tmp_path / "x.npz", x=x)
    assert scanned(gate, tmp_path / "x.npz", tmp_path / "out.parquet").errors == 2
    errors = parquet.read_table(tmp_path / "out.parquet").column("error").to_pylist()
    assert "NaN or infinite" in errors[5]
    assert "They look like grey levels from 0 to 255: pass x / 255" in errors[20]
    np.savez(tmp_path / "small.npz", x=x[:, :, :2])
    found = scanned(gate, tmp_path / "small.npz", tmp_path / "small.parquet")
    assert (found.errors, found.flag_rate) == (COUNT, None)


@pytest.mark.parametrize("make", [folder, tables, lambda root: root / "x.npz"])
def test_reading_from_anywhere_is_reading_in_order(make: Any, array: Path, tmp_path: Path) -> None:
    """A source gives the same from the middle, backwards and in one go; its fingerprint is that of its files."""
    data = make(tmp_path)
    source = opened(data)
    whole = list(source.read(0, len(source)))
    for start, stop in ((20, 35), (35, 50), (0, 5), (29, 31), (44, 44)):
        part = list(source.read(start, stop))
        assert [name for name, _ in part] == [name for name, _ in whole[start:stop]]
        for (_, one), (_, other) in zip(part, whole[start:stop], strict=True):
            np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
    assert opened(data).fingerprint == source.fingerprint
    changed = data if data.is_file() else next(iter(data.rglob("[0-9a]*.p*")))
    os.utime(changed, ns=(0, 0))
    assert opened(data).fingerprint != source.fingerprint


def test_demo_can_be_scanned() -> None:
    """The packaged images are grey levels."""
    name, image = next(iter(opened("demo").read(0, 1)))
    assert name.endswith(":0")
    assert isinstance(image, np.ndarray)
    assert (image.shape, image.dtype) == ((28, 28, 1), np.uint8)


def test_what_is_no_data_is_refused(tmp_path: Path) -> None:
    """An absent file, an empty folder, a table without images and one without rows."""
    with pytest.raises(UsageError, match="nothing that can be scanned"):
        opened(tmp_path / "nothing.npz")
    with pytest.raises(InputError, match=r"holds no \.png"):
        opened(tmp_path)
    parquet.write_table(pa.table({"image": pa.array([], pa.binary())}), tmp_path / "empty.parquet")
    with pytest.raises(InputError, match="without rows"):
        opened(tmp_path / "empty.parquet")
    parquet.write_table(pa.table({"number": [1, 2]}), tmp_path / "numbers.parquet")
    with pytest.raises(InputError, match="no column of encoded images"):
        list(opened(tmp_path / "numbers.parquet").read(0, 1))


def test_few_images_are_in_memory(gate: Gate, array: Path, tmp_path: Path) -> None:
    """No more images are read than the gate judges at a time, before they are judged and let go."""
    ahead: list[int] = []

    class Noted(Array):
        def read(self, start: int, stop: int) -> Iterator[Any]:
            for read, sample in enumerate(super().read(start, stop), start + 1):
                ahead.append(read - len(judged))
                yield sample

    judged: list[int] = []
    run = gate._graph.run
    gate._graph.run = lambda x, threshold: (judged.extend(range(len(x))), run(x, threshold))[1]  # type: ignore[method-assign]
    scanned(gate, Noted(array), tmp_path / "out.parquet")
    assert (len(judged), len(ahead)) == (COUNT, COUNT)
    assert max(ahead) == gate.together


PEAK = """
import sys
from pathlib import Path
from ce_detect.data.files import table_rows
def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
few, many = (sum(len(row[0]) for row in table_rows(Path(name))) and peak() for name in sys.argv[1:])
print(many - few)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory as Linux tells it")
def test_large_tables_do_not_stay_in_memory(tmp_path: Path) -> None:
    """A table of 96 MB in groups of 4 MB takes hardly more memory than one of 24 MB."""
    group = pa.table({"image": pa.array([bytes([i]) * 2**18 for i in range(16)], pa.binary())})
    for name, groups in (("few.parquet", 6), ("many.parquet", 24)):
        with parquet.ParquetWriter(tmp_path / name, group.schema, compression="none", use_dictionary=False) as writer:
            for _ in range(groups):
                writer.write_table(group)
    command = [sys.executable, "-c", PEAK, str(tmp_path / "few.parquet"), str(tmp_path / "many.parquet")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 30_000


# --- going on

KILLED = """
import os, signal, sys
sys.path[:0] = {path}
from pathlib import Path
from ce_detect.scan import checkpoints, scan
from ce_detect.scan.sources import opened
from ce_detect.runtime import Gate
checkpoints.ROWS, checkpoints._TOGETHER = {rows}, 2
left, fsync = int(sys.argv[4]), os.fsync
def killing(handle):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(handle)
os.fsync = killing
gate, source = Gate(sys.argv[1]), opened(sys.argv[2])
scan.scan(gate, source, scan.parts_of(gate, source, Path(sys.argv[3])), scan.here(gate, source))
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
        gate = Gate(written(tmp_path / "other", said={**_said(gate), "note": "another"}))
    elif change == "threshold":
        gate = Gate(gate.path, threshold=0.1)
    else:
        np.savez(array, x=images(COUNT, seed=1))
        os.utime(array, ns=(0, 0))
    with pytest.raises(UsageError, match=rf"another scan \({change} differ.*remove it"):
        scanned(gate, array, out)
    assert (out.with_name("out.parquet.parts") if half else out).exists()


def test_other_files_are_not_overwritten(gate: Gate, array: Path, tmp_path: Path) -> None:
    """A table of others, and what is no table, are left alone."""
    parquet.write_table(pa.table({"a": [1]}), tmp_path / "table.parquet")
    (tmp_path / "text.parquet").write_text("hello")
    for name in ("table.parquet", "text.parquet"):
        with pytest.raises(UsageError, match="another scan"):
            scanned(gate, array, tmp_path / name)


class full_after:  # noqa: N801  reads as a phrase
    """The disk is full after so many parts."""

    def __init__(self, parts: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self._left, self._patch, self._write = parts, monkeypatch, atomic.write

    def __enter__(self) -> None:
        self._patch.setattr(atomic, "write", self._full)

    def __exit__(self, *_: object) -> None:
        self._patch.setattr(atomic, "write", self._write)

    def _full(self, path: Path, content: bytes) -> None:
        if path.suffix == ".parquet":
            if not self._left:
                raise OSError(errno.ENOSPC, "No space left on device")
            self._left -= 1
        self._write(path, content)


def test_full_disk_keeps_what_is_done(gate: Gate, array: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the disk, the place and the remedy; after it the scan goes on."""
    with full_after(2, monkeypatch), pytest.raises(UsageError, match=r"No space left.*kept in .*parts; mend it"):
        scanned(gate, array, tmp_path / "out.parquet")
    assert scanned(gate, array, tmp_path / "out.parquet").resumed == 2 * ROWS


def _said(gate: Gate) -> dict[str, str]:
    return dict(gate._graph._session.get_modelmeta().custom_metadata_map)


# --- on a cluster


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
        engine = cluster.on_ray(gate, source, str(data), providers=None, threads=None)
        found = scanning.scan(gate, source, scanning.parts_of(gate, source, out), engine)
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
        cluster.on_ray(gate, opened(array), str(array), providers=None, threads=None)


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
