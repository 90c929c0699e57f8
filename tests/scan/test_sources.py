"""What can be scanned, read from any position."""

from __future__ import annotations

import os
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
