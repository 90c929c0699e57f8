"""What the review store takes in: new files of a quarantine, and lines of an audit log."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import IO, Annotated

import msgspec
import sqlalchemy as sql
from msgspec import Meta

from ce_detect.core.errors import InputError, UsageError
from ce_detect.records import alarms, kept
from ce_detect.records.rows import Row
from ce_detect.records.schema import INPUTS
from ce_detect.records.store import Store

logger = logging.getLogger("ce_detect.console")

NEAR = 60.0
"""Seconds between a line of the audit log and the file of the same input, at most. Both say when the request came; in
older versions each said when it was written."""

_WRITTEN = re.compile(r"(\d{15,19})-\d+")
_READ_AT_ONCE = 500


_LONGEST = 400
"""Characters of what tells an input from all others."""

_Word = Annotated[str, Meta(max_length=40)]
_Client = Annotated[str, Meta(max_length=kept.LONGEST["client"])]


class _Alarm(msgspec.Struct):
    """What is read of an alarm."""

    kind: _Word
    scope: _Word
    name: _Client
    text: str


class _Line(msgspec.Struct):
    """What is read of a line of the audit log: a verdict, or an alarm.

    A value that no database takes would keep out all that comes after it.
    """

    time: Annotated[float, Meta(ge=0, lt=kept.FAR)]
    id: Annotated[str, Meta(max_length=kept.LONGEST["request"])] | None = None
    index: Annotated[int, Meta(ge=0, lt=1 << 31)] = 0
    label: Annotated[int, Meta(ge=-1, lt=1 << 31)] | None = None
    score: float | None = None
    p_value: Annotated[float, Meta(ge=0, le=1)] | None = None
    is_adversarial: bool = False
    threshold: float | None = None
    artifact: str = ""
    client: _Client | None = None
    alarm: _Alarm | None = None


class Intake:
    """Brings into a store what is new in a folder and in a log; again and again, and each input once.

    A file that cannot be read is tried again once it has changed, as by whoever may read it.

    Args:
        store: where to.
        quarantine: the folder, at any depth: several servers may have a folder each in it.
        audit: the log, whose lines fill in what files of older versions do not say, and bring flagged inputs that have
            no file.

    Raises:
        UsageError: there is no such folder or log.
    """

    def __init__(self, store: Store, *, quarantine: Path | None = None, audit: Path | None = None) -> None:
        for path in (quarantine, audit):
            if path is not None and not path.exists():
                raise UsageError(f"there is no {path}; name the folder or file that ce-detect serve writes")
        self._store, self._folder, self._audit = store, quarantine, audit
        self._known = store.sources()
        self._place = 0
        self._log: os.stat_result | None = None
        self._refused: dict[str, tuple[int, int] | None] = {}
        self._refused_lines = 0

    @property
    def unreadable(self) -> int:
        """Number of files that cannot be read now, and of lines that could not be read so far."""
        return len(self._refused) + self._refused_lines

    def run(self) -> int:
        """Take in what is new; returns how many inputs that were."""
        found = 0
        if self._folder is not None:
            found += sum(map(self._taken, _in_parts(self._new_files())))
        if self._audit is not None:
            found += self._from_log()
        return found

    def _new_files(self) -> Iterator[str]:
        assert self._folder is not None
        found = []
        for folder, _, files in os.walk(self._folder):
            inside = Path(folder).relative_to(self._folder).as_posix()
            names = {file: file if inside == "." else f"{inside}/{file}" for file in files if file.endswith(".npz")}
            found += [name for file, name in names.items() if not file.startswith(".")]
        there = set(found)
        self._refused = {name: state for name, state in self._refused.items() if name in there}
        yield from sorted(filter(self._is_new, found))

    def _is_new(self, name: str) -> bool:
        assert self._folder is not None
        if name in self._refused:
            return self._refused[name] != _state(self._folder / name)
        return name not in self._known

    def _taken(self, names: list[str]) -> int:
        rows = [row for name in names if (row := self._row(name)) is not None]
        if self._without_file():
            rows = [row for row in rows if not self._completed(row)]
        added = self._store.add(rows)
        self._known.update(name for name in names if name not in self._refused)
        return added

    def _without_file(self) -> bool:
        query = sql.select(INPUTS.c.id).where(INPUTS.c.file.is_(None)).limit(1)
        with self._store.engine.connect() as connection:
            return connection.scalar(query) is not None

    def _row(self, name: str) -> Row | None:
        assert self._folder is not None
        path = self._folder / name
        state = _state(path)  # of before: what is completed meanwhile is tried again
        try:
            _check_name(name)
            found = kept.verdict(path)
            moment = path.stat().st_mtime
        except (InputError, OSError, UnicodeEncodeError) as error:
            logger.warning("%s", error)
            self._refused[name] = state
            return None
        self._refused.pop(name, None)
        matched = _WRITTEN.fullmatch(path.stem)
        named = int(matched[1]) / 1e9 if matched else moment  # of older versions: when the file was written
        told = asdict(found) | {"time": named if found.time is None else found.time}
        row = Row(source=name, file=name, **told)
        return replace(row, client=_text(row.client), request=_text(row.request))

    def _completed(self, row: Row) -> bool:
        """Give the file of an input to the row that its line made before."""
        with self._store.engine.begin() as connection:
            same = sql.and_(_like(row), INPUTS.c.file.is_(None))
            found = connection.scalar(sql.select(INPUTS.c.id).where(same).limit(1))
            if found is None:
                return False
            told = {"file": row.file, "source": row.source, "drawn": row.drawn, "flagged": row.flagged}
            connection.execute(sql.update(INPUTS).where(INPUTS.c.id == found).values(told))
            return True

    def _from_log(self) -> int:
        """Take lines in parts; a part counts as read once the store has it, so that one that is away loses none."""
        new = 0
        with contextlib.ExitStack() as held:
            for file in self._unread(held):
                stat = os.fstat(file.fileno())
                if not _is(stat, self._log):
                    self._log, self._place = stat, 0
                elif stat.st_size < self._place:
                    self._place = 0
                while lines := self._lines(file):
                    new += self._taken_lines(lines)
                    self._place += sum(map(len, lines))
        return new

    def _taken_lines(self, lines: list[bytes]) -> int:
        rows = [row for line in lines if (row := self._of_line(line)) is not None]
        new = self._store.add(row for row in rows if row.source not in self._known and not self._filled_in(row))
        self._known.update(row.source for row in rows)
        return new

    def _unread(self, held: contextlib.ExitStack) -> list[IO[bytes]]:
        """The file that was read last, and those that came after it; all, where that one is gone or none was read.

        All are opened before the first is read: a rotation meanwhile gives them other names and takes none away.
        """
        while True:
            paths = self._files()
            files: list[IO[bytes]] = [held.enter_context(path.open("rb")) for path in paths]
            stats = [os.fstat(file.fileno()) for file in files]
            if all(_is(path.stat(), stat) for path, stat in zip(paths, stats, strict=True)):
                last = next((place for place, stat in enumerate(stats) if _is(stat, self._log)), 0)
                return files[last:]

    def _files(self) -> list[Path]:
        """The log and what is left of those before it, from old to young."""
        assert self._audit is not None
        aged = re.compile(re.escape(self._audit.name) + r"\.(\d{1,9})")
        ages = {path: int(found[1]) for path in self._audit.parent.iterdir() if (found := aged.fullmatch(path.name))}
        return [*sorted(ages, key=ages.__getitem__, reverse=True), self._audit]

    def _lines(self, file: IO[bytes]) -> list[bytes]:
        """The next whole lines, not all at once."""
        file.seek(self._place)
        return [line for line in islice(file, _READ_AT_ONCE) if line.endswith(b"\n")]

    def _of_line(self, line: bytes) -> Row | None:
        try:
            read = msgspec.json.decode(line, type=_Line)
            if read.alarm is not None:
                alarms.add(self._store, read.time, msgspec.structs.asdict(read.alarm))
                return None
        except msgspec.MsgspecError as error:
            self._refused_lines += 1
            logger.warning("a line of %s cannot be read: %s", self._audit, error)
            return None
        if not read.is_adversarial or read.p_value is None:
            return None
        request = _text(read.id)
        return Row(
            source=f"audit:{read.artifact[:12]}:{read.time!r}:{request or ''}:{read.index}", time=read.time,
            score=math.inf if read.score is None else read.score,
            p_value=read.p_value, flagged=True, label=read.label, threshold=read.threshold,
            client=_text(read.client), request=request,
        )  # fmt: skip

    def _filled_in(self, row: Row) -> bool:
        """Tell the row of a file what its line knows."""
        with self._store.engine.begin() as connection:
            same = sql.and_(_like(row), INPUTS.c.file.is_not(None))
            found = connection.execute(sql.select(INPUTS).where(same).limit(1)).mappings().first()
            if found is None:
                return False
            missing = {
                name: getattr(row, name)
                for name in ("label", "threshold", "client")
                if found[name] is None and getattr(row, name) is not None
            }
            if missing:
                connection.execute(sql.update(INPUTS).where(INPUTS.c.id == found["id"]).values(missing))
            return True


def _like(row: Row) -> sql.ColumnElement[bool]:
    """The same request, score and about the same time: lines and files do not name each other."""
    asked = INPUTS.c.request.is_(None) if row.request is None else INPUTS.c.request == row.request
    near = INPUTS.c.time.between(row.time - NEAR, row.time + NEAR)
    return sql.and_(near, asked, INPUTS.c.score == row.score, INPUTS.c.source != row.source)


def _check_name(name: str) -> None:
    """Refuse what no database takes: a long name, or one of bytes that are no text."""
    if len(name.encode()) > _LONGEST:
        raise InputError(f"the name {name[:80]}… has more than {_LONGEST} bytes; move the file to a folder higher up")


def _text(said: str | None) -> str | None:
    """What a client said of itself, as every database takes it: PostgreSQL refuses NUL, and one row all others."""
    return None if said is None else said.replace("\0", "\N{REPLACEMENT CHARACTER}")


def _is(stat: os.stat_result, other: os.stat_result | None) -> bool:
    """Whether these are of one file."""
    return other is not None and os.path.samestat(stat, other)


def _state(path: Path) -> tuple[int, int] | None:
    """What changes with a file, its owner or its rights; None where it cannot be looked at."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ctime_ns, stat.st_size


def _in_parts(names: Iterator[str]) -> Iterator[list[str]]:
    part: list[str] = []
    for name in names:
        part.append(name)
        if len(part) == _READ_AT_ONCE:
            yield part
            part = []
    if part:
        yield part
