"""A store with a dozen inputs, and consoles on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from support import consoles

from ce_detect.records.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    made = Store(f"sqlite:///{tmp_path / 'reviews.db'}")
    yield made
    made.close()


@pytest.fixture
def settings(tmp_path: Path, store: Store) -> dict[str, Any]:
    """What a console is given: a quarantine of a dozen inputs, and the gate that judged them."""
    return {"quarantine": consoles.filled(tmp_path, store), "gate": consoles.gate(tmp_path)}


@pytest.fixture
def http(store: Store, settings: dict[str, Any]) -> Iterator[TestClient]:
    """A client of an open console."""
    with consoles.client(store, **settings) as made:
        yield made
