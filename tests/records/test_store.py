"""The review store: what is taken in, in which order it comes, what counts as settled; on SQLite, and on PostgreSQL."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sql
from support.reviews import postgres, row

from ce_detect.core.errors import UsageError
from ce_detect.records import schema
from ce_detect.records.filters import Filter
from ce_detect.records.store import PAGE, Store

OPT_IN = pytest.mark.skipif(
    os.environ.get("CE_DETECT_OPT_IN") != "1", reason="starts a PostgreSQL: set CE_DETECT_OPT_IN=1"
)
ALL = Filter(status="all")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A PostgreSQL of our own."""
    with postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=OPT_IN)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'reviews.db'}"
    found: str = request.getfixturevalue("server")
    engine = sql.create_engine(found)
    schema.TABLES.drop_all(engine)
    engine.dispose()
    return found


def test_inputs_are_taken_once(url: str) -> None:
    """Whatever comes again is left as it is, decisions with it."""
    store = Store(url)
    assert store.add(row(i) for i in range(1200)) == 1200
    (item, *_) = store.items(ALL, "ada", most=1)
    assert store.decide(item.id, "ada", "attack")
    assert store.add([row(0), row(1199), row(1200)]) == 1
    again = store.item(item.id)
    assert again is not None
    assert (again.outcome, again.votes) == ("attack", 1)
    assert store.count(ALL, "ada") == 1201
    assert store.item(10**6) is None
    assert not store.decide(10**6, "ada", "attack")
    store.close()


def test_pages_hold_every_input_once(url: str) -> None:
    """Page by page, in the order that is asked for, also where values are equal."""
    store = Store(url)
    store.add(replace(row(i), p_value=(i % 7 + 1) / 10, time=float(i % 11)) for i in range(3 * PAGE + 5))
    for order in ("p_value", "newest", "oldest"):
        asked, seen = Filter(status="all", order=order), []
        page = store.items(asked, "ada")
        while page:
            seen += page
            page = store.items(asked, "ada", behind=(getattr(page[-1], asked.column), page[-1].id))
        values = [getattr(item, asked.column) for item in seen]
        assert values == sorted(values, reverse=order == "newest")
        assert len({item.id for item in seen}) == len(seen) == 3 * PAGE + 5
        assert store.beside(asked, "ada", seen[70]) == seen[71].id
        assert store.beside(asked, "ada", seen[70], backwards=True) == seen[69].id
        assert store.beside(asked, "ada", seen[-1]) is None
    store.close()


def test_one_reviewer(url: str) -> None:
    """His last word counts; undoing goes back one step at a time, and nothing is forgotten."""
    store = Store(url)
    store.add(row(i) for i in range(3))
    first = store.items(Filter(), "ada")[0]
    store.decide(first.id, "ada", "attack", "a\0sticker")
    store.decide(first.id, "ada", "benign")
    assert store.count(Filter(), "ada") == 2
    assert store.count(Filter(status="benign"), "ada") == 1
    assert store.undo("bob") is None
    assert store.undo("ada") == first.id
    assert store.count(Filter(status="attack"), "ada") == 1
    assert store.undo("ada") == first.id
    assert store.undo("ada") is None
    assert store.count(Filter(), "ada") == 3
    assert store.count(Filter.of({"client": "a\0b"}), "ada") == 0
    told = store.decisions(first.id)
    assert [(one.verdict, one.note, one.undone is None) for one in told] == [
        ("attack", "a\N{REPLACEMENT CHARACTER}sticker", False), ("benign", "", False),
    ]  # fmt: skip
    assert abs(told[0].time - time.time()) < 60
    store.close()


def test_two_reviewers(url: str) -> None:
    """Nothing is settled until two agree; a third breaks the tie; each sees what he has not decided."""
    store = Store(url, reviewers=2)
    store.add([row(0), row(1)])
    first, second = store.items(Filter(), "ada")
    store.decide(first.id, "ada", "attack")
    assert store.count(Filter(), "ada") == 1
    assert [item.id for item in store.items(Filter(), "bob")] == [first.id, second.id]
    store.decide(first.id, "bob", "benign")
    assert store.count(Filter(status="disagreed"), "ada") == 1
    assert [item.id for item in store.items(Filter(), "eve")] == [first.id, second.id]
    store.decide(first.id, "eve", "attack")
    assert store.count(Filter(status="attack"), "ada") == 1
    store.close()
    alone = Store(url, reviewers=1)  # now one is enough, and two verdicts against one still count more
    assert alone.count(Filter(status="attack"), "ada") == 1
    alone.undo("eve")
    assert alone.count(Filter(status="attack"), "ada") == 0
    alone.close()
    again = Store(url)
    assert again.reviewers == 1
    again.close()


def test_another_console_asks_for_more_reviewers(url: str) -> None:
    """What is decided in the older one is settled by the new number, too."""
    older = Store(url)
    older.add([row(0)])
    newer = Store(url, reviewers=2)
    (item,) = older.items(Filter(), "ada")
    older.decide(item.id, "ada", "attack")
    assert older.count(Filter(status="attack"), "ada") == 0
    older.decide(item.id, "bob", "attack")
    assert older.count(Filter(status="attack"), "ada") == 1
    newer.close()
    older.close()


def test_two_who_decide_at_once(url: str) -> None:
    """Both decisions count."""
    store = Store(url, reviewers=2)
    store.add(row(i) for i in range(10))
    numbers = [item.id for item in store.items(ALL, "ada")]

    def decide(name: str) -> None:
        for number in numbers:
            store.decide(number, name, "attack")

    threads = [threading.Thread(target=decide, args=(name,)) for name in ("ada", "bob")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.count(Filter(status="attack"), "ada") == 10
    store.close()


def test_stores_that_cannot_be_used(tmp_path: Path) -> None:
    """What is wrong is said in words, and no password with it."""
    for url, told in {
        "reviews.db": "no address", "mysql://a:secret@b/c": "expected sqlite", "sqlite:////no/place.db": "cannot be",
        "postgresql+nope://a:secret@b/c": "expected sqlite", "sqlite:///a\0b": "cannot be used",
        "sqlite:///x?timeout=abc": "cannot be read",
    }.items():  # fmt: skip
        with pytest.raises(UsageError, match=told) as caught:
            Store(url)
        assert "secret" not in str(caught.value)
    url = f"sqlite:///{tmp_path / 'newer.db'}"
    store = Store(url)
    with store.engine.begin() as connection:
        schema.keep(connection, "steps", 99)
    store.close()
    with pytest.raises(UsageError, match="version 99"):
        Store(url)
    (tmp_path / "text.db").write_text("no database at all, but long enough to be looked at" * 50)
    with pytest.raises(UsageError, match="cannot be used"):
        Store(f"sqlite:///{tmp_path / 'text.db'}")


def test_a_store_that_is_not_there_or_damaged(tmp_path: Path) -> None:
    """One that is only to be read is not made; what a damaged one cannot answer is said in words."""
    path = tmp_path / "reviews.db"
    with pytest.raises(UsageError, match="there is no store"):
        Store(f"sqlite:///{path}", new=False)
    assert not path.exists()
    store = Store(f"sqlite:///{path}")
    store.add(row(i) for i in range(2000))
    store.close()
    content = bytearray(path.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    path.write_bytes(content)
    found = Store(f"sqlite:///{path}", new=False)
    with pytest.raises(UsageError, match=r"cannot be used: .*malformed"), found.answering():
        found.sources()
    found.close()
