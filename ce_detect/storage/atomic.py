"""Files that are whole or not there at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


def write(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Write ``content`` as the file ``path``; see `replacing`."""
    with replacing(path, mode=mode) as file:
        file.write(content)


@contextlib.contextmanager
def replacing(path: Path, *, mode: int = 0o666) -> Iterator[BinaryIO]:
    """Yield a file beside ``path``; force it to disk and rename it into place at the end.

    A process killed half-way, an error, or a full disk leaves the old file as it was.

    Args:
        path: of the file.
        mode: who may read and write it, less what the process withholds from everyone (its umask).

    Raises:
        OSError: the folder does not exist, is not writable, or the disk is full.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    beside = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.chmod(mode & ~_umask())
        beside.replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
