"""Peak memory of a calibration with n and with 4n images: it grows with the matrix of signatures alone.

    python -m benchmarks.cost.memory --data train.npz

Each calibration runs in a fresh process. The images are read from a file, attacked with FGSM chunk by chunk, and
judged; what grows with their number are the signatures from which the detector is learned, and a copy to learn from.
Linux only. Any set of 28 by 28 grey images with 10 classes will do. The figures in ``results/memory.json`` are those of
Fashion-MNIST's training images: ``--data`` also takes the folder with its ``idx*.gz`` files.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import peak_memory
from benchmarks.program import parser, quiet, write
from benchmarks.subjects.images import idx_split

RESULT = Path(__file__).parent / "results" / "memory.json"
SIZES = (12_500, 50_000)  # both more than `ce_detect.data.spool.IN_MEMORY`
RECIPE: dict[str, Any] = {
    "splits": {"fit": 0.4, "select": 0.15, "calibrate": 0.3, "test": 0.15},
    "attack": [{"kind": "fgsm"}],
    "intervention": [
        {"kind": "Flip"}, {"kind": "Shift", "dx": 1, "dy": 0}, {"kind": "Blur", "site": "stage2.8", "sigma": 0.7},
    ],
}  # fmt: skip
COPIES = 3
"""What the growth is held against, in matrices of the signatures of *fit* and *select*: they themselves, a stack of
them to learn from, and less than one more for the signatures of *calibrate* and a few numbers an image."""


def main() -> None:
    program = parser(__doc__)
    program.add_argument("--data", type=Path, required=True)
    program.add_argument("--sizes", type=int, nargs=2, default=list(SIZES))
    program.add_argument("--head", default="mlp")
    program.add_argument("--images", type=int, help="calibrate with so many in this process")
    options = program.parse_args()
    if options.images:
        print(json.dumps(calibrate(options.data, options.images, options.head)))
        return
    with tempfile.TemporaryDirectory() as folder:
        data = in_one_file(options.data, Path(folder))
        rows = [run(data, count, options.head, folder) for count in options.sizes]
    few, many = rows
    grown = many["peak_bytes"] - few["peak_bytes"]
    matrix = many["matrix_bytes"] - few["matrix_bytes"]
    outcome = {
        "what": "peak resident memory of DetectedModel.calibrate, FashionCNN on 28 x 28 grey images, FGSM",
        "runs": rows,
        "growth_bytes": grown,
        "matrix_growth_bytes": matrix,
        "growth_over_matrix_growth": round(grown / matrix, 2),
        "images_as_float32_growth_bytes": 4 * 784 * (many["images"] - few["images"]),
        "bound_over_matrix_growth": COPIES,
        "within": grown <= COPIES * matrix,
    }
    write(RESULT, outcome)
    print(json.dumps(outcome, indent=1))


def in_one_file(data: Path, folder: Path) -> Path:
    """The images as one ``.npz``, written to a folder where they are not."""
    if data.is_file():
        return data
    x, y = idx_split(data, "train")
    np.savez(folder / "train.npz", x=x, y=y.astype(np.int64))
    return folder / "train.npz"


def run(data: Path, count: int, head: str, folder: str) -> dict[str, Any]:
    """Calibrate in a fresh process, with an empty cache."""
    command = [sys.executable, "-m", "benchmarks.cost.memory", "--data", str(data)]
    command += ["--images", str(count), "--head", head]
    with tempfile.TemporaryDirectory(dir=folder) as cache:
        done = subprocess.run(
            command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, "CE_DETECT_CACHE": cache}
        )
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(row, flush=True)
    return row


def calibrate(data: Path, count: int, head: str) -> dict[str, Any]:
    """Calibrate and report the peak of this process, with what it was before and the size of the matrix."""
    import torch

    from benchmarks.face import feature_tables
    from ce_detect import DetectedModel, Recipe, load_data, load_model

    quiet()
    torch.set_num_threads(1)
    sizes: list[int] = []
    table = feature_tables.table

    def noted(*arguments: Any) -> feature_tables.Table:
        made = table(*arguments)
        sizes.append(made.clean.nbytes + sum(part.nbytes for part in made.attacked.values()))
        return made

    feature_tables.table = noted
    model, start = load_model("demo"), time.perf_counter()
    imported = peak_memory()
    images = load_data(str(data), limit=count)
    recipe = Recipe.parse("memory", {**RECIPE, "head": head})
    guard = DetectedModel(model).calibrate(images, recipe=recipe, fpr=0.05, budget=math.inf, jobs=1)
    return {
        "images": count,
        "features": guard.manifest["signature"]["features"],
        "matrix_bytes": sum(sorted(sizes)[-2:]),
        "peak_bytes": peak_memory(),
        "peak_before_bytes": imported,
        "seconds": round(time.perf_counter() - start, 1),
    }


if __name__ == "__main__":
    main()
