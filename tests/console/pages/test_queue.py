"""The queue: filters, pages, and 10,000 inputs that stay quick."""

from __future__ import annotations

import re
import time
from pathlib import Path

from starlette.testclient import TestClient
from support import consoles
from support.reviews import row

from ce_detect.records import alarms
from ce_detect.records.store import Store


def numbers(text: str) -> list[int]:
    """Inputs that a page lists."""
    return [int(found) for found in re.findall(r'class="row" href="/items/(\d+)', text)]


def test_ten_thousand_inputs(store: Store) -> None:
    """Every one is on some page, and no page takes long."""
    store.add(row(number) for number in range(10_000))
    seen: list[int] = []
    with consoles.client(store) as http:
        address, slowest = "/", 0.0
        for _ in range(300):
            began = time.perf_counter()
            text = http.get(address).text
            slowest = max(slowest, time.perf_counter() - began)
            seen += numbers(text)
            following = re.search(r'rel="next" href="([^"]+)"', text)
            if following is None or len(seen) >= 1000:
                break
            address = following[1].replace("&amp;", "&")
        assert "10,000 inputs to do" in http.get("/").text
    assert seen == list(range(10_000, 9_000, -1))  # the smallest p-value first
    assert slowest < 2.0


def test_filters(http: TestClient, store: Store) -> None:
    """By query string, kept by the links of the page."""
    text = http.get("/", params={"client": "client 1", "status": "all"}).text
    assert len(numbers(text)) == 4
    assert "status=all&amp;client=client+1" in text
    said = {"kind": "campaign", "scope": "client", "name": "client 2", "text": "<b>many</b>"}
    number = alarms.add(store, time.time(), said)
    assert len(numbers(http.get("/", params={"alarm": number}).text)) == 4
    assert "Nothing here matches" in http.get("/", params={"label": 77}).text
    for behind in ("x", "nan:1", "1", "1:99999999999"):
        assert http.get("/", params={"behind": behind}).status_code == 400


def test_nothing_to_do(tmp_path: Path, store: Store) -> None:
    """An empty queue says so."""
    with consoles.client(store) as http:
        assert "Nothing is left to do" in http.get("/").text
