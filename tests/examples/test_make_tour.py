"""The notebook: it is what its program makes, and it runs."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def program() -> Any:
    """The program that makes it."""
    spec = importlib.util.spec_from_file_location("make_tour", EXAMPLES / "make_tour.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_notebook_is_what_its_program_makes() -> None:
    """Ten cells, without outputs, so that a change can be read."""
    made = program()
    assert (EXAMPLES / "tour.ipynb").read_text(encoding="utf-8") == made.text()
    assert len(made.CELLS) == 10
    for kind, source in made.CELLS:
        if kind == "code":
            compile(source, "cell", "exec")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning")
def test_the_notebook_runs_to_a_flagged_jpeg_with_its_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Jupyter runs it, in a kernel of its own."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(EXAMPLES.parent), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    read = nbformat.read(EXAMPLES / "tour.ipynb", as_version=4)
    nbformat.validate(read)
    done = nbclient.NotebookClient(read, timeout=900, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in done.cells if cell.cell_type == "code" for output in cell.outputs]
    said = "".join(output.get("text", "") for output in outputs)
    assert list((tmp_path / "attacked").glob("*.jpg"))
    assert "attacked JPEG files are flagged; the first is attacked/" in said
    assert "added" in said
    (page,) = [output["data"]["text/html"] for output in outputs if "data" in output]
    assert page.count("data:image/png;base64,") == 2
