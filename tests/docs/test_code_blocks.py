"""Code blocks of the docs run: all are looked at here, some pages are run by default and the others as slow tests."""

from __future__ import annotations

import ast
import importlib
import re
import shutil
from pathlib import Path

import click
import pytest
from support import calibrated, code_blocks, command_line, reviews
from support.code_blocks import ROOT

from ce_detect.cli._group import program
from ce_detect.demo.model import fashion_cnn
from ce_detect.guard.detected_model import DetectedModel

PAGES = code_blocks.pages()
MODEL = ("--model", "my_models.py:resnet", "--weights", "resnet.safetensors")

QUICK = ("docs/explanations/promise.md", "docs/how-to/attack.md", "docs/reference/artifact.md")
"""Pages that need no more than a calibrated gate."""

REAL = ("README.md", "docs/start.md")
"""Pages that run with the recipe that they name, as they show what it prints."""


def _id(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


PROMISED = 5.0
"""Per cent of clean images that may be flagged, as the pages ask for."""

NEAR = 15.0
"""Points by which a share of attacks may differ: what a budget affords is measured, and machines differ."""

OTHERS = [page for page in PAGES if _id(page) not in (*QUICK, *REAL)]


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that pages name, and a calibrated and exported gate."""
    folder = tmp_path_factory.mktemp("docs")
    code_blocks.furnish(folder)
    with pytest.MonkeyPatch.context() as patch, code_blocks.quick_recipes(folder / "recipes"):
        patch.chdir(folder)
        patch.setenv("CE_DETECT_CACHE", str(folder / "cache"))
        given = ("--data", "images.npz", "--budget", "inf", "--fpr", "0.05")
        for command in (("calibrate", *MODEL, *given), ("export", "guard.safetensors", *MODEL, "--data", "images.npz")):
            done = command_line.call(*command)
            assert done.code == 0, done.err
        reviews.reviewed("sqlite:///flagged-reviews.db", folder / "guard.safetensors")
    return folder


@pytest.mark.parametrize("page", PAGES, ids=_id)
def test_commands_have_the_flags_that_they_name(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every line of ``ce-detect`` is one that the command line takes; a page may write a configuration first."""
    monkeypatch.chdir(tmp_path)
    Path("ce-detect.toml").write_text('model = "demo"\ndata = "demo"\n')
    for block in code_blocks.blocks(page):
        for name, *arguments in block.commands:
            command = program.get_command(click.Context(program), name)
            assert command is not None, name
            command.make_context(name, arguments).close()


@pytest.mark.parametrize("page", PAGES, ids=_id)
def test_python_can_be_read_and_its_names_imported(page: Path) -> None:
    """Every block of Python parses, and what it imports from ce_detect is there."""
    blocks = [ast.parse(block.code) for block in code_blocks.blocks(page) if block.language == "python"]
    nodes = [node for block in blocks for node in ast.walk(block) if isinstance(node, ast.ImportFrom)]
    named = [(str(node.module), name.name) for node in nodes for name in node.names]
    ours = [(module, name) for module, name in named if module.startswith("ce_detect")]
    assert [pair for pair in ours if not hasattr(importlib.import_module(pair[0]), pair[1])] == []


@pytest.mark.parametrize("page", [ROOT / name for name in QUICK], ids=_id)
def test_quick_pages_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every block, in order, in one namespace."""
    monkeypatch.chdir(tmp_path)
    calibrated.guard().save("guard.safetensors")
    assert len(code_blocks.run(page, code_blocks.names(calibrated.guard()))) > 0


@pytest.mark.slow
@pytest.mark.parametrize("page", OTHERS, ids=_id)
def test_all_other_pages_run(page: Path, furnished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for pages that calibrate, attack or draw, each with files of its own."""
    folder = tmp_path / "page"
    shutil.copytree(furnished, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("CE_DETECT_COUNTERFACTUAL_TRAIN_STEPS", "20")
    with code_blocks.quick_recipes(tmp_path / "recipes"):
        code_blocks.run(page, code_blocks.names(DetectedModel.load("guard.safetensors", fashion_cnn())))


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_pages_print_what_they_show(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the recipe that they name: words and counts as behind ``prints:``, clean images flagged as was promised."""
    page = ROOT / name
    monkeypatch.chdir(tmp_path)
    shown = re.findall(r"^# prints: ([\d.]+)(%.*)$", page.read_text(), re.MULTILINE)
    found = re.findall(r"^([\d.]+)(%.*)$", "".join(code_blocks.run(page, {})), re.MULTILINE)
    assert len(shown) > 0
    assert [words for _, words in found] == [words for _, words in shown]
    for (there, words), (here, _) in zip(shown, found, strict=True):
        if "clean" in words:
            assert max(float(there), float(here)) <= PROMISED
        else:
            assert float(here) == pytest.approx(float(there), abs=NEAR)
