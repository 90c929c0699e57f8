"""The review store: flagged and sampled inputs, what people decided about them, and alarms.

SQLite by default, PostgreSQL for teams; images stay where the quarantine keeps them. Every method opens a transaction
of its own and may be called from many threads.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import sqlalchemy as sql

from ce_detect.core.errors import CeDetectError, UsageError
from ce_detect.core.extras import needed_for
from ce_detect.records import schema
from ce_detect.records.filters import Filter
from ce_detect.records.rows import VERDICTS, Decision, Item, Row, Verdict
from ce_detect.records.schema import DECISIONS, INPUTS

PAGE = 50
"""Inputs on a page of the queue."""

TOGETHER = 500
"""Inputs that are taken at once."""

DRIVERS = ("sqlite", "sqlite+pysqlite", "postgresql", "postgresql+psycopg")
"""What addresses begin with."""

BUSY = 10_000
"""Milliseconds that one writer of SQLite waits for another."""


class Store:
    """A review store; see the head of this file.

    Attributes:
        engine: SQLAlchemy's.
        name: its address without a password.

    Args:
        url: such as ``sqlite:///reviews.db`` or ``postgresql+psycopg://user@host/reviews``.
        reviewers: how many must agree; None leaves it as the store has it, at first 1.
        new: whether one that is not there is made.

    Raises:
        UsageError: an address that cannot be used, or a store that is damaged or of a newer version, or not there.
        MissingExtraError: the driver of the database is not installed.
    """

    def __init__(self, url: str, *, reviewers: int | None = None, new: bool = True) -> None:
        self.engine = _engine(url)
        self.name = self.engine.url.render_as_string(hide_password=True)
        if not new and self.engine.dialect.name == "sqlite" and not Path(self.engine.url.database or "").is_file():
            raise UsageError(f"there is no store {self.name}; name the one that ce-detect console keeps")
        try:
            with self.answering():
                schema.migrate(self.engine)
                self._ask_for(reviewers)
        except UsageError:
            self.close()
            raise

    @contextmanager
    def answering(self) -> Iterator[None]:
        """For commands: what the database cannot do is an error that names the store.

        Raises:
            UsageError: it is away or damaged, or what its address says is refused.
        """
        try:
            yield
        except (sql.exc.SQLAlchemyError, TypeError, ValueError) as error:
            if isinstance(error, CeDetectError):
                raise
            told = getattr(error, "orig", None) or error
            raise UsageError(f"the store {self.name} cannot be used: {told}; name another, or mend it") from error

    def _ask_for(self, reviewers: int | None) -> None:
        with self.engine.begin() as connection:
            if reviewers not in (None, _reviewers(connection)):
                schema.keep(connection, "reviewers", reviewers)
                for number in connection.scalars(sql.select(DECISIONS.c.input).distinct()).all():
                    self._settle(connection, number)

    @property
    def reviewers(self) -> int:
        """How many must agree before an input is settled; another console on this store may change it."""
        with self.engine.connect() as connection:
            return _reviewers(connection)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def sources(self) -> set[str]:
        """Which inputs are there."""
        with self.engine.connect() as connection:
            return set(connection.scalars(sql.select(INPUTS.c.source)))

    def add(self, rows: Iterable[Row]) -> int:
        """Take inputs; those that are there already stay as they are.

        Returns:
            How many are new.
        """
        values = {row.source: asdict(row) for row in rows}
        insert: Any = _insert(self.engine).on_conflict_do_nothing(index_elements=["source"])
        added = 0
        with self.engine.begin() as connection:
            for part in _batched(values, TOGETHER):
                there = set(connection.scalars(sql.select(INPUTS.c.source).where(INPUTS.c.source.in_(part))))
                new = [values[source] for source in part if source not in there]
                if new:
                    connection.execute(insert, new)
                added += len(new)
        return added

    def item(self, number: int) -> Item | None:
        """One input; None where there is none of that number."""
        with self.engine.connect() as connection:
            found = connection.execute(sql.select(INPUTS).where(INPUTS.c.id == number)).mappings().first()
        return None if found is None else Item(**found)

    def items(
        self, asked: Filter, reviewer: str, *, behind: tuple[float, int] | None = None, most: int = PAGE
    ) -> list[Item]:
        """One page of inputs.

        Args:
            asked: which, and in which order.
            reviewer: who looks.
            behind: value and id of the last row of the page before.
            most: how many.
        """
        query = sql.select(INPUTS).where(asked.clause(reviewer, self.reviewers)).order_by(*asked.ordering()).limit(most)
        if behind is not None:
            query = query.where(asked.behind(*behind))
        with self.engine.connect() as connection:
            return [Item(**row) for row in connection.execute(query).mappings()]

    def count(self, asked: Filter, reviewer: str) -> int:
        """How many inputs there are of a filter."""
        query = sql.select(sql.func.count()).select_from(INPUTS).where(asked.clause(reviewer, self.reviewers))
        with self.engine.connect() as connection:
            return int(connection.scalar(query) or 0)

    def beside(self, asked: Filter, reviewer: str, item: Item, *, backwards: bool = False) -> int | None:
        """Id of the next input of a filter, or of the one before; None at the end."""
        place = getattr(item, asked.column), item.id
        query = (
            sql.select(INPUTS.c.id)
            .where(asked.clause(reviewer, self.reviewers), asked.behind(*place, backwards=backwards))
            .order_by(*asked.ordering(backwards=backwards))
            .limit(1)
        )
        with self.engine.connect() as connection:
            found: int | None = connection.scalar(query)
        return found

    def decide(self, number: int, reviewer: str, verdict: Verdict, note: str = "") -> bool:
        """Write down what a reviewer says of an input; his last word counts.

        Args:
            number: of the input.
            reviewer: who decides.
            verdict: what it is.
            note: for others.

        Returns:
            Whether there is such an input.
        """
        note = note.replace("\0", "\N{REPLACEMENT CHARACTER}")  # which PostgreSQL refuses
        row = {"input": number, "reviewer": reviewer, "verdict": verdict, "note": note, "time": time.time()}
        with self.engine.begin() as connection:
            if not _locked(connection, number):
                return False
            connection.execute(sql.insert(DECISIONS).values(row))
            self._settle(connection, number)
        return True

    def undo(self, reviewer: str) -> int | None:
        """Take back the last decision of a reviewer that stands; what he said before counts again.

        Returns:
            The input that it was about; None where there is nothing to undo.
        """
        standing = sql.and_(DECISIONS.c.reviewer == reviewer, DECISIONS.c.undone.is_(None))
        last = sql.select(DECISIONS).where(standing).order_by(DECISIONS.c.id.desc()).limit(1)
        with self.engine.begin() as connection:
            found = connection.execute(last).mappings().first()
            if found is None or not _locked(connection, found["input"]):
                return None
            undone = sql.update(DECISIONS).where(DECISIONS.c.id == found["id"], DECISIONS.c.undone.is_(None))
            connection.execute(undone.values(undone=time.time()))
            self._settle(connection, found["input"])
            return int(found["input"])

    def decisions(self, number: int) -> list[Decision]:
        """All decisions about an input, also those undone, the oldest first."""
        query = sql.select(DECISIONS).where(DECISIONS.c.input == number).order_by(DECISIONS.c.id)
        with self.engine.connect() as connection:
            return [Decision(**row) for row in connection.execute(query).mappings()]

    def _settle(self, connection: sql.Connection, number: int) -> None:
        """Work out anew what is agreed on about an input."""
        query = sql.select(DECISIONS.c.reviewer, DECISIONS.c.verdict).where(
            DECISIONS.c.input == number, DECISIONS.c.undone.is_(None)
        )
        said = dict(iter(connection.execute(query.order_by(DECISIONS.c.id))))
        counts = {verdict: list(said.values()).count(verdict) for verdict in VERDICTS}
        most = max(counts.values())
        leading = [verdict for verdict, count in counts.items() if count == most]
        outcome = leading[0] if most >= _reviewers(connection) and len(leading) == 1 else None
        connection.execute(sql.update(INPUTS).where(INPUTS.c.id == number).values(outcome=outcome, votes=len(said)))


def _reviewers(connection: sql.Connection) -> int:
    return schema.setting(connection, "reviewers", 1)


def _engine(url: str) -> sql.Engine:
    try:
        address = sql.make_url(url)
    except sql.exc.ArgumentError as error:
        raise UsageError(f"--store {url!r} is no address such as sqlite:///reviews.db") from error
    if address.drivername not in DRIVERS:
        raise UsageError(f"--store {address.render_as_string()}: expected sqlite:///… or postgresql+psycopg://…")
    try:
        with needed_for("A store in PostgreSQL", extra="postgres"):
            engine = sql.create_engine(address, pool_pre_ping=True)
    except (TypeError, ValueError) as error:
        raise UsageError(f"--store {address.render_as_string()} cannot be read: {error}") from error
    if address.get_backend_name() == "sqlite":
        sql.event.listen(engine, "connect", _prepared)
    return engine


def _prepared(connection: Any, record: object) -> None:
    """A journal in which readers and one writer do not wait for each other."""
    for pragma in ("journal_mode = WAL", f"busy_timeout = {BUSY}", "foreign_keys = ON", "synchronous = NORMAL"):
        connection.execute(f"PRAGMA {pragma}")


def _insert(engine: sql.Engine) -> Any:
    from sqlalchemy.dialects import postgresql, sqlite

    dialect: Any = sqlite if engine.dialect.name == "sqlite" else postgresql
    return dialect.insert(INPUTS)


def _locked(connection: sql.Connection, number: int) -> bool:
    """Keep others from deciding about an input until this transaction ends; False where there is none."""
    return bool(
        connection.execute(sql.update(INPUTS).where(INPUTS.c.id == number).values(votes=INPUTS.c.votes)).rowcount
    )


def _batched(values: Iterable[str], size: int) -> Iterator[list[str]]:
    """Lists of so many values, the last one shorter."""
    left = iter(values)
    while part := list(islice(left, size)):
        yield part
