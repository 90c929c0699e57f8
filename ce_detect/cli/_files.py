"""Files that a command writes."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ce_detect.core.errors import UsageError

if TYPE_CHECKING:  # help needs none of it
    from numpy.typing import NDArray

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


def write_arrays(path: Path, arrays: Iterable[tuple[str, NDArray[Any]]]) -> None:
    """Write arrays by name to an ``.npz`` file, atomically, one at a time.

    Raises:
        UsageError: the file cannot be written.
    """
    from numpy.lib import format as npy

    from ce_detect.storage import atomic

    try:
        with atomic.replacing(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, array in arrays:
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    npy.write_array(member, array, allow_pickle=False)
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> UsageError:
    return UsageError(f"cannot write {path}: {error.strerror}; name another file")
