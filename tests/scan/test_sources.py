"""What can be scanned, read from any position."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from support.scans import folder, tables

from ce_detect.core.errors import InputError, UsageError
from ce_detect.scan.sources import opened


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
