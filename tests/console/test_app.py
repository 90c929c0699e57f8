"""Safety of the console: who may pass, which forms are ours, and what every answer says to a browser."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sql
from starlette.testclient import TestClient
from support import consoles
from support.pages import Page

from ce_detect.console.access import Access, read_tokens
from ce_detect.records.filters import Filter
from ce_detect.records.store import Store

PAGES = ("/", "/?status=all", "/items/1", "/items/1/why", "/alarms", "/counters", "/export", "/try")
_FORM = {"content-type": "application/x-www-form-urlencoded"}
ADA, BOB = "ada-0123456789abcdef", "bob-0123456789abcdef"


@pytest.fixture
def tokens(tmp_path: Path) -> Access:
    """Two reviewers with a token each."""
    path = tmp_path / "tokens"
    path.write_text(f"Ada Lovelace {ADA}\n\nbob {BOB}\n")
    return read_tokens(path)


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_whole_and_safe(http: TestClient, path: str) -> None:
    """HTML that is well formed, without a script or style of its own, and with the headers that forbid them."""
    answer = http.get(path)
    assert answer.status_code == 200, answer.text
    page = Page(re.sub(r"<(input|datalist|option)([^>]*)>(</\1>)?", "", answer.text).replace("</datalist>", "")
                .replace("</option>", ""))  # fmt: skip
    assert all(one.attributes.get("src", "").startswith("/static/") for one in page.all("script"))
    assert page.all("style") == []
    assert not [one for one in page.elements if any(key == "style" or key.startswith("on") for key in one.attributes)]
    assert len(page.all("h1")) == 1 or path.endswith("why")
    headers = answer.headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")
    assert "frame-ancestors 'none'" in headers["content-security-policy"]


def test_cookies(http: TestClient) -> None:
    """No script reads them, no other site sends them; behind https they never go by http."""
    said = http.get("/items/1").headers["set-cookie"].lower()
    assert "httponly" in said
    assert "samesite=strict" in said


def test_cookies_behind_https(store: Store) -> None:
    """They never go by http."""
    with consoles.client(store, secure=True) as http:
        assert "secure" in http.get("/try").headers["set-cookie"].lower()


@pytest.mark.parametrize("host", ["evil.com", "evil.com:80", "localhost.evil.com", ""])
def test_other_hosts_are_refused(http: TestClient, host: str) -> None:
    """A page elsewhere that points its name at this machine gets nothing."""
    answer = http.get("/", headers={"host": host})
    assert answer.status_code == 400
    assert "Input" not in answer.text


def test_forms_from_elsewhere_change_nothing(http: TestClient, store: Store) -> None:
    """Without the token of the session, with that of another one, or sent by another site."""
    right = consoles.token(http.get("/items/1"))
    for data, headers in (
        ({}, {}), ({"csrf": right[:-1] + "x"}, {}), ({"csrf": right}, {"sec-fetch-site": "cross-site"}),
        ({"csrf": right}, {"sec-fetch-site": "same-site"}),
    ):  # fmt: skip
        answer = http.post("/items/1/decide", data={"verdict": "attack", **data}, headers=headers)
        assert answer.status_code == 403
    http.cookies.clear()
    assert http.post("/items/1/decide", data={"verdict": "attack", "csrf": right}).status_code == 403
    assert store.count(Filter(status="attack"), "ada") == 0
    assert http.get("/items/1/decide").status_code == 405


def test_login_by_token(store: Store, settings: dict[str, Any], tokens: Access) -> None:
    """Nothing is shown before; the token says who decides; a logout ends it."""
    with consoles.client(store, access=tokens, **settings) as http:
        for path in (*PAGES, "/items/1/image.png", "/export/decisions.npz"):
            answer = http.get(path, follow_redirects=False)
            assert (answer.status_code, answer.headers["location"]) == (303, "/login")
        assert http.post("/undo").status_code == 401
        assert consoles.post(http, "/login", token="wrong").status_code == 401
        assert consoles.post(http, "/login", token=ADA).status_code == 200
        assert consoles.post(http, "/items/1/decide", "/items/1", verdict="attack").status_code == 200
        assert store.decisions(1)[0].reviewer == "Ada Lovelace"
        assert consoles.post(http, "/logout", "/").url.path == "/login"
        assert http.get("/", follow_redirects=False).status_code == 303
        http.cookies.set("ce_detect_console", "eyJyZXZpZXdlciI6ICJib2IifQ==.abc.def")
        assert http.get("/", follow_redirects=False).status_code == 303


def test_a_reviewer_who_left(store: Store, tokens: Access) -> None:
    """His session ends with his token."""
    with consoles.client(store, access=tokens) as http:
        consoles.post(http, "/login", token=BOB)
        cookie = http.cookies["ce_detect_console"]
    left = Access(tokens={key: name for key, name in tokens.tokens.items() if name != "bob"}, secret=tokens.secret)
    with consoles.client(store, access=left) as http:
        http.cookies.set("ce_detect_console", cookie)
        assert http.get("/", follow_redirects=False).status_code == 303


def test_a_proxy_says_who_it_is(store: Store) -> None:
    """Its header is believed from its address alone, and only where there is one of it."""
    access = Access(header="X-Forwarded-User", proxies=frozenset({"10.0.0.1"}))
    with consoles.client(store, access=access) as http:
        assert http.get("/", headers={"x-forwarded-user": "ada"}).status_code == 401
    access = Access(header="X-Forwarded-User")
    with consoles.client(store, access=access) as http:
        assert ">ada<" in http.get("/", headers={"x-forwarded-user": "ada"}).text
        assert http.get("/").status_code == 401
        assert http.get("/", headers=[("x-forwarded-user", "ada"), ("x-forwarded-user", "bob")]).status_code == 401


def test_large_requests_are_refused(store: Store, settings: dict[str, Any]) -> None:
    """Before they are in memory, whatever they claim to be."""
    with consoles.client(store, upload=1000, **settings) as http:
        big = consoles.token(http.get("/try")), b"x" * 200_000
        assert http.post("/try/upload", data={"csrf": big[0]}, files={"image": big[1]}).status_code == 413
        assert http.post("/undo", content=iter([b"x" * 50_000] * 4), headers=_FORM).status_code == 413


def test_a_store_that_is_away(http: TestClient, store: Store) -> None:
    """The page says so, and the console goes on once it is back."""
    with store.engine.begin() as connection:
        connection.execute(sql.text("ALTER TABLE inputs RENAME TO away"))
    answer = http.get("/")
    assert answer.status_code == 503
    assert "cannot be reached" in answer.text
    with store.engine.begin() as connection:
        connection.execute(sql.text("ALTER TABLE away RENAME TO inputs"))
    assert http.get("/").status_code == 200


def test_what_there_is_not(http: TestClient) -> None:
    """A page says so in words."""
    for path in ("/nowhere", "/items/999", "/items/1/other.png", "/items/1/map-0.png", "/export/passwd", "/static/no"):
        assert http.get(path).status_code == 404, path
    assert http.get("/items/99999999999999999999").status_code in (404, 400)
    assert http.get("/?label=cat").status_code == 400
    assert "label" in http.get("/?label=cat").text
    assert http.get("/alive").text == "alive"
