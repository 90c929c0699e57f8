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


NEAR = 15.0
"""Points by which a percentage may differ: what a budget affords is measured, so machines may choose otherwise."""

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
    for block in code_blocks.blocks(page):
        if block.language == "python":
            for node in ast.walk(ast.parse(block.code)):
                if isinstance(node, ast.ImportFrom) and str(node.module).startswith("ce_detect"):
                    module = importlib.import_module(str(node.module))
                    assert [name.name for name in node.names if not hasattr(module, name.name)] == []


@pytest.mark.parametrize("page", [ROOT / name for name in QUICK], ids=_id)
def test_quick_pages_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every block, in order, in one namespace."""
    monkeypatch.chdir(tmp_path)
    calibrated.guard().save("guard.safetensors")
    code_blocks.run(page, code_blocks.names(calibrated.guard()))


@pytest.mark.slow
@pytest.mark.parametrize("page", OTHERS, ids=_id)
def test_all_other_pages_run(page: Path, furnished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for pages that calibrate, attack or draw, each with files of its own."""
    folder = tmp_path / "page"
    shutil.copytree(furnished, folder)
    monkeypatch.chdir(folder)
    with code_blocks.quick_recipes(tmp_path / "recipes"):
        code_blocks.run(page, code_blocks.names(DetectedModel.load("guard.safetensors", fashion_cnn())))


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_pages_print_what_they_show(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the recipe that they name: percentages as they are shown behind ``prints:``, nearly."""
    page = ROOT / name
    monkeypatch.chdir(tmp_path)
    printed = "".join(code_blocks.run(page, {}))
    shown = [re.findall(r"[\d.]+", line) for line in re.findall(r"^# prints: (.*)$", page.read_text(), re.MULTILINE)]
    found = [re.findall(r"[\d.]+", line) for line in printed.splitlines()]
    assert len(shown) > 0
    for one, other in zip(shown, found, strict=True):
        assert [float(number) for number in other] == pytest.approx([float(number) for number in one], abs=NEAR)
