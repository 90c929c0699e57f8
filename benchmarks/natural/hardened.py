"""Treated attacks, where the gate has a hardened copy of the classifier, and where it has not: budget 3.0.

    CE_DETECT_DATA=... python -m benchmarks.natural.hardened --attacked 100

Both gates are calibrated on the same images with the default recipe, and judge the same attacks, see
`benchmarks.natural.treated`. The copy is that of ``benchmarks.adaptive``: one round, on further training images of the
classifier. Writes ``results/hardened-cifar10-resnet20.json`` after each gate.
"""

from __future__ import annotations

from benchmarks.adaptive.bench import HARDENED, Bench
from benchmarks.machine import environment
from benchmarks.natural.gates import RESULTS, Judged, attacked_images
from benchmarks.natural.treated import measured
from benchmarks.program import parser, quiet, write
from benchmarks.subjects.settings import SEED
from benchmarks.subjects.subjects import SUBJECTS

SUBJECT = "cifar10-resnet20"

GATES = {f"budget {HARDENED:g}": 0, f"budget {HARDENED:g}, hardened": 1}
"""Rounds of hardening by what the table calls a gate."""


def main() -> None:
    program = parser(__doc__)
    program.add_argument("--attacked", type=int, default=100, help="attacked images of each attack, at most")
    asked = program.parse_args()
    quiet()
    subject = SUBJECTS[SUBJECT]
    first, fresh = subject.split()
    bench = Bench(subject, 1, 1)
    fresh, attacked = attacked_images(subject, bench.guard, fresh, clean=len(fresh), attacked=asked.attacked)
    rows = []
    for name, rounds in GATES.items():
        guard = bench.calibrated(HARDENED, rounds)
        rows.append({"gate": name, **measured(Judged(subject, SEED, guard, first, fresh, attacked))})
        print(name, rows[-1]["summary"], flush=True)
        what = "treated attacks that still fool, with a hardened copy and without; 5 % asked"
        described = {"what": what, "subject": SUBJECT, "budget": HARDENED, "environment": environment(), "rows": rows}
        write(RESULTS / f"hardened-{SUBJECT}.json", described)


if __name__ == "__main__":
    main()
