"""The history of alarms in the review store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sql

from ce_detect.records.rows import Alarm
from ce_detect.records.schema import ALARMS
from ce_detect.records.store import Store

MOST = 500
"""Alarms that are listed."""


def add(store: Store, time: float, said: Mapping[str, Any]) -> int:
    """Write down an alarm; what is there already stays as it is.

    Args:
        store: where to.
        time: of it, in seconds since 1970.
        said: what the audit log says of it, see `ce_detect.monitor.alarms.Alarm.plain`.

    Returns:
        Its number.

    Raises:
        KeyError: a part that every alarm has is not there.
    """
    row: dict[str, Any] = {"time": time, **{part: str(said[part]) for part in ("kind", "scope", "name", "text")}}
    same = sql.and_(*(ALARMS.c[part] == row[part] for part in ("time", "kind", "scope", "name")))
    with store.engine.begin() as connection:
        found = connection.scalar(sql.select(ALARMS.c.id).where(same))
        if found is not None:
            return int(found)
        return int(connection.scalar(sql.insert(ALARMS).values(row).returning(ALARMS.c.id)) or 0)


def alarms(store: Store) -> list[Alarm]:
    """The latest alarms, the newest first."""
    query = sql.select(ALARMS).order_by(ALARMS.c.time.desc(), ALARMS.c.id.desc()).limit(MOST)
    with store.engine.connect() as connection:
        return [Alarm(**row) for row in connection.execute(query).mappings()]
