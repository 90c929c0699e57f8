"""Masks of cracks against marked pixels: counterfactuals beside maps, and a supervised U-Net as the upper bound.

    CE_DETECT_DATA=... python -m benchmarks.counterfactual.masks --images 60

Patches of CrackForest as in `benchmarks.explain.cracks`, split by photograph. The pair, and the classifier that is
explained, learn from labels of patches alone; the U-Net learns from marked pixels. Every method gets one threshold, the
best one for marked pixels of patches of the training photographs. IoU and F1 are over all pixels of the test patches at
that threshold, with intervals of 95 % by bootstrap over patches; average precision needs none. Maps of integrated
gradients are signed: their size counts. Writes ``results/masks-cracks.json`` after each method.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from benchmarks.counterfactual.subjects import SUBJECTS, pair
from benchmarks.explain.cracks import Patches, crack_cnn, patches
from benchmarks.face import METHODS, kplusone_networks, wrap
from benchmarks.machine import environment
from benchmarks.program import parser, progress, quiet, read, write

RESULT = Path(__file__).parent / "results" / "masks-cracks.json"

MAPS = ("grad-cam", "effect-map", "robust-perturbation", "integrated-gradients")
"""Methods of explanation beside it."""

STEPS, BATCH = 300, 16
"""Of the supervised U-Net."""

RESAMPLED = 1000

Make = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def main() -> None:
    program = parser(__doc__)
    program.add_argument("--images", type=int, default=60, help="test patches with a crack")
    program.add_argument("--seed", type=int, default=0)
    program.add_argument("--methods", nargs="+", choices=("counterfactual", "supervised", *MAPS))
    program.add_argument("--steps", type=int, help="of the pair's training; by default as many as elsewhere here, 400")
    options = program.parse_args()
    quiet()
    torch.set_num_threads(1)
    first, other = patches(test=False), patches(test=True)
    held, test = (_cracked(part, options.images) for part in (first, other))
    longer = "" if options.steps is None else f"{options.steps} steps, "
    methods: dict[str, Callable[[], Make]] = {
        f"counterfactual, {longer}seed {options.seed}": lambda: _counterfactual(options.seed, options.steps),
        "supervised U-Net": lambda: _supervised(first),
        **{name: _explained(name) for name in MAPS},
    }
    for name, prepared in methods.items():
        found = read(RESULT) if RESULT.exists() else {"environment": environment(), "methods": {}}
        if options.methods and not name.startswith(tuple(options.methods)):
            continue
        if found["methods"].get(name, {}).get("images") == len(test.y):
            continue
        make = prepared()
        found["methods"][name] = judged(make(held.x), held.truth, make(test.x), test.truth)
        write(RESULT, found)
        print(name, found["methods"][name], flush=True)


def _cracked(part: Patches, count: int) -> Patches:
    """The first patches that have a crack."""
    rows = np.flatnonzero(part.y == 1)[:count]
    return Patches(part.x[rows], part.y[rows], part.truth[rows])


def _counterfactual(seed: int, steps: int | None) -> Make:
    """What the pair would change to show the road without a crack."""
    made = pair(SUBJECTS["cracks"], seed=seed, steps=steps)
    return lambda x: made.generate(x, 0).mask


def _explained(name: str) -> Callable[[], Make]:
    """Maps for the label "crack"."""

    def prepared() -> Make:
        classifier = wrap(crack_cnn(), input_shape=(1, 32, 32), bounds=(0.0, 1.0))
        method = METHODS[name]()

        def make(x: NDArray[np.float32]) -> NDArray[np.float32]:
            parts = [method.maps(classifier, part, torch.ones(len(part), dtype=torch.int64))
                     for part in torch.from_numpy(x).split(20)]  # fmt: skip
            maps = torch.cat(parts).detach().numpy()
            return np.abs(maps) if name == "integrated-gradients" else maps

        return make

    return prepared


def _supervised(images: Patches) -> Make:
    """A U-Net of the generator's size that learns from marked pixels."""
    torch.manual_seed(0)
    settings = SUBJECTS["cracks"].settings
    size = {"width": int(settings["width"]), "depth": int(settings["depth"])}
    network = kplusone_networks.Generator(1, 2, bounds=(0.0, 1.0), **size)
    x, truth = torch.from_numpy(images.x), torch.from_numpy(images.truth).float()
    cracked = [torch.nonzero(torch.from_numpy(images.y) == label)[:, 0] for label in (0, 1)]
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)

    def logits(part: Tensor) -> Tensor:
        zeros = torch.zeros(len(part), dtype=torch.int64)
        return network.mask(network.hidden(part, zeros))[:, 0]

    for step in range(STEPS):
        rows = torch.cat([of[torch.randint(len(of), (BATCH // 2,))] for of in cracked])
        turned = torch.rand(()) < 0.5
        part, wanted = (one[rows].flip(-1) if turned else one[rows] for one in (x, truth))
        loss = binary_cross_entropy_with_logits(logits(part), wanted, pos_weight=torch.tensor(4.0))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        progress("training a U-Net on marked pixels", step + 1, STEPS)

    @torch.no_grad()
    def make(images: NDArray[np.float32]) -> NDArray[np.float32]:
        return torch.cat([logits(part).sigmoid() for part in torch.from_numpy(images).split(64)]).numpy()

    return make


def judged(
    held: NDArray[np.float32], held_truth: NDArray[np.bool_], maps: NDArray[np.float32], truth: NDArray[np.bool_]
) -> dict[str, Any]:
    """Figures of maps ``(n, height, width)`` at the threshold that is best for held ones."""
    candidates = np.unique(np.quantile(held, np.linspace(0.3, 0.995, 120)))
    threshold = max(candidates, key=lambda level: _iou(_counts(held > level, held_truth).sum(0)))
    counts = _counts(maps > threshold, truth)
    rng = np.random.default_rng(0)
    drawn = [counts[rng.integers(len(counts), size=len(counts))].sum(0) for _ in range(RESAMPLED)]
    found: dict[str, Any] = {"images": len(maps), "threshold": float(threshold)}
    for name, figure in (("iou", _iou), ("f1", _f1)):
        ends = np.quantile([figure(some) for some in drawn], (0.025, 0.975))
        found[name] = {"value": round(figure(counts.sum(0)), 4), "interval": [round(float(end), 4) for end in ends]}
    found["average_precision"] = round(float(average_precision_score(truth.ravel(), maps.ravel())), 4)
    return found


def _counts(chosen: NDArray[np.bool_], truth: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Pixels of each patch ``(n, 3)`` that are right, too many, and missed."""
    pairs = ((chosen, truth), (chosen, ~truth), (~chosen, truth))
    return np.stack([(one & other).sum((1, 2)) for one, other in pairs], axis=1)


def _iou(counts: NDArray[np.int64]) -> float:
    right, more, missed = counts
    return float(right / max(1, right + more + missed))


def _f1(counts: NDArray[np.int64]) -> float:
    right, more, missed = counts
    return float(2 * right / max(1, 2 * right + more + missed))


if __name__ == "__main__":
    main()
