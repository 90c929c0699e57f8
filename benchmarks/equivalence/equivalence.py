"""Does a change of the code leave verdicts as they were? The same gates, judged by the code before and by this one.

    git worktree add ../before COMMIT
    python benchmarks/equivalence/equivalence.py write ../before OUT --networks benchmarks/networks.py
    python benchmarks/equivalence/equivalence.py check . OUT

``write`` calibrates gates on three models with the code of another checkout, and keeps artifacts, exported graphs, and
the scores of 500 images, clean and changed. ``check`` reads the same artifacts and graphs with this code and compares.
It also calibrates once more from recipes that name their interventions, where no measured time decides anything.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

TOLERANCE = 1e-6
"""Largest difference of a score, relative to the largest score or 1."""

COUNT = 500
"""Images that are judged on each model."""

FIELDS = ("logits", "label", "score", "p_value", "probability", "is_adversarial")

FIXED = {
    "description": "Named interventions, so that no measured time decides.",
    "head": "mlp",
    "attack": [
        {"kind": "fgsm", "eps": "8/255"},
        {"kind": "pgd", "eps": "4/255", "eps_step": "1/255", "max_iter": 10},
    ],
    "intervention": [
        {"kind": "Flip", "scale": 1.0},
        {"kind": "Shift", "dx": 1, "dy": 0},
        {"kind": "GaussianNoise", "sigma": 0.05, "draws": 2, "side": 32},
        {"kind": "BitDepth", "bits": 4},
    ],
}

GATES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("fashion", "fixed", {"budget": math.inf}),
    ("fashion", "search", {"recipe": "quick", "budget": 3.0}),
    ("fashion", "clean-only", {"recipe": "clean-only", "budget": 3.0}),
    ("pneumonia", "fixed", {"budget": math.inf}),
    ("pneumonia", "search", {"recipe": "quick", "budget": 2.0}),
    ("resnet20", "fixed", {"budget": math.inf}),
    ("resnet20", "search", {"recipe": "quick", "budget": 2.0}),
    ("resnet20", "cascade", {"recipe": "quick", "budget": 1.5, "cascade": True}),
    ("fashion", "hardened", {"recipe": "quick", "budget": 6.0, "harden": 1}),
)
"""Model, name of the gate, and how it is calibrated."""


def main() -> None:
    arguments = _arguments()
    sys.path.insert(0, str(arguments.tree.resolve()))
    import ce_detect

    print(f"code: {Path(ce_detect.__file__).parent}")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    if arguments.command == "write":
        _write(arguments.folder, arguments.tree / arguments.networks)
    else:
        sys.exit(0 if _check(arguments.folder, arguments.tree / arguments.networks) else 1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["write", "check"])
    parser.add_argument("tree", type=Path, help="checkout whose code runs")
    parser.add_argument("folder", type=Path, help="where artifacts and scores are")
    parser.add_argument(
        "--networks", default="benchmarks/subjects/networks.py", help="the models' file in that checkout"
    )
    return parser.parse_args()


def _subject(name: str, networks: Path) -> tuple[Any, Any]:
    """A model and its images."""
    from ce_detect import load_data, load_model

    data = Path(os.environ["CE_DETECT_DATA"])
    if name == "fashion":
        return load_model("demo"), load_data("demo", limit=1500)
    if name == "pneumonia":
        return load_model(f"{networks}:pneumonia_cnn"), load_data(
            data / "pneumoniamnist.npz", split="train", limit=1500
        )
    return load_model(f"{networks}:cifar10_resnet20"), load_data(data / "cifar10.npz", split="test", limit=1500)


def _judged_images(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """The last images, every other one under noise of one sign a pixel."""
    x = x[-COUNT:].copy()
    signs = np.random.default_rng(0).choice([-1.0, 1.0], x.shape)
    x[::2] = np.clip(x[::2] + 8 / 255 * signs[::2], 0, 1)
    return x.astype(np.float32)


def _calibrated(name: str, gate: str, settings: dict[str, Any], networks: Path, folder: Path) -> Any:
    from ce_detect import DetectedModel, Recipe

    model, images = _subject(name, networks)
    given = {"recipe": Recipe.parse("fixed", FIXED), **settings}
    guard = DetectedModel(model, bounds=(0.0, 1.0))
    guard.calibrate(images.x[:1000], images.y[:1000], fpr=0.05, cache=folder / "cache", **given)
    return guard, images


def _write(folder: Path, networks: Path) -> None:
    for name, gate, settings in GATES:
        place = folder / f"{name}-{gate}"
        if place.with_suffix(".npz").exists():
            continue
        began = time.perf_counter()
        guard, images = _calibrated(name, gate, settings, networks, folder)
        guard.save(place.with_suffix(".safetensors"))
        guard.export(place.with_suffix(".onnx"))
        place.with_suffix(".json").write_text(json.dumps(guard.manifest))
        x = _judged_images(images.x)
        result, beside = guard(x), guard.clean_only(x)
        np.savez(
            place.with_suffix(".npz"), **{field: getattr(result, field) for field in FIELDS}, clean_only=beside.score
        )
        print(f"{place.name}: written in {time.perf_counter() - began:.0f} s", flush=True)


def _check(folder: Path, networks: Path) -> bool:
    from ce_detect import DetectedModel
    from ce_detect.runtime import Gate

    worst = True
    for name, gate, settings in GATES:
        place = folder / f"{name}-{gate}"
        before = dict(np.load(place.with_suffix(".npz")))
        model, images = _subject(name, networks)
        x = _judged_images(images.x)
        loaded = DetectedModel.load(place.with_suffix(".safetensors"), model)
        worst &= _same(f"{place.name}, artifact", before, loaded(x), loaded.clean_only(x).score)
        graph = Gate(place.with_suffix(".onnx"))(x)
        worst &= _same(f"{place.name}, graph", before, graph, None, tolerance=1e-4)
        if gate == "fixed":
            guard, _ = _calibrated(name, gate, settings, networks, folder)
            worst &= _same(f"{place.name}, calibrated again", before, guard(x), guard.clean_only(x).score)
    return worst


def _same(what: str, before: dict[str, Any], now: Any, clean_only: Any, *, tolerance: float = TOLERANCE) -> bool:
    scale = max(1.0, float(np.abs(before["score"]).max()))
    off = {
        field: float(np.nanmax(np.abs(before[field].astype(float) - getattr(now, field)), initial=0))
        for field in FIELDS[:-1]
    }
    off["score"] /= scale
    if clean_only is not None:
        off["clean_only"] = float(np.abs(before["clean_only"] - clean_only).max() / np.abs(before["clean_only"]).max())
    flips = int((before["is_adversarial"] != now.is_adversarial).sum())
    good = flips == 0 and off["label"] == 0 and off["score"] <= tolerance and off.get("clean_only", 0.0) <= tolerance
    listed = ", ".join(f"{field} {value:.1e}" for field, value in off.items())
    print(f"{'same' if good else 'DIFFERS'}: {what}: {flips} flips of {len(now.score)}, {listed}", flush=True)
    return good


if __name__ == "__main__":
    main()
