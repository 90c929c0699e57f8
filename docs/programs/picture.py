"""Draw what happens to a clean image and to an attacked one: the picture of the README.

    python -m docs.programs.picture             # draws docs/pictures/what-happens.png from the figures that are kept
    python -m docs.programs.picture --measure   # measures those figures again first

One image of the demo and one intervention, mirroring. The gate of a calibration uses several, and more than their
effect on the decision.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.figure import Figure

FOLDER = Path(__file__).parents[1] / "pictures"
FIGURES, PICTURE = FOLDER / "what-happens.json", FOLDER / "what-happens.png"

IMAGES = 400
"""Of the demo: the first ones."""

SHOWN = 7
"""Which of them is drawn: one whose attack succeeds."""

DPI = 110

CLEAN, ATTACKED = "#4477aa", "#cc3311"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--measure", action="store_true", help="measure again what is drawn")
    if options.parse_args().measure:
        FOLDER.mkdir(exist_ok=True)
        FIGURES.write_text(json.dumps(measured()) + "\n")
    draw(json.loads(FIGURES.read_text())).savefig(PICTURE, dpi=DPI, metadata={"Software": None})


def measured(limit: int = IMAGES) -> dict[str, Any]:
    """Attack the demo's classifier, mirror each image, and note how far the decision falls."""
    import torch

    from benchmarks.face import run_attack, wrap
    from ce_detect import Attack, load_data, load_model

    images = load_data("demo", limit=limit)
    classifier = wrap(load_model("demo"), input_shape=images.x.shape[1:], bounds=(0.0, 1.0))
    clean = torch.as_tensor(np.asarray(images.x), dtype=torch.float32)
    attack = Attack.of("pgd", eps="8/255", eps_step="2/255", max_iter=10, num_random_init=0)
    attacked = torch.as_tensor(np.asarray(run_attack(attack, classifier, clean.numpy(), batch_size=128)))
    found = {name: _answers(classifier, x) for name, x in (("clean", clean), ("attacked", attacked))}
    fooled = found["attacked"]["label"] != found["clean"]["label"]
    rows = {}
    for name, x in (("clean", clean), ("attacked", attacked)):
        kept = fooled if name == "attacked" else np.ones(len(fooled), bool)
        rows[name] = {
            "image": np.rint(x[SHOWN, 0].numpy() * 255).astype(int).tolist(),
            "label": int(found[name]["label"][SHOWN]),
            "before": round(float(found[name]["before"][SHOWN]), 2),
            "after": round(float(found[name]["after"][SHOWN]), 2),
            "falls": np.round(found[name]["fall"][kept], 2).tolist(),
        }
    return rows


def _answers(classifier: Any, x: Any) -> dict[str, Any]:
    """Decision, its log-odds before and after mirroring, and how far they fall."""
    import torch

    from benchmarks.face import log_odds

    with torch.no_grad():
        logits, mirrored = classifier.logits(x), classifier.logits(x.flip(-1))
    label = logits.argmax(-1)
    before, after = (log_odds(z, label).numpy() for z in (logits, mirrored))
    return {"label": label.numpy(), "before": before, "after": after, "fall": before - after}


def draw(rows: dict[str, Any]) -> Figure:
    """Two rows of pictures and answers; below them how far the answers of all images fall."""
    from ce_detect.guard.demonstration import CLASSES

    figure = pyplot.figure(figsize=(9, 5.4), layout="constrained")
    grid = figure.add_gridspec(3, 4, height_ratios=[1, 1, 1.15], width_ratios=[1, 1.5, 1, 1.5])
    for place, (name, colour) in enumerate((("clean", CLEAN), ("attacked", ATTACKED))):
        row = rows[name]
        image, answer = np.array(row["image"]), CLASSES[row["label"]]
        _image(figure.add_subplot(grid[place, 0]), image, f"{name} image", colour)
        _bar(figure.add_subplot(grid[place, 1]), row["before"], f"answer: {answer}")
        _image(figure.add_subplot(grid[place, 2]), image[:, ::-1], "the same, mirrored", colour)
        fall = row["before"] - row["after"]
        told = f"falls by {fall:.1f}" if fall > 0 else f"rises by {-fall:.1f}"
        _bar(figure.add_subplot(grid[place, 3]), row["after"], f"support of “{answer}” {told}", row["before"])
    _histogram(figure.add_subplot(grid[2, :]), rows)
    return figure


def _image(axes: Any, image: Any, title: str, colour: str) -> None:
    axes.imshow(image, cmap="gray", vmin=0, vmax=255)
    axes.set_title(title, fontsize=9, color=colour)
    axes.set_xticks([])
    axes.set_yticks([])


def _bar(axes: Any, value: float, title: str, before: float | None = None) -> None:
    axes.barh([0], [value], height=0.5, color="#555555")
    if before is not None:
        axes.axvline(before, color="#aaaaaa", linestyle="--", linewidth=1)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set(xlim=(-6, 8), ylim=(-1, 1), yticks=[])
    axes.set_title(title, fontsize=9)
    axes.tick_params(labelsize=7)
    axes.set_xlabel("support, in log-odds", fontsize=7)


def _histogram(axes: Any, rows: dict[str, Any]) -> None:
    edges = np.linspace(-8, 12, 61)
    for name, colour in (("clean", CLEAN), ("attacked", ATTACKED)):
        falls = np.clip(rows[name]["falls"], edges[0], edges[-1])
        share = np.full(len(falls), 100 / len(falls))
        label = f"{len(falls)} {name} images"
        axes.hist(falls, edges, weights=share, color=colour, alpha=0.6, label=label)
    axes.set_xlabel("how far the support of the answer falls when the image is mirrored", fontsize=9)
    axes.set_ylabel("% of images", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.legend(fontsize=8, frameon=False)


if __name__ == "__main__":
    main()
