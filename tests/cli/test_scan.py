"""``ce-detect scan``: what it prints, what it refuses, and that it needs no torch."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet
from support import fused
from support.command_line import call, call_without
from support.fused import images, write_graph

HEAVY = ("torch", "sklearn", "scipy", "art", "joblib", "onnx", "pandas", "matplotlib")
COUNT = 30


LIGHT = f"""
import sys
class Absent:
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in {HEAVY}:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Absent)
from ce_detect.cli import run
code = run()
assert not set({HEAVY}) & set(sys.modules)
sys.exit(code)
"""


@pytest.fixture
def guard(tmp_path: Path) -> Path:
    """A gate on disk."""
    return write_graph(tmp_path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of images, one of them broken."""
    for i, x in enumerate(images(COUNT)):
        path = tmp_path / "images" / f"{i:02d}.png"
        path.parent.mkdir(exist_ok=True)
        sink = io.BytesIO()
        Image.fromarray(np.rint(255 * x).astype(np.uint8).transpose(1, 2, 0)).save(sink, "png")
        path.write_bytes(sink.getvalue()[: 30 if i == 7 else None])
    return tmp_path / "images"


def test_summary_as_json(guard: Path, data: Path, tmp_path: Path) -> None:
    """The counts are those of the table; the rate is of the judged; the promise stands beside it."""
    done = call("scan", guard, data, "--out", tmp_path / "out.parquet", "--threads", 1, "--json")
    assert done.code == 0, done.err
    table = parquet.read_table(tmp_path / "out.parquet")
    flagged = table.column("is_adversarial").to_pylist()
    found = done.data
    assert (found["passed"], found["adversarial"]) == (flagged.count(False), flagged.count(True))
    assert (found["inputs"], found["errors"], found["resumed"]) == (COUNT, 1, 0)
    assert found["flag_rate"] == flagged.count(True) / (COUNT - 1)
    assert found["first_error"].startswith("07.png: ")
    assert found["target"] == fused.MANIFEST["fpr"]
    assert found["seconds"] > 0
    assert table.num_rows == COUNT


def test_summary_in_words(guard: Path, data: Path, tmp_path: Path) -> None:
    """The table says what was flagged, what was promised and what could not be judged; a second run judges nothing."""
    first = call("scan", guard, data, "--out", tmp_path / "out.parquet")
    assert "at most 5 % of clean inputs flagged, with confidence 95 %" in first.out
    assert "07.png" in first.out
    assert f"{COUNT} of them in an earlier run" in call("scan", guard, data, "--out", tmp_path / "out.parquet").out
    own = call("scan", guard, data, "--out", tmp_path / "own.parquet", "--threshold", 0.2)
    assert "none for a threshold of your own" in own.out


@pytest.mark.parametrize("kind", ["folder", "npz", "demo"])
def test_scan_needs_no_torch(guard: Path, data: Path, tmp_path: Path, kind: str) -> None:
    """The whole command runs where torch, scikit-learn, ART and pandas cannot be imported, and imports none of them."""
    if kind == "npz":
        data = tmp_path / "x.npz"
        np.savez(data, x=images(COUNT))
    source: object = "demo" if kind == "demo" else data
    command = [sys.executable, "-c", LIGHT, "scan", guard, source, "--out", tmp_path / "out.parquet", "--json"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (
        json.loads(done.stdout)["errors"] == {"folder": 1, "npz": 0, "demo": 2000}[kind]
    )  # the demo's images are 28 by 28


def test_interrupted_scan_says_how_to_go_on(
    guard: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C names what is kept, and leaves with the code of an interrupt; the same command finishes."""
    monkeypatch.setattr("ce_detect.scan.checkpoints.ROWS", 8)
    from ce_detect.scan.checkpoints import Checkpoints

    write, calls = Checkpoints.write, iter([None, None])

    def interrupted(self: Checkpoints, part: int, content: bytes) -> None:
        if next(calls, "stop") == "stop":
            raise KeyboardInterrupt
        write(self, part, content)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "write", interrupted)
        done = call("scan", guard, data, "--out", tmp_path / "out.parquet")
    assert done.code == 130
    assert "16 verdicts are kept in" in done.err
    assert call("scan", guard, data, "--out", tmp_path / "out.parquet", "--json").data["resumed"] == 16


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nothing.onnx", "demo", "--out", "out.parquet"), "no exported gate at nothing.onnx"),
        (("{guard}", "nowhere", "--out", "{folder}/out.parquet"), "'nowhere' is nothing that can be scanned"),
        (("{guard}", "demo", "--out", "{folder}/none/out.parquet"), "cannot write"),
        (("{guard}", "demo", "--out", "{guard}"), "another scan"),
        (("{guard}", "demo"), "Missing option '--out'"),
        (
            ("{guard}", "demo", "--out", "{folder}/o.parquet", "--provider", "Abacus"),
            "'Abacus' is not in",
        ),
        (("{guard}", "demo", "--out", "{folder}/o.parquet", "--threads", "0"), "--threads"),
    ],
)
def test_bad_input_is_refused(guard: Path, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    """What cannot work is told in one line before the work."""
    done = call("scan", *(argument.format(guard=guard, folder=tmp_path) for argument in arguments))
    assert done.code == 2
    assert message in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(("module", "package"), [("onnxruntime", "runtime"), ("pyarrow", "scan")])
def test_absent_packages_name_the_extra(guard: Path, tmp_path: Path, module: str, package: str) -> None:
    """Without what the extra brings, the error names it."""
    done = call_without((module,), "scan", guard, "demo", "--out", tmp_path / "out.parquet")
    assert done.code == 2
    assert f"pip install 'ce-detect[{package}]'" in done.err


def test_config_file_stands_in_for_flags(guard: Path, data: Path, tmp_path: Path) -> None:
    """The flags of a scan may come from a file."""
    (tmp_path / "scan.toml").write_text(f'out = "{tmp_path}/out.parquet"\nthreshold = 0.1\njson = true\n')
    found: Any = call("scan", guard, data, "--config", tmp_path / "scan.toml").data
    assert found["adversarial"] == COUNT - 1
