"""The pages in a real browser: axe-core finds nothing serious, nothing is loaded, nothing is wider than a phone.

Needs a Chromium and two packages: ``apt-get install chromium``, ``pip install playwright axe-playwright-python``.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.pages import PAGES, source

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = [
    pytest.mark.skipif(os.environ.get("CE_DETECT_OPT_IN") != "1", reason="starts a browser: set CE_DETECT_OPT_IN=1"),
    pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: apt-get install chromium"),
]

PHONE, DESK = 360, 1200


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs a driver: pip install playwright")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(params=[(scheme, width) for scheme in ("light", "dark") for width in (PHONE, DESK)], ids=str)
def window(browser: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A window in each scheme and width, that is offline."""
    scheme, width = request.param
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 800}, offline=True)
    yield context.new_page()
    context.close()


def opened(window: Any, command: str, folder: Path) -> list[str]:
    """Open a page from disk; what it asked for beside itself."""
    file = folder / "report.html"
    file.write_text(source(command), encoding="utf-8")
    asked: list[str] = []
    window.on("request", lambda request: asked.append(request.url))
    window.goto(file.as_uri())
    return [address for address in asked if address != file.as_uri() and not address.startswith("data:")]


@pytest.mark.parametrize("command", PAGES)
def test_axe_finds_nothing(window: Any, command: str, tmp_path: Path) -> None:
    """As the page opens, and with all that can be unfolded unfolded; not even what is minor."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python")
    assert opened(window, command, tmp_path) == []
    for unfolded in (False, True):
        window.evaluate("open => document.querySelectorAll('details').forEach(one => one.open = open)", unfolded)
        found = axe.Axe().run(window).response
        assert [(one["id"], one["impact"], one["nodes"][0]["html"]) for one in found["violations"]] == []
        assert len(found["passes"]) > 15


@pytest.mark.parametrize("command", PAGES)
def test_nothing_is_wider_than_the_window(window: Any, command: str, tmp_path: Path) -> None:
    """Wide tables scroll by themselves."""
    opened(window, command, tmp_path)
    window.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert window.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


@pytest.mark.parametrize("command", PAGES)
def test_words_in_plots_can_be_read(window: Any, command: str, tmp_path: Path) -> None:
    """At least nine pixels high on a phone, and drawn in the page's own font and colour."""
    opened(window, command, tmp_path)
    found = window.evaluate(
        """[...document.querySelectorAll('svg text')].map(one => [
            parseFloat(getComputedStyle(one).fontSize) * Math.hypot(one.getScreenCTM().a, one.getScreenCTM().b),
            getComputedStyle(one).fill, getComputedStyle(one).fontFamily])"""
    )
    body = window.evaluate("getComputedStyle(document.body).fontFamily")
    assert command == "explain" or len(found) > 10
    assert [size for size, _, _ in found if size < 9] == []
    assert all(family == body for _, _, family in found)
    assert all(colour != "rgb(0, 0, 0)" for _, colour, _ in found)


def test_the_keyboard_reaches_everything(window: Any, tmp_path: Path) -> None:
    """First the way to the content, then each section; what has the focus is outlined, and Enter unfolds."""
    opened(window, "evaluate", tmp_path)
    window.keyboard.press("Tab")
    assert window.evaluate("document.activeElement.textContent") == "To the content"
    sections = window.evaluate("document.querySelectorAll('nav a').length")
    for place in range(sections):
        window.keyboard.press("Tab")
        assert window.evaluate("[...document.querySelectorAll('nav a')].indexOf(document.activeElement)") == place
        assert window.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    window.evaluate("document.querySelector('summary').focus()")
    window.keyboard.press("Enter")
    assert window.evaluate("document.querySelector('details').open")
