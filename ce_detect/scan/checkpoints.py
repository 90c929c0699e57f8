"""A table that is written part by part beside its place, goes on after a kill, and is put together at the end.

While a scan runs, ``verdicts.parquet.parts/`` holds the finished parts, each of them whole or not there at all, and
what they belong to. At the end they become ``verdicts.parquet`` in one step. The bytes are the same however often the
scan was interrupted.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from ce_detect.core.errors import UsageError
from ce_detect.scan.verdicts import SCHEMA
from ce_detect.storage import atomic

ROWS = 512
"""Inputs in a part: what a kill may cost."""

PARTS = 64
"""Parts in a row group of the finished table."""

_KEY = "ce_detect.scan"


class Checkpoints:
    """The finished parts of one table.

    Attributes:
        folder: where they are while the table is not finished.

    Args:
        out: the table.
        identity: what the verdicts depend on, as plain data; other verdicts are refused.
        count: rows of the finished table.

    Raises:
        UsageError: the table or its parts are there and are of something else, or nothing can be written there.
    """

    def __init__(self, out: Path, identity: dict[str, Any], count: int) -> None:
        self.out = out
        self.folder = out.with_name(f"{out.name}.parts")
        self._identity = identity
        self._count = count
        self.finished = out.exists()
        if self.finished:
            self._check(_identity_of(out), out)
            return
        with self._writing():
            self.folder.mkdir(exist_ok=True)
            marker = self.folder / "scan.json"
            if marker.exists():
                self._check(json.loads(marker.read_bytes()), self.folder)
            else:
                atomic.write(marker, json.dumps(identity).encode())

    def missing(self) -> list[int]:
        """Numbers of the parts that are yet to be made, in order."""
        return [] if self.finished else [part for part in self._all() if not self._path(part).exists()]

    def span(self, part: int) -> tuple[int, int]:
        """Position of the first input of a part, and of the one after its last."""
        return part * ROWS, min((part + 1) * ROWS, self._count)

    def done(self) -> int:
        """Number of inputs whose verdicts are kept."""
        left = sum(stop - start for start, stop in map(self.span, self.missing()))
        return self._count - left

    def write(self, part: int, content: bytes) -> None:
        """Keep a part.

        Args:
            part: its number.
            content: see `encoded`.

        Raises:
            UsageError: it cannot be written; what is done stays.
        """
        with self._writing():
            atomic.write(self._path(part), content)

    def finish(self, metadata: dict[str, str]) -> None:
        """Put the parts together and remove them.

        Args:
            metadata: of the finished table.

        Raises:
            UsageError: there is no room; what is done stays.
        """
        if not self.finished:
            schema = SCHEMA.with_metadata({**metadata, _KEY: json.dumps(self._identity).encode()})
            whole = self.folder / "whole.parquet"  # in the folder, so that what a kill leaves goes with the folder
            with self._writing(), atomic.replacing(whole) as file, parquet.ParquetWriter(file, schema) as writer:
                for first in range(0, len(self._all()), PARTS):
                    group = self._all()[first : first + PARTS]
                    tables = [parquet.read_table(self._path(part)) for part in group]
                    writer.write_table(pa.concat_tables(tables).cast(schema))
            with self._writing():
                whole.replace(self.out)
            self.finished = True
        if self.folder.exists():
            shutil.rmtree(self.folder)

    def _all(self) -> range:
        return range(-(-self._count // ROWS))

    def _path(self, part: int) -> Path:
        return self.folder / f"{part:08d}.parquet"

    def _check(self, found: Any, where: Path) -> None:
        known = found if isinstance(found, dict) else {}
        changed = [name for name, value in self._identity.items() if known.get(name) != value]
        if changed:
            raise UsageError(
                f"{where} holds verdicts of another scan ({' and '.join(changed)} differ); name another --out, or "
                "remove it"
            )

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UsageError(
                f"cannot write {self.out}: {error.strerror or error}. Finished work is kept in {self.folder}; mend it "
                "and run the same command again to go on"
            ) from error


def encoded(table: pa.Table) -> bytes:
    """A part as the content of a file."""
    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _identity_of(table: Path) -> Any:
    try:
        return json.loads((parquet.read_schema(table).metadata or {}).get(_KEY.encode(), b"null"))
    except (OSError, ValueError):  # no table at all
        return None
