"""One input: pictures, why, decisions, undo; also where texts or files are hostile or gone."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from starlette.testclient import TestClient
from support import consoles, fused
from support.reviews import row

from ce_detect.console.access import Access
from ce_detect.console.neighbours import Neighbours
from ce_detect.console.settings import Explained
from ce_detect.core.types import Floats
from ce_detect.data import Images
from ce_detect.records.filters import Filter
from ce_detect.records.store import Store

TODO = Filter()


def decide(http: TestClient, number: int, verdict: str, **more: str) -> Any:
    """Send the form of an input's page."""
    return consoles.post(http, f"/items/{number}/decide", f"/items/{number}", verdict=verdict, **more)


def test_a_review_from_the_first_to_the_last(http: TestClient, store: Store) -> None:
    """Each decision leads to the next input, an undo back, and the end to the queue."""
    first = store.items(TODO, "reviewer")[0].id
    answer = decide(http, first, "attack", note="a <sticker>")
    assert answer.url.path == f"/items/{store.items(TODO, 'reviewer')[0].id}"
    assert consoles.post(http, "/undo", f"/items/{first}").url.path == f"/items/{first}"
    text = http.get(f"/items/{first}").text
    assert "a &lt;sticker&gt;" in text
    assert "undone" in text
    for verdict in ("attack", "benign", "unsure") * 4:
        answer = decide(http, store.items(TODO, "reviewer")[0].id, verdict)
    assert answer.url.path == "/"
    assert "Nothing is left to do" in answer.text
    assert [store.count(Filter(status=one), "x") for one in ("attack", "benign", "unsure")] == [4, 4, 4]  # type: ignore[arg-type]


def test_forms_that_make_no_sense(http: TestClient, store: Store) -> None:
    """They change nothing."""
    assert decide(http, 1, "maybe").status_code == 400
    assert decide(http, 1, "attack", note="x" * 4001).status_code == 400
    assert consoles.post(http, "/items/999/decide", "/items/1", verdict="attack").status_code == 404
    assert consoles.post(http, "/undo", "/items/1").url.path == "/"
    assert store.count(TODO, "reviewer") == 12


def test_two_reviewers_decide_alone(tmp_path: Path, settings: dict[str, Any]) -> None:
    """What one said is hidden from the other until he has decided himself."""
    store = Store(f"sqlite:///{tmp_path / 'reviews.db'}", reviewers=2)
    with (
        consoles.client(store, access=Access(anybody="ada"), **settings) as ada,
        consoles.client(store, access=Access(anybody="bob"), **settings) as bob,
    ):
        decide(ada, 1, "attack", note="look at the corner")
        assert "look at the corner" in ada.get("/items/1").text
        assert "look at the corner" not in bob.get("/items/1").text
        decide(bob, 1, "benign")
        assert "look at the corner" in bob.get("/items/1").text
        assert "Input 1<" in bob.get("/?status=disagreed").text
        decide(bob, 1, "attack")
        item = store.item(1)
        assert item is not None
        assert item.outcome == "attack"
    store.close()


def explained(pixels: Floats) -> Explained:
    """An explainer whose map is the picture itself."""
    assert pixels.shape == fused.SHAPE
    return Explained({"where <hiding>": pixels.mean(0)}, ["after do(Flip) it fell: added 1.00 to the score"])


def test_pictures_and_why(store: Store, settings: dict[str, Any]) -> None:
    """The image, its map, its nearest clean neighbour, and what carried the score; all pictures are PNG."""
    clean = Neighbours(Images(np.clip(fused.images(12) + 0.01, 0, 1), bounds=(0.0, 1.0)))
    with consoles.client(store, explainer=explained, clean=clean, **settings) as http:
        text = http.get("/items/1").text
        assert 'data-load="/items/1/why"' in text
        assert "where &lt;hiding&gt;" in http.get("/items/1/why").text
        part = http.get("/items/1/why", headers={"x-fragment": "1"}).text
        assert "added 1.00 to the score" in part
        assert "<html" not in part
        found = {
            name: http.get(f"/items/1/{name}.png") for name in ("image", "map-0", "neighbour", "neighbour-map-0")
        }  # fmt: skip
        for answer in found.values():
            assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
            assert answer.content.startswith(b"\x89PNG")
            assert answer.headers["x-content-type-options"] == "nosniff"
        assert len({answer.content for answer in found.values()}) == 4
        for name in ("map-1", "map--1", "map-x", "map-", "neighbour-", "neighbour-x", "..%2f..%2fpasswd"):
            assert http.get(f"/items/1/{name}.png").status_code in ((200, 404) if name == "neighbour-" else (404,))


def test_explanations_that_take_long_hold_up_no_page(store: Store, settings: dict[str, Any]) -> None:
    """Sixty wait for one that does not end; some are told to come again, and other pages are there."""
    go_on = threading.Event()

    def slow(pixels: Floats) -> Explained:
        assert go_on.wait(30)
        return explained(pixels)

    with (
        consoles.running(store, explainer=slow, **settings) as url,
        httpx.Client(base_url=url, trust_env=False, timeout=30, limits=httpx.Limits(max_connections=None)) as http,
        ThreadPoolExecutor(60) as pool,
    ):
        waiting = [pool.submit(http.get, "/items/1/why") for _ in range(60)]
        try:
            assert next(as_completed(waiting, timeout=20)).result().status_code == 503
            assert http.get("/counters", timeout=10).status_code == 200
        finally:
            go_on.set()
        assert {one.result().status_code for one in waiting} == {200, 503}


def test_without_a_model(http: TestClient) -> None:
    """The page says what is missing."""
    assert "--guard" in http.get("/items/1").text
    assert "no model to ask" in http.get("/items/1/why").text
    assert http.get("/items/1/neighbour.png").status_code == 404


@pytest.mark.parametrize("file", [None, "gone.npz", "../../etc/passwd", "text.npz"])
def test_inputs_without_a_picture(tmp_path: Path, store: Store, file: str | None) -> None:
    """They can be decided all the same; nothing outside the folder is read."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "text.npz").write_text("no picture")
    store.add([replace(row(1), file=file, client="<script>alert(1)</script>")])
    with consoles.client(store, quarantine=tmp_path / "folder") as http:
        text = http.get("/items/1").text
        assert "There is no picture" in text
        assert "<script>alert" not in text
        assert http.get("/items/1/image.png").status_code == 404
        assert decide(http, 1, "benign").url.path == "/"


@pytest.mark.parametrize("path", [f"/items/{'9' * 5000}", f"/items/1/map-{'9' * 5000}.png", "/items/\u0661"])
def test_numbers_that_are_none(http: TestClient, path: str) -> None:
    """Python refuses to read so many digits; the page is just not there."""
    assert http.get(path).status_code == 404
