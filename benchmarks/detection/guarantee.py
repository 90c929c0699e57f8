"""The pac promise, tested: thresholds from many draws of clean images, judged on the others.

    CE_DETECT_DATA=... python -m benchmarks.detection.guarantee

Calibrates as ``detection.py`` does, at budget 2.0, then draws 50 times which of the 2,460 clean images that no head was
fitted on set the threshold. The realised rate on the rest scatters about the true rate that the promise is about, the
less the more images are left; so there are two sizes. Writes ``results/guarantee.json``.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.detection.measures import resplits
from benchmarks.machine import environment
from benchmarks.program import parser, progress, write
from benchmarks.subjects.settings import FPR
from benchmarks.subjects.subjects import SUBJECTS

RESULT = Path(__file__).parent / "results" / "guarantee.json"
SIZES = (500, 840)
"""Images that set the threshold."""


def main() -> None:
    parser(__doc__).parse_args()
    subject = SUBJECTS["cifar10-resnet20"]
    first, fresh = subject.split()
    guard = subject.guard(first.pixels.shape[1:]).calibrate(first, fpr=FPR, budget=2.0, progress=progress)
    rows = [resplits(guard, first, fresh, fpr, size) for size in SIZES for fpr in (0.05, 0.01)]
    write(RESULT, {"environment": environment(), "resplits": rows})
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
