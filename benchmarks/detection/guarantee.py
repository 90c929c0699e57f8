"""The pac promise, tested: thresholds from many draws of clean images, judged on the others.

    CE_DETECT_DATA=... python benchmarks/guarantee.py

Calibrates as ``detection.py`` does, at budget 2.0, then draws 50 times which of the 2,460 clean images that no head was
fitted on set the threshold. The realised rate on the rest scatters about the true rate that the promise is about, the
less the more images are left; so there are two sizes. Writes ``results/guarantee.json``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from detection import FPR, RESULTS, environment, progress, resplits
from subjects import SUBJECTS

SIZES = (500, 840)


def main() -> None:
    subject = SUBJECTS["cifar10-resnet20"]
    first, fresh = subject.split()
    guard = subject.guard(first.pixels.shape[1:]).calibrate(first, fpr=FPR, budget=2.0, progress=progress)
    rows = [resplits(guard, first, fresh, fpr, size) for size in SIZES for fpr in (0.05, 0.01)]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "guarantee.json").write_text(
        json.dumps({"environment": environment(), "resplits": rows}, indent=1) + "\n"
    )
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
