"""Hold every method of explanation against games, class distortion, marked pixels and randomised parameters.

    CE_DETECT_DATA=... python -m benchmarks.explain.explain --only pneumonia --images 60
    CE_DETECT_DATA=... python -m benchmarks.explain.explain --only pneumonia --images 0 --sane 12

Each image is explained for the classifier's own decision, and patches of cracks for the label "crack". Time is that of
a processor, so that other programs beside this one count little. Intervals are of the mean over images, by bootstrap.
Writes ``results/explain-<subject>.json`` after each few images, and goes on there when it is run again with more.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import bootstrap
from torch import Tensor

from benchmarks.explain.subjects import EXPLAINED, Explained
from benchmarks.face import (
    METHODS,
    Classifier,
    Method,
    class_distortion,
    deletion,
    insertion,
    overlap,
    pointing,
    sanity_check,
)
from benchmarks.machine import environment
from benchmarks.program import parser, progress, quiet, read, write

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    program = parser(__doc__)
    program.add_argument("--only", nargs="+", choices=EXPLAINED, default=list(EXPLAINED))
    program.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    program.add_argument("--images", type=int, default=20, help="explained with each method")
    program.add_argument("--sane", type=int, default=0, help="images that are explained with random layers, too")
    options = program.parse_args()
    quiet()
    torch.set_num_threads(1)
    for name in options.only:
        explained = EXPLAINED[name]
        x, truth = explained.images()
        classifier = explained.classifier(x.shape[1:])
        for method in options.methods:
            made = METHODS[method](**explained.settings.get(method, {}))
            path = RESULTS / f"explain-{name}.json"
            _games(path, made, classifier, torch.from_numpy(x), truth, min(options.images, len(x)), explained)
            if options.sane:
                some = torch.from_numpy(x[: options.sane])
                _sanity(path, made, classifier, some, explained.labels(classifier, some))


def _games(
    path: Path, method: Method, classifier: Classifier, x: Tensor, truth: Any, count: int, explained: Explained
) -> None:
    """Judge the maps of images that were not judged yet."""
    for start in range(0, count, explained.together):
        found = _read(path)
        row = found["methods"].setdefault(method.name, {"settings": explained.settings.get(method.name, {})})
        rows = slice(max(start, len(row.get("deletion", []))), min(count, start + explained.together))
        if rows.start >= rows.stop:
            continue
        marks = None if truth is None else torch.from_numpy(truth[rows])
        labels = explained.labels(classifier, x[rows])
        for name, values in _judged(method, classifier, x[rows], labels, marks).items():
            row[name] = [*row.get(name, []), *(round(float(value), 5) for value in values)]
        row["summary"] = {name: summary(values) for name, values in row.items() if isinstance(values, list)}
        write(path, found)
        progress(f"{path.stem} {method.name}", rows.stop, count)


def _judged(method: Method, classifier: Classifier, x: Tensor, labels: Tensor, truth: Tensor | None) -> dict[str, Any]:
    """Figures of some images, each ``(batch,)``."""
    begun = time.process_time()
    maps = method.maps(classifier, x, labels)
    seconds = time.process_time() - begun
    distortion = class_distortion(classifier, x, labels, maps)
    judged = {
        "deletion": deletion(classifier, x, labels, maps),
        "insertion": insertion(classifier, x, labels, maps),
        "class_distortion": distortion.log_odds,
        "class_distortion_ratio": distortion.ratio,
        "seconds": [seconds / len(x)] * len(x),
    }
    if truth is not None:
        judged |= {"overlap": overlap(maps, truth), "pointing": pointing(maps, truth)}
    return judged


def _sanity(path: Path, method: Method, classifier: Classifier, x: Tensor, labels: Tensor) -> None:
    """Compare maps with those of a classifier whose layers are random, from the last one on."""
    found = _read(path)
    row = found["methods"][method.name]
    if len(row.get("sanity", {}).get("stages", [{}])[0].get("rank_correlation", [])) >= len(x):
        return
    stages = [
        {
            "layers": round(stage.layers, 3),
            "rank_correlation": [round(float(value), 4) for value in stage.rank_correlation],
            "ssim": [round(float(value), 4) for value in stage.ssim],
        }
        for stage in sanity_check(method, classifier, x, labels)
    ]
    every = stages[-1]
    row["sanity"] = {"stages": stages, **{name: summary(every[name]) for name in ("rank_correlation", "ssim")}}
    write(path, found)
    progress(f"{path.stem} {method.name}: sanity", 1, 1)


def _read(path: Path) -> dict[str, Any]:
    return read(path) if path.exists() else {"environment": environment(), "methods": {}}


def summary(values: list[float]) -> dict[str, Any]:
    """Mean, and its interval of 95 % by bootstrap over the images."""
    mean = float(np.mean(values))
    if len(set(values)) == 1:
        return {"mean": round(mean, 4), "interval": [round(mean, 4)] * 2, "images": len(values)}
    ends = bootstrap((values,), np.mean, method="percentile", n_resamples=2000, rng=0).confidence_interval
    return {"mean": round(mean, 4), "interval": [round(float(end), 4) for end in ends], "images": len(values)}


if __name__ == "__main__":
    main()
