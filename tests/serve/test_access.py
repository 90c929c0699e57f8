"""Who may ask."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.requests import HTTPConnection
from support import fused
from support.serving import INFER, client, infer, plain, serving

from ce_detect.core.errors import UsageError
from ce_detect.serve.access import LONGEST_NAME, client_of
from ce_detect.serve.server import Server
from ce_detect.serve.settings import Settings


def test_bearer_token(folder: Path) -> None:
    """With a token file only its token opens the door; probes need none."""
    (folder / "token").write_text("s3cret\n")
    with serving(folder, token_file=folder / "token") as server, client(server) as http:
        for wrong in (None, "Bearer", "Bearer s3cre", "Bearer s3cretx", "bearer s3cret\xff", "Basic s3cret"):
            headers = {} if wrong is None else {"authorization": wrong.encode("latin-1")}
            answer = http.get("/v2", headers=headers)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
            assert answer.headers["connection"] == "close"
            assert list(answer.json()) == ["error"]
        assert http.get("/metrics").status_code == 401
        assert http.post(INFER, content=plain(fused.images(1))).status_code == 401
        assert http.get("/v2/health/ready").status_code == 200
        assert http.get("/v2/health/ready").headers["connection"] == "close"
        for scheme in ("bearer", "BEARER"):  # in any case, RFC 9110
            assert http.get("/v2", headers={"authorization": f"{scheme} s3cret"}).status_code == 200
        http.headers["authorization"] = "Bearer s3cret"
        assert "connection" not in http.get("/v2/health/ready").headers
        assert infer(http, fused.images(1)).status_code == 200


def test_token_that_is_none(tmp_path: Path) -> None:
    """An empty token file would let everybody in, so it is refused."""
    (tmp_path / "token").write_text("\n")
    with pytest.raises(UsageError, match="must hold one word"):
        Server(Settings(artifact=tmp_path / "guard.onnx", token_file=tmp_path / "token"), port=0)


def test_a_client_is_who_the_proxy_names_or_the_address() -> None:
    """A name is cut, an absent header leaves the address, and without either nobody is named."""
    scope = {"type": "http", "headers": [(b"x-client", b"n" * 900)], "client": ("10.0.0.7", 1234)}
    assert client_of(HTTPConnection(scope), "X-Client") == "n" * LONGEST_NAME
    assert client_of(HTTPConnection(scope), None) == "10.0.0.7"
    assert client_of(HTTPConnection(scope), "X-Other") == "10.0.0.7"
    assert client_of(HTTPConnection({"type": "http", "headers": [], "client": None}), None) is None
