"""Write ``examples/tour.ipynb``: from a model to a gate to a flagged JPEG with its map, in ten cells.

The notebook is made here, so that it can be read and checked as any other code; outputs are not kept::

    python examples/make_tour.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

NOTEBOOK = Path(__file__).parent / "tour.ipynb"

CELLS: tuple[tuple[str, str], ...] = (
    (
        "markdown",
        """# From a model to a flagged JPEG

A gate stands in front of an image classifier and flags inputs that look attacked. This tour makes one in about a
minute on a laptop. It needs `pip install 'ce-detect[calibrate,report,explain]'`.""",
    ),
    (
        "code",
        """import ce_detect
from ce_detect import Attack, CalibrationSettings, DetectedModel, Recipe
from ce_detect.demo.model import fashion_cnn_light

model = fashion_cnn_light()  # any torch module in eval mode that returns logits, preprocessing inside
images = ce_detect.load_data("demo")  # clothes that it was not trained on; yours: load_data("folder/")
calibration, fresh = images.subset(slice(800)), images.subset(slice(1200, 1260))
print(len(calibration), "images to calibrate with,", len(fresh), "to try the gate on")""",
    ),
    (
        "markdown",
        """## Calibrate

A recipe says which attacks to learn from. This one is small: one attack, two interventions, and no limit on what they
cost. For your model take `recipe="default"` and a `budget`: a search then chooses the interventions.""",
    ),
    (
        "code",
        """recipe = Recipe.parse("tour", {
    "attack": [{"kind": "pgd", "eps": "8/255", "eps_step": "2/255", "max_iter": 10}],
    "intervention": [{"kind": "Flip"}, {"kind": "Shift", "dx": 1, "dy": 0}],
})
settings = CalibrationSettings.of(recipe=recipe, fpr=0.05, budget=float("inf"))
guard = DetectedModel(model).calibrate(calibration, settings=settings)
print(f"threshold {guard.threshold:.2f}; flags at most {settings.fpr:.0%} of clean images, with 95 % confidence")""",
    ),
    (
        "code",
        """result = guard(fresh.x)
print(f"{result.is_adversarial.sum()} of {len(fresh)} clean images are flagged: false alarms")
print("the first p-values:", result.p_value[:5].round(2))""",
    ),
    (
        "markdown",
        """## Attack images and save them as JPEG

The attack is one that the gate did not learn from. It changes no pixel by more than 16 of 255 grey levels.""",
    ),
    (
        "code",
        """from pathlib import Path

import numpy as np
from PIL import Image

from ce_detect.attacks.generation import attack_all

attack = Attack.of("apgd-ce", eps="16/255", max_iter=20)
attacked = attack_all(guard.classifier, fresh.x, (attack,), seed=0)[attack.name].x
fooled = np.flatnonzero(guard(attacked).label != result.label)
Path("attacked").mkdir(exist_ok=True)
for number in fooled:
    levels = np.round(attacked[number, 0] * 255).astype(np.uint8)
    Image.fromarray(levels).save(f"attacked/{number:02}.jpg", quality=90)
print(f"{len(fooled)} of {len(fresh)} attacks fool the model; they are JPEG files in attacked/ now")""",
    ),
    (
        "code",
        """files = sorted(Path("attacked").glob("*.jpg"))
arrived = np.stack([np.asarray(Image.open(file), np.float32)[None] / 255 for file in files])
verdicts = guard(arrived)
flagged = np.flatnonzero(verdicts.is_adversarial)
first = flagged[0]
print(f"{len(flagged)} of {len(files)} attacked JPEG files are flagged; the first is {files[first]}")
print("the model says class", verdicts.label[first], "and the image shows class", fresh.y[fooled[first]])
print(f"p-value {verdicts.p_value[first]:.3f}")""",
    ),
    (
        "markdown",
        """## Why?

The map shows where hiding the picture moves the model's decision. The words say which intervention carried the
score.""",
    ),
    (
        "code",
        """from IPython.display import HTML, display

from ce_detect.reporting import pictures

why = guard.explain(arrived[[first]])
print("\\n".join(part.words for part in why.carried[0][:3]))
picture, shown = pictures.plain(arrived[first]), pictures.with_map(arrived[first], why.maps.target[0].numpy())
display(HTML(f'<img src="{picture}"> <img src="{shown}">'))""",
    ),
)
"""Kind and source of each."""


def notebook() -> dict[str, Any]:
    """The notebook as data (nbformat 4.5)."""
    cells = []
    for place, (kind, source) in enumerate(CELLS):
        cell: dict[str, Any] = {"cell_type": kind, "id": f"cell-{place}", "metadata": {}}
        if kind == "code":
            cell |= {"execution_count": None, "outputs": []}
        cells.append({**cell, "source": source.splitlines(keepends=True)})
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def text() -> str:
    """The file."""
    return json.dumps(notebook(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    NOTEBOOK.write_text(text(), encoding="utf-8")
