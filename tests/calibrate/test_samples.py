"""Images that a calibration leaves in the cache for an export in another process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support import calibrated

from ce_detect.calibrate import samples


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This machine's cache."""
    monkeypatch.setenv("CE_DETECT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_sample_is_found_again_as_far_as_there_was_room(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a large one every so many images are kept."""
    gate, sample = calibrated.guard().gate, calibrated.images().x[:64]
    assert samples.kept(gate) is None
    samples.keep(gate, sample, folder)
    assert np.array_equal(samples.kept(gate), sample)  # type: ignore[arg-type]
    monkeypatch.setattr(samples, "MOST_BYTES", sample.nbytes // 4)
    samples.keep(gate, sample, folder)
    assert np.array_equal(samples.kept(gate), sample[::4])  # type: ignore[arg-type]


def test_a_sample_that_is_damaged_or_cannot_be_kept_is_said(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither ends anything: a calibration is not lost for it, and an export goes on without."""
    gate, sample = calibrated.guard().gate, calibrated.images().x[:8]
    samples.keep(gate, sample, folder)
    (file,) = (folder / "samples").iterdir()
    file.write_bytes(b"damaged")
    with caplog.at_level("WARNING", "ce_detect"):
        assert samples.kept(gate) is None
    assert "cannot be read" in caplog.text
    (folder / "file").write_text("no folder")
    with caplog.at_level("WARNING", "ce_detect"):
        samples.keep(gate, sample, folder / "file")
    assert "no sample of the calibration was kept" in caplog.text
