"""Files that a command writes."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from ce_detect.core.errors import UsageError
from ce_detect.storage import atomic


def check_writable(path: Path) -> None:
    """Refuse before the long work.

    Raises:
        UsageError: nothing can be written there.
    """
    try:
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise _unwritable(path, error) from error


def write_json(path: Path, data: Any) -> None:
    """Write plain data as JSON, atomically.

    Raises:
        UsageError: the file cannot be written.
    """
    write_text(path, json.dumps(data, indent=2, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8, atomically.

    Raises:
        UsageError: the file cannot be written.
    """
    try:
        atomic.write(path, text.encode())
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> UsageError:
    return UsageError(f"cannot write {path}: {error.strerror}; name another file")
