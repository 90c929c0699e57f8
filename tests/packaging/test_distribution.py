"""The wheel in an environment where nothing else is."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
from support.command_line import RECIPE

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    os.environ.get("CE_DETECT_OPT_IN") != "1", reason="set CE_DETECT_OPT_IN=1 to install from the package index"
)


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheel and source distribution, as ``make dist`` builds them."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "build", "--outdir", folder, ROOT], check=True, capture_output=True)
    return folder


def test_the_wheel_holds_what_the_package_needs(dist: Path) -> None:
    """Types, recipes, templates and assets; no tests."""
    (wheel,) = dist.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    needed = {
        "ce_detect/py.typed", "ce_detect/recipes/default.toml", "ce_detect/reporting/templates/base.html.j2",
        "ce_detect/demo/assets/fashion_cnn.safetensors", "ce_detect/demo/assets/fashion_attacks.npz",
    }  # fmt: skip
    assert needed <= names
    assert not [name for name in names if name.startswith(("tests", "benchmarks"))]
    assert wheel.stat().st_size < 6_000_000


def test_the_source_distribution_can_be_tested(dist: Path) -> None:
    """It has the tests, the Makefile and the constraints."""
    (source,) = dist.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"Makefile", "constraints.txt", "constraints-lowest.txt", "tests/conftest.py", "LICENSE"} <= names


@pytest.mark.parametrize(
    "versions",
    [
        "constraints.txt",
        pytest.param(
            "constraints-lowest.txt",
            marks=pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the lowest versions are of Python 3.11"),
        ),
    ],
)
def test_the_wheel_calibrates_and_scans_in_an_empty_environment(dist: Path, tmp_path: Path, versions: str) -> None:
    """From the index come torch and all else, newest versions or lowest; nothing of this checkout is on the path."""
    (wheel,) = dist.glob("*.whl")
    venv.create(tmp_path / "venv", with_pip=True)
    programs = tmp_path / "venv" / "bin"
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    clean |= {"CE_DETECT_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}

    def run(*command: object) -> str:
        texts = [str(part) for part in command]
        done = subprocess.run(texts, capture_output=True, text=True, check=False, cwd=tmp_path, env=clean)
        assert done.returncode == 0, done.stderr
        return done.stdout

    pip = (programs / "python", "-m", "pip", "install", "-q", "-c", ROOT / versions)
    run(*pip, "torch")
    run(*pip, f"{wheel}[calibrate,onnx,scan]")
    assert str(tmp_path) in run(programs / "python", "-c", "import ce_detect; print(ce_detect.__file__)")
    (tmp_path / "tiny.toml").write_text(RECIPE)
    small = ("--model", "demo", "--data", "demo", "--limit", 400)
    run(programs / "ce-detect", "calibrate", *small, "--recipe", "tiny.toml", "--fpr", 0.05, "--budget", 3)
    run(programs / "ce-detect", "export", "guard.safetensors", "--model", "demo", "--output", "guard.onnx")
    saved = "import ce_detect, numpy; numpy.save('x.npy', ce_detect.load_data('demo', limit=30).x)"
    run(programs / "python", "-c", saved)
    told = run(programs / "ce-detect", "scan", "guard.onnx", "x.npy", "--out", "out.parquet", "--json")
    assert '"inputs": 30' in told
