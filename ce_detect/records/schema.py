"""The tables of the review store, and the steps that bring an older store to the present form.

A step is a function that gets a connection and the next one's number is its place in `STEPS`. A step that was released
is never edited. PostgreSQL runs them under a lock, SQLite in one transaction that writes first: two consoles that start
at once do not meet half-made tables.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import sqlalchemy as sql
from sqlalchemy import Boolean, Column, Double, ForeignKey, Index, Integer, MetaData, String, Table, Text

from ce_detect.core.errors import UsageError

TABLES = MetaData()

_LOCK = 0x63656465  # any number that nobody else takes

SETTINGS = Table(
    "ce_detect_settings",
    TABLES,
    Column("name", String(40), primary_key=True),
    Column("value", Integer, nullable=False),
)
"""Whole numbers by name: the number of steps that were taken, and how many reviewers must agree."""

INPUTS = Table(
    "inputs",
    TABLES,
    Column("id", Integer, primary_key=True),
    Column("source", String(400), nullable=False, unique=True),
    Column("file", String(400)),
    Column("time", Double, nullable=False),
    Column("client", String(200)),
    Column("request", String(256)),
    Column("label", Integer),
    Column("score", Double, nullable=False),
    Column("p_value", Double, nullable=False),
    Column("threshold", Double),
    Column("flagged", Boolean, nullable=False),
    Column("drawn", Boolean, nullable=False),
    Column("outcome", String(8)),
    Column("votes", Integer, nullable=False, default=0),
    Index("inputs_by_time", "time"),
    Index("inputs_by_p_value", "p_value", "id"),
    Index("inputs_by_outcome", "outcome", "p_value", "id"),
    Index("inputs_by_client", "client", "time"),
    Index("inputs_by_request", "request"),
)
"""One row an input: what the gate said, whether it was drawn at random, and what people made of it."""

DECISIONS = Table(
    "decisions",
    TABLES,
    Column("id", Integer, primary_key=True),
    Column("input", Integer, ForeignKey("inputs.id"), nullable=False),
    Column("reviewer", String(100), nullable=False),
    Column("verdict", String(8), nullable=False),
    Column("note", Text, nullable=False),
    Column("time", Double, nullable=False),
    Column("undone", Double),
    Index("decisions_by_input", "input"),
    Index("decisions_by_reviewer", "reviewer", "time"),
)
"""One row a decision; what was undone stays, with the time of that."""

ALARMS = Table(
    "alarms",
    TABLES,
    Column("id", Integer, primary_key=True),
    Column("kind", String(40), nullable=False),
    Column("scope", String(40), nullable=False),
    Column("name", String(200), nullable=False),
    Column("time", Double, nullable=False),
    Column("text", Text, nullable=False),
    Index("alarms_by_time", "time"),
    sql.UniqueConstraint("kind", "scope", "name", "time", name="alarms_once"),
)
"""One row an alarm: the moment at which the monitor raised it, as an alarm has no end."""


def _first(connection: sql.Connection) -> None:
    TABLES.create_all(connection)


def _alarms_are_moments(connection: sql.Connection) -> None:
    """Alarms had a beginning, an end that nobody wrote, and JSON; requests had fewer characters."""
    if connection.dialect.name == "postgresql":
        connection.execute(sql.text("ALTER TABLE inputs ALTER COLUMN request TYPE VARCHAR(256)"))
    if "began" not in {column["name"] for column in sql.inspect(connection).get_columns(ALARMS.name)}:
        return
    query = "SELECT kind, scope, name, began AS time, detail FROM alarms ORDER BY id"
    before = [dict(row) for row in connection.execute(sql.text(query)).mappings()]
    connection.execute(sql.text("DROP TABLE alarms"))
    ALARMS.create(connection)
    for row in before:
        text = str(json.loads(row.pop("detail")).get("text", ""))
        connection.execute(sql.insert(ALARMS).values(text=text, **row))


STEPS: tuple[Callable[[sql.Connection], None], ...] = (_first, _alarms_are_moments)
"""What makes a store of one version a store of the next."""


def migrate(engine: sql.Engine) -> None:
    """Bring a store to the present form; a new one is made.

    Raises:
        UsageError: a newer version of ce-detect made it.
    """
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sql.text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
        else:
            connection.execute(sql.text("BEGIN IMMEDIATE"))
        SETTINGS.create(connection, checkfirst=True)
        found = setting(connection, "steps", 0)
        if found > len(STEPS):
            raise UsageError(
                f"the store {engine.url.render_as_string()} is of version {found}, this ce-detect knows versions up to "
                f"{len(STEPS)}; install the one that made it"
            )
        for step in STEPS[found:]:
            step(connection)
        keep(connection, "steps", len(STEPS))


def setting(connection: sql.Connection, name: str, default: int) -> int:
    """A whole number that the store keeps."""
    found = connection.scalar(sql.select(SETTINGS.c.value).where(SETTINGS.c.name == name))
    return default if found is None else int(found)


def keep(connection: sql.Connection, name: str, value: int) -> None:
    """Keep a whole number."""
    done = connection.execute(sql.update(SETTINGS).where(SETTINGS.c.name == name).values(value=value))
    if not done.rowcount:
        connection.execute(sql.insert(SETTINGS).values(name=name, value=value))
