"""Adaptive attacks on gates and on differentiable peers: the joint-evasion radius ratio and what raises it.

    CE_DETECT_DATA=... python -m benchmarks.adaptive.adaptive                  # CIFAR-10, ResNet-20: every row
    CE_DETECT_DATA=... python -m benchmarks.adaptive.adaptive --only hardened-3 rlt --images 64

Every row is attacked on the same images by the same attacks with the same steps, at one false-positive rate, and the
radii of the classifier alone are found once for all. Rows that are in the result already, made with the same settings,
are not done again. Where a step takes several gates (``secret-seed``, ``ensemble``) only the first images are attacked,
as ``images`` in the row says; compare them with the same images of other rows. Writes
``results/adaptive-<subject>.json`` (``-from-N`` with ``--skip N``) and, for our own gates, the AUROC of ordinary
attacks on the test split: what hardening costs there.

Gates come from where ``detection.py`` and ``cascade.py`` left them; what is not there is calibrated here, but for the
cascade.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.adaptive.bench import Bench
from benchmarks.adaptive.rows import ROWS
from benchmarks.machine import environment
from benchmarks.program import parser, quiet, write
from benchmarks.subjects.settings import FPR
from benchmarks.subjects.subjects import SUBJECTS

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    program = parser(__doc__)
    program.add_argument("--subject", choices=tuple(SUBJECTS), default="cifar10-resnet20")
    program.add_argument("--only", nargs="+", choices=tuple(ROWS), default=list(ROWS))
    program.add_argument("--images", type=int, default=24)
    program.add_argument("--steps", type=int, default=40)
    program.add_argument("--skip", type=int, default=0, help="images to leave out before those that are attacked")
    options = program.parse_args()
    quiet()
    bench = Bench(SUBJECTS[options.subject], options.images, options.steps, options.skip)
    path = RESULTS / f"adaptive-{options.subject}{f'-from-{options.skip}' if options.skip else ''}.json"
    plan = {name: value for name, value in asdict(bench.plan).items() if name != "within"}  # see `under_attack.py`
    settings = {"images": options.images, "plan": plan, "fpr": FPR, "subject": options.subject}
    found = json.loads(path.read_text()) if path.is_file() else {}
    if found.get("settings") != settings:
        found = {"what": __doc__.partition("\n")[0], "environment": environment(), "settings": settings, "rows": {}}
    for name in options.only:
        if name not in found["rows"]:
            start = time.perf_counter()
            row = ROWS[name](bench)
            found["rows"][name] = {**row, "seconds": round(time.perf_counter() - start, 1)}
            write(path, found)
        show(name, found["rows"][name])


def show(name: str, row: dict[str, Any]) -> None:
    """Print a row."""
    ratio, more = row["ratio"], " or more" if row["ratio_is_bound"] else ""
    print(
        f"{name:14} ratio {ratio['value']:.2f} ({ratio['low']:.2f}-{ratio['high']:.2f}){more}, "
        f"median {255 * row['radius_joint']['value']:.2f}/255, AUROC {row.get('mean_auroc', '-')}, "
        f"evaded within {row['evaded_within']}"
    )


if __name__ == "__main__":
    main()
