"""Where the cache is."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ce_detect.storage.folders import cache_folder


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other places")
def test_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Our own variable wins over the system's, and the home folder is the last resort."""
    monkeypatch.setenv("CE_DETECT_CACHE", str(tmp_path / "ours"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "system"))
    assert cache_folder() == tmp_path / "ours"
    monkeypatch.delenv("CE_DETECT_CACHE")
    assert cache_folder() == tmp_path / "system" / "ce-detect"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "ce-detect"
