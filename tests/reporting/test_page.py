"""What holds for each page: it stands alone, and anybody can read it."""

from __future__ import annotations

import json
import re
from itertools import pairwise

import pytest
from support.pages import PAGES, Page, source

from ce_detect.reporting.drawing import COLOURS

BACKGROUNDS = ("page", "card")

EACH = pytest.mark.parametrize("command", PAGES)


def colours(dark: bool) -> dict[str, str]:
    """The page's colours in one of its two schemes, by name."""
    style = source("evaluate").partition("<style>")[2].partition("</style>")[0]
    light, _, rest = style.partition("@media (prefers-color-scheme: dark)")
    return dict(re.findall(r"--(\w+): (#\w{6});", rest if dark else light))


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    shares = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_contrast_is_enough(dark: bool) -> None:
    """Every colour that words or plots have, on every background: 4.5 to 1, level AA of WCAG 2.2."""
    found = colours(dark)
    words = set(found) - set(BACKGROUNDS) - {"line"}
    assert {"ink", "note", "clean", "natural", "attacked", "good", "bad", "focus"} == words
    assert set(COLOURS) <= set(found)
    for name in words:
        for background in BACKGROUNDS:
            dim, bright = sorted([luminance(found[name]), luminance(found[background])])
            assert (bright + 0.05) / (dim + 0.05) >= 4.5, (name, background)


@EACH
def test_a_page_needs_nothing_else(command: str) -> None:
    """No script, no address but places in the page and pictures that are in it; names are escaped."""
    page = Page(source(command))
    assert page.all("script", "link", "iframe", "object", "form") == []
    assert "http" not in source(command)
    assert "@import" not in source(command)
    assert not re.search(r"url\((?!#)", source(command))
    ids = {one.attributes["id"] for one in page.elements if "id" in one.attributes}
    for one in page.elements:
        assert not any(name.startswith("on") or name == "srcset" for name in one.attributes)
        assert (one.attributes.get("src") or "data:image/png;base64,").startswith("data:image/png;base64,")
        address = one.attributes.get("href")
        assert address is None or address.removeprefix("#") in ids, one
    assert "guard &lt;1&gt;" in source(command)
    assert "<1>" not in source(command)


@EACH
def test_ids_are_unique(command: str) -> None:
    """Also those in several plots."""
    ids = [one.attributes["id"] for one in Page(source(command)).elements if "id" in one.attributes]
    assert len(ids) > 2
    assert len(ids) == len(set(ids))


@EACH
def test_a_page_can_be_read_aloud(command: str) -> None:
    """Language, one heading of the first level, none skipped, landmarks, and words for each picture."""
    page = Page(source(command))
    (html,) = page.all("html")
    assert html.attributes["lang"] == "en"
    assert page.all("title")[0].text == page.all("h1")[0].text
    levels = [int(one.tag[1]) for one in page.all("h1", "h2", "h3", "h4", "h5", "h6")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all(len(page.all(tag)) == 1 for tag in ("header", "nav", "main", "footer"))
    assert len(page.all("img", "svg")) > 1
    for one in page.all("img"):
        assert one.attributes["alt"]
    for one in page.all("svg"):
        assert one.attributes["role"] == "img"
        assert len(one.attributes["aria-label"] or "") > 20


@EACH
def test_tables_have_captions_and_headers(command: str) -> None:
    """Each has one caption; each row begins with a header; what is wider than a phone scrolls, also by keyboard."""
    page = Page(source(command))
    tables, captions = page.all("table"), page.all("caption")
    assert len(tables) == len(captions) > 0
    assert all(one.text for one in captions)
    rows = [one for one in page.all("tr") if "tbody" in one.inside]
    headers = [one for one in page.all("th") if "tbody" in one.inside]
    assert len(rows) == len(headers)
    assert all(one.attributes["scope"] in ("row", "col") and one.text for one in page.all("th"))
    scrolling = [one for one in page.all("div") if one.attributes.get("class") == "scroll"]
    assert len(scrolling) == len(tables)
    assert all(one.attributes["tabindex"] == "0" and one.attributes["aria-label"] for one in scrolling)


@EACH
def test_a_page_fits_phone_night_and_keyboard(command: str) -> None:
    """What its style promises; that it holds is for a browser to say, see test_accessibility."""
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in source(command)
    assert "color-scheme: light dark;" in source(command)
    assert "@media (prefers-color-scheme: dark)" in source(command)
    assert ":focus-visible { outline: 3px solid" in source(command)
    first = next(
        one for one in Page(source(command)).elements if "href" in one.attributes or "tabindex" in one.attributes
    )
    assert first.attributes["href"] == "#content"


@EACH
def test_the_page_has_what_json_has(command: str) -> None:
    """The numbers at its end are those of --json; only whole maps are left out."""
    (shown,) = Page(source(command)).all("pre")
    data = json.loads(json.dumps(PAGES[command]().data))
    if command == "explain":
        assert all(np_shape(one.pop("maps")["target"]) == (28, 28) for one in data["inputs"])
        found = json.loads("".join(shown.words))
        assert all(one.pop("maps") == "see --json" for one in found["inputs"])
        assert all(np_shape(one["after_attack"].pop("maps")["target"]) == (28, 28) for one in data["inputs"])
        assert all(one["after_attack"].pop("maps") == "see --json" for one in found["inputs"])
        assert all(len(one.pop("places")) == len(one["images"]) for one in data["concepts"]["concepts"])
        assert all(one.pop("places") == "see --json" for one in found["concepts"]["concepts"])
        assert found == data
    else:
        assert json.loads("".join(shown.words)) == data


def np_shape(rows: list[list[float]]) -> tuple[int, int]:
    """Height and width of nested lists."""
    return len(rows), len(rows[0])


@EACH
def test_the_verdict_stands_first(command: str) -> None:
    """Its label and its one sentence come before any section, and are those of --json."""
    before = source(command).partition("<nav")[0]
    verdict, words = PAGES[command]().data["verdict"], Page(source(command)).all("header")[0].text
    assert verdict["label"] in before
    assert verdict["headline"] in words


@EACH
def test_the_model_card_is_a_section(command: str) -> None:
    """With intended use and limits in the words of --json."""
    text = Page(source(command)).all("main")[0].text
    card = PAGES[command]().data["model_card"]
    for sentence in (*card["intended_use"], *card["limits"]):
        assert sentence in text


@EACH
def test_the_same_report_gives_the_same_bytes(command: str) -> None:
    """Nothing of the time or of the place is in it."""
    assert PAGES[command]().page() == source(command)
