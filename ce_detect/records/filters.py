"""Which inputs a reviewer looks at, and in which order: read from a query string and turned into SQL."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal, get_args

import sqlalchemy as sql

from ce_detect.core.errors import UsageError
from ce_detect.records.schema import ALARMS, DECISIONS, INPUTS

Status = Literal["todo", "disagreed", "attack", "benign", "unsure", "all"]
Kind = Literal["all", "flagged", "drawn"]
Order = Literal["p_value", "newest", "oldest"]

AROUND = 3600.0
"""Seconds before and after an alarm whose inputs belong to it: what raised it came before, and may go on."""

_COLUMNS = {"p_value": (INPUTS.c.p_value, False), "newest": (INPUTS.c.time, True), "oldest": (INPUTS.c.time, False)}
_CHOICES: dict[str, tuple[str, ...]] = {"status": get_args(Status), "kind": get_args(Kind), "order": get_args(Order)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which inputs, and in which order.

    Attributes:
        status: ``"todo"``: nothing is settled and the reviewer has not decided; ``"disagreed"``: enough decided, but
            not alike; an outcome; or ``"all"``.
        kind: ``"flagged"`` by the gate, or ``"drawn"`` at random.
        client: who asked; None for all.
        label: that was answered; None for all.
        most: largest p-value; None for all.
        since: earliest time, in seconds since 1970; None for all.
        until: latest time.
        alarm: number of an alarm whose scope and time they belong to; None for all.
        order: smallest p-value first, or by time.
    """

    status: Status = "todo"
    kind: Kind = "all"
    client: str | None = None
    label: int | None = None
    most: float | None = None
    since: float | None = None
    until: float | None = None
    alarm: int | None = None
    order: Order = "p_value"

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Filter:
        """Read a query string; what is empty counts as absent.

        Raises:
            UsageError: a value that makes no sense; names it.
        """
        given: dict[str, Any] = {}
        for name in cls.__slots__:
            text = query.get(name, "").strip()
            if text:
                given[name] = _read(name, text)
        return cls(**given)

    def query(self) -> dict[str, str]:
        """The query string that `of` reads, without what is as by default."""
        default = asdict(Filter())
        return {name: _text(name, value) for name, value in asdict(self).items() if value != default[name]}

    def clause(self, reviewer: str, needed: int) -> sql.ColumnElement[bool]:
        """The condition on rows of `INPUTS`.

        Args:
            reviewer: who looks.
            needed: reviewers who must agree.
        """
        parts = [*self._plain(), *_of_status(self.status, reviewer, needed)]
        if self.alarm is not None:
            parts.append(_of_alarm(self.alarm))
        return sql.and_(sql.true(), *parts)

    def ordering(self, *, backwards: bool = False) -> tuple[sql.UnaryExpression[Any], ...]:
        """What rows are sorted by; no two are alike in it."""
        column, descending = _COLUMNS[self.order]
        columns = (column, INPUTS.c.id)
        return tuple(one.desc() if descending != backwards else one.asc() for one in columns)

    def behind(self, value: float, number: int, *, backwards: bool = False) -> sql.ColumnElement[bool]:
        """Rows that come after one in this order.

        Args:
            value: of that row, in the column of the order.
            number: its id.
            backwards: rows that come before it.
        """
        column, descending = _COLUMNS[self.order]
        if descending != backwards:
            return sql.or_(column < value, sql.and_(column == value, INPUTS.c.id < number))
        return sql.or_(column > value, sql.and_(column == value, INPUTS.c.id > number))

    @property
    def column(self) -> str:
        """Name of the column of the order."""
        return str(_COLUMNS[self.order][0].name)

    def _plain(self) -> list[sql.ColumnElement[bool]]:
        row = INPUTS.c
        asked = [
            (row.client.__eq__, self.client), (row.label.__eq__, self.label), (row.p_value.__le__, self.most),
            (row.time.__ge__, self.since), (row.time.__le__, self.until),
        ]  # fmt: skip
        parts = [compare(value) for compare, value in asked if value is not None]
        if self.kind != "all":
            parts.append(row.flagged.is_(True) if self.kind == "flagged" else row.drawn.is_(True))
        return parts


def _of_status(status: Status, reviewer: str, needed: int) -> list[sql.ColumnElement[bool]]:
    row = INPUTS.c
    if status == "todo":
        own = sql.select(DECISIONS.c.id).where(
            DECISIONS.c.input == row.id, DECISIONS.c.reviewer == reviewer, DECISIONS.c.undone.is_(None)
        )
        return [row.outcome.is_(None), sql.or_(row.votes == 0, ~own.exists())]
    if status == "disagreed":
        return [row.outcome.is_(None), row.votes >= max(needed, 2)]
    return [] if status == "all" else [row.outcome == status]


def _of_alarm(number: int) -> sql.ColumnElement[bool]:
    row, alarm = INPUTS.c, ALARMS.c
    who = sql.or_(
        alarm.scope == "overall",
        sql.and_(alarm.scope == "client", alarm.name == row.client),
        sql.and_(alarm.scope == "label", alarm.name == sql.cast(row.label, sql.String)),
    )
    when = row.time.between(alarm.time - AROUND, alarm.time + AROUND)
    return sql.select(alarm.id).where(alarm.id == number, who, when).exists()


def _read(name: str, text: str) -> Any:
    if name in _CHOICES:
        if text not in _CHOICES[name]:
            raise UsageError(f"{name} = {text[:40]!r}, expected one of {', '.join(_CHOICES[name])}")
        return text
    if name == "client":
        return text[:200].replace("\0", "\N{REPLACEMENT CHARACTER}")  # as the store keeps it
    try:
        if name in ("since", "until"):
            return _moment(text)
        value = float(text) if name == "most" else int(text)
    except (ValueError, OverflowError):
        raise UsageError(f"{name} = {text[:40]!r} cannot be read; leave it empty for all") from None
    if not math.isfinite(value) or abs(value) >= 1 << 31:
        raise UsageError(f"{name} = {text[:40]!r} is out of range; leave it empty for all")
    return value


def _moment(text: str) -> float:
    """Seconds since 1970 of a time such as ``2026-11-30T08:00``, UTC where it names no zone."""
    found = datetime.fromisoformat(text)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC).timestamp()  # or no year has it


def _text(name: str, value: Any) -> str:
    if name in ("since", "until"):
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return repr(value) if isinstance(value, float) else str(value)
