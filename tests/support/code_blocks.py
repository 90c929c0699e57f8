"""Code blocks of the documentation, and a folder with everything that their commands name.

The folder holds a classifier, images and a calibrated gate, all from the demo. Recipes that ship with ce-detect are
replaced by ones of a second, so that a page is run for its code and not for its figures.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from PIL import Image
from safetensors.torch import save_file

from ce_detect.calibrate import recipe
from ce_detect.data import load_data
from ce_detect.demo.model import fashion_cnn
from ce_detect.guard.detected_model import DetectedModel
from support import keys, onnx_files, prose
from support.command_line import Called, call

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1``` *$", re.DOTALL | re.MULTILINE)
_FILE = re.compile(r"`?(\w+\.toml)`?")

LEFT_OUT = {"serve", "console"}
"""Commands whose flags alone are looked at: they would not end."""

CALIBRATION, FRESH = 700, 100
"""Images of the demo that calibrate, and that are fresh."""

HEAD = '[splits]\nfit = 0.4\nselect = 0.15\ncalibrate = 0.45\ntest = 0.0\n[[intervention]]\nkind = "Flip"\n'
LEARNS = f'head = "logistic"\n{HEAD}[[attack]]\nkind = "fgsm"\n'
RECIPES = {
    "default": LEARNS, "quick": LEARNS, "large": LEARNS, "black-box": LEARNS, "clean-only": f'head = "distance"\n{HEAD}'
}  # fmt: skip

MODELS = """
from ce_detect.demo.model import FashionCNN


def resnet():
    return FashionCNN().eval()
"""

PROCESSOR = {"input_size": (1, 28, 28), "interpolation": "bilinear", "mean": (0.0,), "std": (1.0,), "crop_pct": 0.875}
"""As timm says how a model's images are prepared."""

CAMERA = """
def fog(image, generator):
    return (image * 0.9 + 20).astype(image.dtype)
"""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        language: behind the fence.
        code: between the fences.
        before: what the page says above it.
    """

    language: str
    code: str
    before: str

    @property
    def commands(self) -> list[list[str]]:
        """Arguments of each line of ``ce-detect``, without comments."""
        lines = self.code.replace("\\\n", " ").splitlines() if self.language == "sh" else []
        return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("ce-detect ")]

    @property
    def file(self) -> str | None:
        """Name that the page gives to a block of TOML."""
        named = _FILE.findall(self.before)
        return named[-1] if self.language == "toml" and named else None


def blocks(page: Path) -> list[Block]:
    """Every block of a page, in its order."""
    text = page.read_text()
    return [Block(found[2], found[3], text[: found.start()]) for found in _BLOCK.finditer(text)]


def pages() -> list[Path]:
    """Pages with blocks that can be run."""
    return [page for page in prose.pages(ROOT) if any(b.language == "python" or b.commands for b in blocks(page))]


def furnish(folder: Path) -> None:
    """Put everything there that pages name, but what is calibrated."""
    images = load_data("demo", limit=CALIBRATION + FRESH)
    x, y = np.asarray(images.x), np.asarray(images.y)
    np.savez(folder / "images.npz", x=x[:CALIBRATION], y=y[:CALIBRATION])
    np.savez(folder / "fresh.npz", x=x[CALIBRATION:], y=y[CALIBRATION:])
    np.savez(folder / "train.npz", x=x[:FRESH])
    (folder / "my_models.py").write_text(MODELS)
    (folder / "camera.py").write_text(CAMERA)
    keys.pair(folder, "signing")
    save_file(fashion_cnn().state_dict(), folder / "resnet.safetensors")
    pictures = np.rint(load_data("demo").x[:, 0] * 255).astype(np.uint8)
    for name, first, count, size in (("images", CALIBRATION + FRESH, 150, 28), ("photos", 0, 300, 40)):
        (folder / name).mkdir()
        for number, pixels in enumerate(pictures[first : first + count]):
            Image.fromarray(pixels).resize((size, size)).save(folder / name / f"{number}.png")
    Image.fromarray(pictures[0]).save(folder / "image.png")
    onnx.save(onnx_files.exported(fashion_cnn(), torch.zeros(2, 1, 28, 28)), folder / "classifier.onnx")


@contextlib.contextmanager
def quick_recipes(folder: Path) -> Iterator[None]:
    """Let the names of recipes stand for ones of a second."""
    folder.mkdir()
    for name, text in RECIPES.items():
        (folder / f"{name}.toml").write_text(text)
    before, recipe.recipe_folder = recipe.recipe_folder, lambda: folder
    try:
        yield
    finally:
        recipe.recipe_folder = before


def names(guard: DetectedModel) -> dict[str, Any]:
    """What Python blocks may use beside the page's own names."""
    images = load_data("demo", limit=CALIBRATION + FRESH)
    x, y, fresh = images.x[:CALIBRATION], images.y[:CALIBRATION], images.x[CALIBRATION:]
    return {
        "model": fashion_cnn(), "guard": guard, "torch": torch, "x_clean": x, "y": y, "x": fresh[:4], "x_fresh": fresh,
        "y_fresh": images.y[CALIBRATION:], "ask_somebody": lambda flagged: flagged[:, 0, 0, 0],
        "photo_model": fashion_cnn(), "processor": PROCESSOR,
    }  # fmt: skip


def run(page: Path, known: dict[str, Any]) -> list[str]:
    """Run every block of a page in the present folder, in one namespace; return what Python printed.

    Where nothing is known, the page brings all that its Python needs, and its commands are left out.
    """
    printed, commands = [], bool(known)
    for block in blocks(page):
        if block.file:
            Path(block.file).write_text(block.code)
        if block.language == "python":
            if re.search(r"^def ", block.code, re.MULTILINE):
                Path("mine.py").write_text(block.code)
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(compile(block.code, str(page), "exec"), known)
            printed.append(out.getvalue())
        for arguments in block.commands if commands else []:
            if arguments[0] not in LEFT_OUT:
                done: Called = call(*arguments)
                assert done.code == 0, f"ce-detect {shlex.join(arguments)}\n{done.err}"
    return printed
