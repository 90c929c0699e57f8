"""Images to scan, in files of every kind, and a disk that fills up."""

from __future__ import annotations

import errno
import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from PIL import Image
from pyarrow import parquet

from ce_detect.runtime import Gate
from ce_detect.scan import scan as scanning
from ce_detect.scan.sources import Source, opened
from ce_detect.storage import atomic
from support.fused import images

COUNT = 50

ROWS = 16


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
    parts = scanning.checkpoints_of(gate, source, out)
    return scanning.scan(gate, source, parts, scanning.local_engine(gate, source), progress)


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
