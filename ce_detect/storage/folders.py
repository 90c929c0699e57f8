"""Where attacked images and measured costs are kept."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """``CE_DETECT_CACHE``, or ``ce-detect`` in the user's cache folder."""
    named = os.environ.get("CE_DETECT_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(named) if named else Path(base) / "ce-detect"
