"""The history of alarms in the review store."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sql

from ce_detect.records.rows import Alarm
from ce_detect.records.schema import ALARMS
from ce_detect.records.store import Store

MOST = 500
"""Alarms that are listed."""


def begin(store: Store, kind: str, began: float, detail: Mapping[str, Any], *, scope: str, name: str = "") -> int:
    """Write down that an alarm began; what is there already stays as it is.

    Args:
        store: where to.
        kind: such as ``"campaign"``.
        began: seconds since 1970.
        detail: plain data; ``text`` is what people read.
        scope: ``"overall"``, ``"client"`` or ``"label"``.
        name: of the client or label; empty for all.

    Returns:
        Its number.
    """
    same = sql.and_(ALARMS.c.kind == kind, ALARMS.c.scope == scope, ALARMS.c.name == name, ALARMS.c.began == began)
    row = {"kind": kind, "scope": scope, "name": name, "began": began, "detail": json.dumps(dict(detail))}
    with store.engine.begin() as connection:
        found = connection.scalar(sql.select(ALARMS.c.id).where(same))
        if found is not None:
            return int(found)
        return int(connection.scalar(sql.insert(ALARMS).values(row).returning(ALARMS.c.id)) or 0)


def end(store: Store, kind: str, ended: float, *, scope: str, name: str = "") -> int:
    """Write down that an alarm is over; returns how many of this kind, scope and name were on."""
    on = sql.and_(
        ALARMS.c.kind == kind, ALARMS.c.scope == scope, ALARMS.c.name == name,
        ALARMS.c.ended.is_(None), ALARMS.c.began <= ended,
    )  # fmt: skip
    with store.engine.begin() as connection:
        return int(connection.execute(sql.update(ALARMS).where(on).values(ended=ended)).rowcount)


def alarms(store: Store) -> list[Alarm]:
    """The latest alarms, the newest first."""
    query = sql.select(ALARMS).order_by(ALARMS.c.began.desc(), ALARMS.c.id.desc()).limit(MOST)
    with store.engine.connect() as connection:
        return [Alarm(**{**row, "detail": json.loads(row["detail"])}) for row in connection.execute(query).mappings()]
