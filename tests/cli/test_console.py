"""``ce-detect console``: flags and refusals, and the console as a process without torch."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from support import consoles
from support.command_line import Calibrated, call, call_without

from ce_detect.cli import console
from ce_detect.console.access import Access
from ce_detect.console.pictures import unit
from ce_detect.data import load_data
from ce_detect.records.store import Store


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ((), "nothing to look at"),
        (("--quarantine", "nowhere"), "there is no nowhere"),
        (("--store", "reviews.db"), "no address"),
        (("--store", "sqlite://", "--guard", "g.safetensors"), "--guard and --model come together"),
        (("--store", "sqlite://", "--tls-key", "key.pem"), "come together"),
        (("--store", "sqlite://", "--host", "0.0.0.0"), "would let everybody decide"),
        (("--store", "sqlite://", "--token-file", "nowhere"), "nowhere cannot be read"),
        (("--store", "sqlite://", "--graph", "nowhere.onnx"), "nowhere.onnx"),
        (("--store", "sqlite://", "--reviewers", "0"), "--reviewers"),
    ],
)
def test_bad_flags(flags: tuple[str, ...], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What makes no sense gives exit code 2 and one line."""
    monkeypatch.chdir(tmp_path)
    done = call("console", "--port", 0, *flags)
    assert (done.code, done.out) == (2, "")
    assert told in done.err


def test_absent_packages_name_the_extra() -> None:
    """Also those that a web framework needs without saying so."""
    for module in ("sqlalchemy", "itsdangerous", "starlette", "jinja2"):
        done = call_without((module,), "console", "--store", "sqlite://")
        assert done.code == 2
        assert "ce-detect[console]" in done.err


def test_a_console_without_torch(tmp_path: Path) -> None:
    """It says where it listens, its store lies beside the quarantine, and it ends with a signal."""
    store = Store(f"sqlite:///{tmp_path / 'other.db'}")
    folder = consoles.filled(tmp_path, store, 3)
    store.close()
    source = "import sys; sys.modules['torch'] = None; from ce_detect.cli import main; main()"
    flags = ["--quarantine", folder, "--graph", tmp_path / "guard.onnx", "--port", "0", "--json", "--reviewers", "2"]
    command = [sys.executable, "-c", source, "console", *map(str, flags)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            port = json.loads(process.stdout.readline())["port"]
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20) as http:
                page = http.get("/").text  # once: between two requests the inputs may come in
                assert "Start reviewing" in page or "Nothing is left" in page
                assert http.get("/try").status_code == 200
        finally:
            process.send_signal(signal.SIGTERM)
        process.wait(20)
    reviews = Store(f"sqlite:///{tmp_path / 'flagged-reviews.db'}")
    assert reviews.reviewers == 2
    reviews.close()


def test_flags_become_settings(tmp_path: Path) -> None:
    """Who may look, by which names, and with which cookies."""
    tokens = tmp_path / "tokens"
    tokens.write_text("ada 0123456789abcdef\n")
    context = console.command.make_context(
        "console",
        ["--store", "sqlite://", "--token-file", str(tokens), "--host", "10.0.0.5", "--allow-host", "reviews.example",
         "--proxy-header", "X-User", "--proxy-from", "10.0.0.1", "--https", "--clean", "demo"],
    )  # fmt: skip
    settings = console._settings(context.params)
    assert list(settings.access.tokens.values()) == ["ada"]
    assert (settings.access.header, settings.access.proxies) == ("X-User", {"10.0.0.1"})
    assert {"10.0.0.5", "reviews.example", "localhost"} <= set(settings.hosts)
    assert settings.secure
    assert settings.clean is not None
    plain = console._settings(console.command.make_context("console", ["--store", "sqlite://"]).params)
    assert plain.access.is_open
    assert not plain.secure


def test_a_model_explains_and_attacks(calibrated: Calibrated) -> None:
    """Maps of the size of the input, words, and an attack that stays as small as it is told and changes decisions."""
    context = console.command.make_context(
        "console", ["--store", "sqlite://", "--guard", str(calibrated.guard), "--model", "demo"]
    )
    settings = console._settings(context.params)
    pixels = unit(load_data("demo", limit=405).x[404], settings.bounds)
    assert settings.explainer is not None
    assert settings.attacker is not None
    found = settings.explainer(pixels)
    assert next(iter(found.maps)) == "where hiding weakens the decision"
    assert not any("{" in caption for caption in found.maps)
    assert {values.shape for values in found.maps.values()} == {(28, 28)}
    assert "the score" in found.words[0]
    attacked = settings.attacker(pixels, 16 / 255)
    assert attacked.shape == pixels.shape
    assert 8 / 255 < abs(attacked - pixels).max() <= 16 / 255 + 1e-5


@pytest.mark.parametrize(
    ("needed", "access", "warned"),
    [
        (1, Access(anybody="ada"), False),
        (2, Access(anybody="ada"), True),
        (2, Access(tokens={b"1": "ada", b"2": "ada"}), True),
        (2, Access(tokens={b"1": "ada", b"2": "bob"}), False),
        (2, Access(header="X-User"), False),
    ],
)
def test_fewer_reviewers_than_must_agree(
    caplog: pytest.LogCaptureFixture, needed: int, access: Access, warned: bool
) -> None:
    """Then nothing would ever be settled, and a line says so; of a proxy nobody knows whom it lets in."""
    console._check_reviewers(needed, access)
    assert ("must agree" in caplog.text) == warned
