"""Files are whole or not there at all."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ce_detect.storage import atomic

KILLED = """
import os, signal, sys
from pathlib import Path
from ce_detect.storage import atomic
os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
atomic.write(Path(sys.argv[1]), b"new" * 1000)
"""


class FullDisk:
    """A file on a disk that is full: takes a few bytes, then fails."""

    def __init__(self, handle: int) -> None:
        self._file = os.fdopen(handle, "wb")

    def __enter__(self) -> FullDisk:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, content: bytes) -> None:
        self._file.write(content[:3])
        self._file.flush()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def fill_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every file that is written from a handle fail half-way."""
    fdopen = os.fdopen

    def failing(handle: int, *args: Any) -> Any:
        monkeypatch.setattr(os, "fdopen", fdopen)
        return FullDisk(handle)

    monkeypatch.setattr(os, "fdopen", failing)


def test_content_arrives(tmp_path: Path) -> None:
    """A new file gets the bytes, an old one is replaced, and nothing else is left in the folder."""
    path = tmp_path / "file.bin"
    for content in (b"first", b"", b"second" * 10_000):
        atomic.write(path, content)
        assert path.read_bytes() == content
        assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_follow_the_umask(tmp_path: Path, mask: int, mode: int) -> None:
    """Others may read the file if they may read what the user writes elsewhere, and the umask stays as it was."""
    before = os.umask(mask)
    try:
        atomic.write(tmp_path / "file", b"content")
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode


def test_relative_path_is_taken_from_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bare file name is written where the process is."""
    monkeypatch.chdir(tmp_path)
    atomic.write(Path("file"), b"content")
    assert (tmp_path / "file").read_bytes() == b"content"


def test_reader_keeps_what_it_opened(tmp_path: Path) -> None:
    """A process that has the old file open goes on reading the old content, not a mixture."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with path.open("rb") as reader:
        atomic.write(path, b"new")
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new"


def test_full_disk_leaves_the_old_file_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When writing fails half-way, the error passes on, the old content stays and the part file is gone."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    fill_the_disk(monkeypatch)
    with pytest.raises(OSError, match="No space left"):
        atomic.write(path, b"new content")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_interrupt_leaves_the_old_file_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C between writing and renaming changes nothing."""

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        atomic.write(path, b"new content")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_killed_process_leaves_the_old_file(tmp_path: Path) -> None:
    """A process that is killed outright while it writes leaves the old content under the name."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    process = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert process.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("name", ["no/such/folder/file", "a-file/file"])
def test_folder_that_cannot_hold_the_file(tmp_path: Path, name: str) -> None:
    """A folder that is absent, or is a file, is the caller's error to report."""
    (tmp_path / "a-file").write_bytes(b"")
    with pytest.raises(OSError, match=r"No such file|Not a directory"):
        atomic.write(tmp_path / name, b"content")


def test_folder_in_the_way_is_kept(tmp_path: Path) -> None:
    """A folder of the same name is not replaced, and no part file is left."""
    (tmp_path / "file").mkdir()
    with pytest.raises(OSError, match="directory"):
        atomic.write(tmp_path / "file", b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_secret_is_for_its_owner(tmp_path: Path) -> None:
    """Nobody else may read the file at any time, also where an old one was open to all."""
    path = tmp_path / "secret"
    atomic.write(path, b"old")
    assert path.stat().st_mode & 0o777 == 0o666 & ~atomic._umask()
    atomic.write(path, b"new", mode=0o600)
    assert path.stat().st_mode & 0o777 == 0o600
