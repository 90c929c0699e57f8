"""Parts of a table on disk: what is there stays, and files of others are left alone."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet
from support.scans import ROWS, full_after, scanned

from ce_detect.core.errors import UsageError
from ce_detect.runtime import Gate


def test_other_files_are_not_overwritten(gate: Gate, array: Path, tmp_path: Path) -> None:
    """A table of others, and what is no table, are left alone."""
    parquet.write_table(pa.table({"a": [1]}), tmp_path / "table.parquet")
    (tmp_path / "text.parquet").write_text("hello")
    for name in ("table.parquet", "text.parquet"):
        with pytest.raises(UsageError, match="another scan"):
            scanned(gate, array, tmp_path / name)


def test_full_disk_keeps_what_is_done(gate: Gate, array: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the disk, the place and the remedy; after it the scan goes on."""
    with full_after(2, monkeypatch), pytest.raises(UsageError, match=r"No space left.*kept in .*parts; mend it"):
        scanned(gate, array, tmp_path / "out.parquet")
    assert scanned(gate, array, tmp_path / "out.parquet").resumed == 2 * ROWS
