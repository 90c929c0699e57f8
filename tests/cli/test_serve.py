"""``ce-detect serve``: flags and refusals. Serving itself is in ``test_serve_lifecycle.py``."""

from __future__ import annotations

import contextlib
import io
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import fused

from ce_detect import cli
from ce_detect.cli import serve
from ce_detect.serve.settings import WatchSettings


def refused(*arguments: object) -> str:
    """Run the command, which must refuse in one line, and return that line."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.run(["serve", *(str(argument) for argument in arguments)])
    assert (code, out.getvalue()) == (2, "")
    said = [line for line in err.getvalue().splitlines() if not line.startswith("{")]
    assert len(said) == 1
    return said[0]


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ((), "no exported gate at"),
        (("--tls-key", "key.pem"), "come together"),
        (("--token-file", "nope"), "token file nope cannot be read"),
        (("--audit", "no/such/place"), "audit log no/such/place cannot be opened"),
        (("--port", "70000"), "--port"),
        (("--policy", "raise"), "--policy"),
    ],
)
def test_bad_flags(flags: tuple[str, ...], told: str) -> None:
    """What makes no sense gives exit code 2 and one line."""
    assert told in refused("nope.onnx", "--port", "0", *flags)


def test_file_that_is_no_guard(tmp_path: Path) -> None:
    """A file that cannot be loaded ends the command with what is wrong."""
    (tmp_path / "guard.onnx").write_bytes(b"no graph")
    assert "not a whole ONNX file" in refused(tmp_path / "guard.onnx", "--port", "0")


def test_taken_port(tmp_path: Path) -> None:
    """A port that somebody has is told with the remedy."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "--port" in refused(fused.write_graph(tmp_path), "--port", taken.getsockname()[1])


def test_the_flags_of_the_monitor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --monitor nothing is watched; with it, its flags reach the server."""
    made: list[Any] = []

    class Stopped(Exception):  # noqa: N818  ends the command
        pass

    def server(settings: Any, **where: Any) -> None:
        made.append(settings.watch)
        raise Stopped

    monkeypatch.setattr("ce_detect.serve.server.Server", server)
    watched = (
        "--monitor",
        "--false-alarms",
        "3",
        "--near-duplicates",
        "0.9",
        "--clients",
        "7",
        "--client-header",
        "X-C",
    )
    more = ("--monitor-state", str(tmp_path), "--webhook", "http://h/", "--webhook-secret", "k", "--no-query-attacks")
    for flags in ((), (*watched, *more)):
        with pytest.raises(Stopped):
            serve.command.main(["guard.onnx", *flags], standalone_mode=False)
    assert made[0] is None
    assert made[1] == WatchSettings(
        false_alarms=3.0, near_duplicates=0.9, clients=7, client_header="X-C", state=tmp_path, webhook="http://h/",
        webhook_secret=Path("k"), queries=False,
    )  # fmt: skip


def test_flags_become_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every flag reaches the server in the units that it takes, also from a configuration file."""
    seen: list[Any] = []

    class Recorded:
        gave_up = False

        def __init__(self, settings: Any, **where: Any) -> None:
            seen.append((settings, where))

        def serve_forever(self) -> None:
            """End at once."""

    monkeypatch.setattr("ce_detect.serve.server.Server", Recorded)
    config = tmp_path / "serve.toml"
    config.write_text(
        'batch = 7\ndelay-ms = 2.5\nmax-body = 3\ngrace = "1m"\naudit-fsync = "batch"\nprovider = ["A", "B"]'
    )
    flags = ["--config", config, "--audit", "log", "--audit-size", 2, "--quarantine", "folder", "--policy", "abstain"]
    assert cli.run(["serve", "guard.onnx", *map(str, flags)]) == 0
    settings, where = seen[0]
    limits = settings.limits
    assert (limits.batch, limits.delay, limits.body, limits.grace_seconds) == (7, 0.0025, 3 << 20, 60)
    assert (settings.audit.path, settings.audit.most_bytes, settings.audit.fsync) == (Path("log"), 2 << 20, "batch")
    assert (settings.quarantine.folder, settings.policy, settings.providers) == (Path("folder"), "abstain", ("A", "B"))
    assert (where["host"], where["port"], where["certificate"], settings.token_file) == ("127.0.0.1", 8000, None, None)


def test_defaults_are_those_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line and the settings say each default once and alike."""
    from ce_detect.serve.settings import Settings

    context = serve.command.make_context("serve", ["guard.onnx"])
    assert serve._settings(context.params) == Settings(artifact=Path("guard.onnx"))


@pytest.mark.parametrize(
    ("module", "package", "extra"),
    [("starlette", "starlette", "serve"), ("prometheus_client", "prometheus-client", "serve")],
)
def test_absent_package_names_the_extra(module: str, package: str, extra: str) -> None:
    """Where the extra is not installed the command says which one."""
    source = f"import sys; sys.modules[{module!r}] = None; from ce_detect.cli import main; main()"
    run = [sys.executable, "-c", source, "serve", "guard.onnx"]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"'{package}'" in done.stderr
    assert f"ce-detect[{extra}]" in done.stderr
