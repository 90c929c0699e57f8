"""Draw the figure of ``docs/results.md``: effect maps beside Grad-CAM, before and after an attack that keeps the label.

    CE_DETECT_DATA=... python -m benchmarks.explain.picture

The first chest X-rays of PneumoniaMNIST that the classifier was not trained on, not chosen ones. What `ce-detect
explain --method grad-cam --attack 4/255` shows of each, in one picture.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib
import torch

matplotlib.use("Agg")
from matplotlib import pyplot
from torch import Tensor

from benchmarks.explain.subjects import EXPLAINED
from benchmarks.explain.table import TITLES
from benchmarks.face import METHODS, rank_correlation, weakened
from benchmarks.program import parser, quiet

PICTURE = Path(__file__).parent / "results" / "attacked.png"

COMPARED = ("effect-map", "grad-cam")

IMAGES, LEVEL = 3, 4
"""How many are shown, and the largest change of a pixel, in grey levels of 255."""


def main() -> None:
    parser(__doc__).parse_args()
    quiet()
    torch.set_num_threads(1)
    explained = EXPLAINED["pneumonia"]
    pixels, _ = explained.images()
    x = torch.from_numpy(pixels[:IMAGES])
    classifier = explained.classifier(x.shape[1:])
    labels = explained.labels(classifier, x)
    moved = weakened(classifier, x, LEVEL / 255)
    assert torch.equal(explained.labels(classifier, moved), labels)
    made = {name: [METHODS[name]().maps(classifier, pictures, labels) for pictures in (x, moved)] for name in COMPARED}
    picture(x, moved, made)


def picture(x: Tensor, moved: Tensor, made: dict[str, list[Tensor]]) -> None:
    """One row an image: itself and its maps, and after a gap the same after the attack."""
    columns = 2 * (1 + len(made)) + 1
    gap = columns // 2
    widths = [0.12 if column == gap else 1 for column in range(columns)]
    size = (8, 1.45 * len(x) + 0.3)
    figure, axes = pyplot.subplots(len(x), columns, figsize=size, width_ratios=widths, layout="constrained")
    alike = {name: rank_correlation(*maps) for name, maps in made.items()}
    for row in range(len(x)):
        for after, pictures in enumerate((x, moved)):
            first = after * (gap + 1)
            axes[row, first].imshow(pictures[row, 0], cmap="gray", vmin=0, vmax=1)
            for place, (name, maps) in enumerate(made.items()):
                drawn = axes[row, first + 1 + place]
                drawn.imshow(pictures[row, 0], cmap="gray", vmin=0, vmax=1)
                drawn.imshow(maps[after][row], cmap="cividis", alpha=0.65)
                if after:
                    drawn.set_xlabel(f"correlation {float(alike[name][row]):.2f}", fontsize=8)
    for first, title in ((0, "X-ray"), (gap + 1, f"after {LEVEL}/255")):
        for place, words in enumerate((title, *(TITLES[name] for name in made))):
            axes[0, first + place].set_title(words, fontsize=9)
    for drawn in axes.flat:
        drawn.set(xticks=[], yticks=[])
        drawn.spines[:].set_visible(False)
    figure.savefig(PICTURE, dpi=100, metadata={"Software": None})
    pyplot.close(figure)


if __name__ == "__main__":
    main()
