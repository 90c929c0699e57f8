"""Where attacked images and measured costs are kept."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path


def cache_folder() -> Path:
    """``CE_DETECT_CACHE``, or ``ce-detect`` in the user's cache folder."""
    named = os.environ.get("CE_DETECT_CACHE")
    return Path(named) if named else user_cache_path("ce-detect", appauthor=False)
