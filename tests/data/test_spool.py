"""Images that are too large for memory go to a file."""

from __future__ import annotations

import errno
import gc
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.pictures import FLOATS

from ce_detect.core.errors import CalibrationError
from ce_detect.data import as_images, spool


@pytest.mark.usefixtures("_nothing_fits")
def test_temporary_files_leave_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They have no name, so they go with the process, and are closed with the images."""
    monkeypatch.setenv("CE_DETECT_CACHE", str(tmp_path / "cache"))
    images = as_images([FLOATS[:4], FLOATS[4:]])
    np.testing.assert_array_equal(images.x, FLOATS)
    assert not list((tmp_path / "cache").iterdir())
    handles = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else None
    del images
    gc.collect()
    if handles is not None:
        assert len(list(Path("/proc/self/fd").iterdir())) == handles - 1


@pytest.mark.usefixtures("_nothing_fits")
def test_full_disk_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The error names the folder and the remedy."""

    def full(**_: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setenv("CE_DETECT_CACHE", str(tmp_path))
    monkeypatch.setattr(spool.tempfile, "TemporaryFile", full)
    with pytest.raises(CalibrationError, match=rf"cannot be kept in {tmp_path}: .*No space.*CE_DETECT_CACHE"):
        as_images([FLOATS])
