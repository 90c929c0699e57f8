"""What the review store adds up to: counters, and the inputs that may move a threshold."""

from __future__ import annotations

import numpy as np
import sqlalchemy as sql

from ce_detect.records.rows import Drawn, Item
from ce_detect.records.schema import DECISIONS, INPUTS
from ce_detect.records.store import Store

OPEN = "open"
"""What counters call inputs without an outcome."""


def counters(store: Store) -> dict[str, dict[str, int]]:
    """Inputs by outcome, of all, of those flagged and of those drawn; and decisions that stand, by reviewer."""
    row = INPUTS.c
    parts = {"all": sql.true(), "flagged": row.flagged.is_(True), "drawn": row.drawn.is_(True)}
    standing = sql.select(DECISIONS.c.reviewer, sql.func.count()).where(DECISIONS.c.undone.is_(None))
    with store.engine.connect() as connection:
        found = {
            name: {
                outcome or OPEN: count
                for outcome, count in connection.execute(
                    sql.select(row.outcome, sql.func.count()).where(condition).group_by(row.outcome)
                )
            }
            for name, condition in parts.items()
        }
        reviewers = connection.execute(standing.group_by(DECISIONS.c.reviewer).order_by(DECISIONS.c.reviewer))
        return {**found, "reviewers": dict(iter(reviewers))}


def drawn(store: Store, *, since: float | None = None, until: float | None = None) -> Drawn:
    """All inputs that were drawn at random, whatever people said of them.

    Args:
        store: where they are.
        since: earliest time, in seconds since 1970.
        until: latest time.
    """
    row = INPUTS.c
    columns = (row.score, row.p_value, row.threshold, row.outcome, row.flagged)
    query = sql.select(*columns).where(row.drawn.is_(True)).order_by(row.id)
    if since is not None:
        query = query.where(row.time >= since)
    if until is not None:
        query = query.where(row.time <= until)
    with store.engine.connect() as connection:
        rows = connection.execute(query).all()
    return Drawn(
        np.array([one[0] for one in rows], np.float64),
        np.array([one[1] for one in rows], np.float64),
        np.array([np.nan if one[2] is None else one[2] for one in rows], np.float64),
        np.array([one[3] or "" for one in rows], np.str_),
        np.array([one[4] for one in rows], np.bool_),
    )


def settled(store: Store, outcomes: tuple[str, ...]) -> list[Item]:
    """Inputs of these outcomes that have a picture, the oldest first."""
    row = INPUTS.c
    query = sql.select(INPUTS).where(row.outcome.in_(outcomes), row.file.is_not(None)).order_by(row.time, row.id)
    with store.engine.connect() as connection:
        return [Item(**one) for one in connection.execute(query).mappings()]


def labels(store: Store) -> list[int]:
    """Labels that occur."""
    query = sql.select(INPUTS.c.label).where(INPUTS.c.label.is_not(None)).distinct().order_by(INPUTS.c.label)
    with store.engine.connect() as connection:
        return [int(label) for label in connection.scalars(query) if label is not None]
