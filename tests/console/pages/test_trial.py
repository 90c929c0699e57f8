"""The page to try a gate: uploads in bounds, changes, verdicts."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient
from support import consoles, fused

from ce_detect.console.access import Access
from ce_detect.core.types import Floats
from ce_detect.records.store import Store


def picture(level: int = 90, size: tuple[int, int] = (5, 4), kind: str = "PNG") -> bytes:
    """An image file of one grey level."""
    buffer = io.BytesIO()
    Image.new("RGB", size, (level, level, level)).save(buffer, kind)
    return buffer.getvalue()


def upload(http: TestClient, content: bytes, name: str = "x.png") -> Any:
    """Send the form of the page."""
    return http.post("/try/upload", data={"csrf": consoles.token(http.get("/try"))}, files={"image": (name, content)})


def test_upload_and_change(http: TestClient) -> None:
    """The verdict on the image as it came, and as it is changed; equal changes give equal pictures."""
    answer = upload(http, picture())
    assert "passed" in answer.text
    assert "flagged" not in answer.text.replace("it is flagged", "").replace("is flagged.", "")
    path = answer.url.path
    changed = http.get(path, params={"strength": 8, "quality": 60})
    assert "as changed" in changed.text
    assert "This is noise, not an attack" in changed.text
    same = [http.get(f"{path}/picture.png", params={"strength": 8}).content for _ in range(2)]
    assert same[0] == same[1] != http.get(f"{path}/picture.png").content
    assert "flagged" in upload(http, picture(200)).text
    part = http.get(path, params={"strength": 8}, headers={"x-fragment": "1"}).text
    assert "<html" not in part
    assert 'id="found"' in part


def test_an_attack_where_there_is_a_model(store: Store, settings: dict[str, Any]) -> None:
    """It gets pixels and strength in [0, 1], and its result is judged."""
    asked: list[float] = []

    def attacker(pixels: Floats, reach: float) -> Floats:
        asked.append(reach)
        return pixels + np.float32(1)

    with consoles.client(store, attacker=attacker, **settings) as http:
        found = http.get(upload(http, picture()).url.path, params={"strength": 51})
        assert found.status_code == 400
        path = upload(http, picture()).url.path
        found = http.get(path, params={"strength": 17})
        assert http.get(f"{path}/picture.png", params={"strength": 17, "quality": 80}).status_code == 200
        assert asked == [pytest.approx(17 / 255)]  # once for verdict and picture, as attacks take long
        assert "Attack (PGD)" in found.text
        assert ">1<" in found.text  # all white: the score is 1
        http.get(path, params={"strength": 9})
        assert asked[1:] == [pytest.approx(9 / 255)]


def bomb() -> bytes:
    """A PNG of a few bytes that says it has 100,000 x 100,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    "content",
    [b"", b"<html><script>alert(1)</script>", b"GIF89a<script>", picture()[:45], bomb(), picture(size=(50, 40))],
    ids=["empty", "html", "half a gif", "half a png", "bomb", "another size"],
)
def test_files_that_are_no_input(http: TestClient, content: bytes) -> None:
    """They are refused in words; nothing of them comes back."""
    answer = upload(http, content, name="<script>.html")
    assert answer.status_code == 400
    assert "<script>" not in answer.text
    assert "alert(1)" not in answer.text
    assert " at 0x" not in answer.text


def test_uploads_are_of_their_reviewer(tmp_path: Path, store: Store, settings: dict[str, Any]) -> None:
    """Nobody else sees them, also with the address; the oldest go."""
    with (
        consoles.client(store, access=Access(anybody="ada"), **settings) as ada,
        consoles.client(store, access=Access(anybody="bob"), **settings) as bob,
    ):
        path = upload(ada, picture()).url.path
        assert ada.get(f"{path}/picture.png").status_code == 200
        assert bob.get(path).status_code == bob.get(f"{path}/picture.png").status_code == 404
        for _ in range(32):
            upload(bob, picture())
        assert ada.get(path).status_code == 404


def test_graphs_of_grey_levels(tmp_path: Path, store: Store) -> None:
    """They get them."""
    (tmp_path / "uint8").mkdir()
    gate = consoles.Gate(fused.write_graph(tmp_path / "uint8", uint8=True))
    with consoles.client(store, gate=gate) as http:
        found = http.get(upload(http, picture(200)).url.path, params={"quality": 90})
        assert found.text.count("flagged</b>") == 2


def test_without_a_gate(store: Store) -> None:
    """The page says what is missing; a form that comes all the same is refused."""
    with consoles.client(store) as http:
        assert "--graph" in http.get("/try").text
        token = consoles.token(http.get("/login")) if "csrf" in http.get("/login").text else ""
        assert http.post("/try/upload", data={"csrf": token}).status_code in (400, 403)
