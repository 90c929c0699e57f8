"""Migrations: steps are taken in their order, once, and by one process at a time."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sql
from support.reviews import row

from ce_detect.records import alarms, schema
from ce_detect.records.filters import Filter
from ce_detect.records.store import Store


def test_an_older_store_is_brought_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a later version adds comes to a store that is in use, and what is in it stays."""
    url = f"sqlite:///{tmp_path / 'reviews.db'}"
    store = Store(url)
    store.add([row(0)])
    store.close()
    taken: list[int] = []

    def second(connection: sql.Connection) -> None:
        connection.execute(sql.text("CREATE TABLE later (id INTEGER)"))
        taken.append(2)

    monkeypatch.setattr(schema, "STEPS", (*schema.STEPS, second))
    for _ in range(2):
        store = Store(url)
        assert store.count(Filter(status="all"), "ada") == 1
        store.close()
    assert taken == [2]


def test_alarms_that_had_a_beginning_are_moments(tmp_path: Path) -> None:
    """As a store of the first form has them: they keep their order, words and times."""
    url = f"sqlite:///{tmp_path / 'reviews.db'}"
    Store(url).close()
    engine = sql.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sql.text("DROP TABLE alarms"))
        connection.execute(
            sql.text(
                "CREATE TABLE alarms (id INTEGER PRIMARY KEY, kind TEXT, scope TEXT, name TEXT, began DOUBLE, "
                "ended DOUBLE, detail TEXT)"
            )
        )
        old = "INSERT INTO alarms VALUES (:id, 'campaign', 'client', 'eve', :id, NULL, :detail)"
        connection.execute(sql.text(old), [{"id": 5, "detail": '{"text": "many"}'}, {"id": 7, "detail": "{}"}])
        schema.keep(connection, "steps", 1)
    engine.dispose()
    store = Store(url)
    said = {"kind": "campaign", "scope": "client", "name": "eve", "text": "more"}
    alarms.add(store, 9.0, said)
    assert [(one.time, one.text) for one in alarms.alarms(store)] == [(9.0, "more"), (7.0, ""), (5.0, "many")]
    store.close()


def test_a_step_that_fails_leaves_the_store_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is taken again with the next start."""
    url = f"sqlite:///{tmp_path / 'reviews.db'}"

    def broken(connection: sql.Connection) -> None:
        connection.execute(sql.text("CREATE TABLE later (id INTEGER)"))
        raise RuntimeError("no room")

    monkeypatch.setattr(schema, "STEPS", (*schema.STEPS, broken))
    engine = sql.create_engine(url)
    with pytest.raises(RuntimeError):
        schema.migrate(engine)
    assert sql.inspect(engine).get_table_names() == []
    engine.dispose()


def test_several_start_at_once(tmp_path: Path) -> None:
    """All find the same tables."""
    url, failed = f"sqlite:///{tmp_path / 'reviews.db'}", []

    def start() -> None:
        try:
            Store(url).close()
        except Exception as error:  # noqa: BLE001  told to the test below
            failed.append(error)

    threads: list[Any] = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
