"""A server that the tests of a file share, and clients of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from support.serving import Watched, client, limits, serving


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the fused graph lies."""
    return tmp_path_factory.mktemp("serve")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Watched]:
    """A server with the default settings, but small limits."""
    with serving(folder, limits=limits(batch=8, inputs=64, body=100_000)) as running:
        yield running


@pytest.fixture
def http(server: Watched) -> Iterator[httpx.Client]:
    """A client of it."""
    with client(server) as made:
        yield made
