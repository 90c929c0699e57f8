"""Files that a command writes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ce_detect.core.errors import UsageError

if TYPE_CHECKING:  # help needs none of it
    from ce_detect.reporting.document import Document


def check_writable(path: Path) -> None:
    """Refuse before the long work.

    Raises:
        UsageError: nothing can be written there.
    """
    try:
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise _unwritable(path, error) from error


def write(found: Document, paths: Iterable[Path]) -> None:
    """Write what a command found to files, see `ce_detect.reporting.document.Document.write`.

    Raises:
        UsageError: a file cannot be written.
    """
    for path in paths:
        try:
            found.write(path)
        except OSError as error:
            raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> UsageError:
    return UsageError(f"cannot write {path}: {error.strerror}; name another file")
