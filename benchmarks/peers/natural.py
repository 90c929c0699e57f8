"""The best peers on natural change, controls and saved attacks, with thresholds from the mixture that ours come from.

    CE_DETECT_DATA=... python -m benchmarks.peers.natural                        # CIFAR-10, ResNet-20, budget 2.0
    CE_DETECT_DATA=... python -m benchmarks.peers.natural --peers shap beyond

Each threshold is the larger of two, from plain images and from a mixture of plain and naturally changed ones, as in a
calibration. Peers are fitted as their papers say: on plain images, and those that learn from attacks on plain attacks.
Slow ones judge fewer images, as their rows say. Writes ``results/natural.json``.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.detection.measures import mean
from benchmarks.face import MILD, Floats, Mapped, Shuffled, auroc, mixture, rows, share_above
from benchmarks.machine import environment
from benchmarks.natural.treatments import TREATMENTS
from benchmarks.peers import standings
from benchmarks.peers.arena import Arena, arena
from benchmarks.peers.methods import PEERS
from benchmarks.peers.ours import Ours
from benchmarks.peers.protocol import Peer, forward
from benchmarks.program import parser, progress, quiet, read, write
from benchmarks.subjects.settings import SEED
from benchmarks.subjects.subjects import SUBJECTS
from ce_detect import Recipe

RESULT = Path(__file__).parent / "results" / "natural.json"
SUBJECT = "cifar10-resnet20"
BUDGET = 2.0
BEST = ("beyond", "ml-loo", "shap", "feature-squeezing", "rlt", "art-binary-input")
"""The six with the largest mean AUROC on this subject in ``compare.py``."""

ATTACKS = ("pgd 8/255", "pgd 2/255", "cw-l2")
SAVED = ("JPEG 85", "JPEG 75", "shrink 7/8", "median 3")
MOST_FORWARDS = 4_000
"""Forward passes spent on each kind of change: slow methods judge fewer images."""

MOST = 200


def main() -> None:
    program = parser(__doc__)
    program.add_argument("--peers", choices=tuple(PEERS), nargs="*", default=list(BEST))
    asked = program.parse_args()
    quiet()
    ground = arena(SUBJECTS[SUBJECT], progress)
    found = read(RESULT)["rows"] if RESULT.exists() else {}
    for peer in [Ours(ground.subject, BUDGET), *(PEERS[name]() for name in asked.peers)]:
        found[peer.name] = measured(ground, peer)
        print(peer.name, {key: found[peer.name][key] for key in ("natural", "controls", "treated")}, flush=True)
        write(RESULT, {"subject": SUBJECT, "budget": BUDGET, "environment": environment(), "rows": found})


def measured(ground: Arena, peer: Peer) -> dict[str, Any]:
    """One method."""
    limits = ground.limits(peer)
    assert limits is not None, "every method can be run on small images"
    some = ground.limited(limits)
    peer.fit(some.classifier, some.taught, {} if isinstance(peer, Ours) else some.teachers)
    count = max(3, min(MOST, int(MOST_FORWARDS / peer.forwards)))
    bounds, recipe = some.classifier.bounds, Recipe.load(ground.subject.recipe)
    mixed = partial(mixture, corruptions=recipe.corruptions, share=recipe.corrupted, bounds=bounds, seed=SEED)
    levels = [standings.threshold(scores(peer, x)) for x in (some.calibrate, Mapped(some.calibrate, mixed))]
    level = max((one for one in levels if one is not None), default=None)
    clean = scores(peer, some.judged.pixels)
    x = rows(some.judged.pixels, slice(count))
    kinds = {c.name: scores(peer, Mapped(x, partial(c, bounds=bounds, seed=SEED + 1))) for c in MILD}
    return {
        "title": peer.title,
        "n": {"clean": len(clean), "natural": len(x)},
        "clean": _flagged(clean, level),
        "natural": {half: _half(kinds, level, learned) for half, learned in (("learned", True), ("held_out", False))},
        **_attacks(some, peer, count, clean, level),
    }


def scores(peer: Peer, x: Any) -> Floats:
    """Scores of many images."""
    return peer.judge(peer.features_of(x))


def _half(kinds: dict[str, Floats], level: float | None, learned: bool) -> dict[str, Any] | None:
    if level is None:
        return None
    names = {corruption.name for corruption in MILD if corruption.taught == learned}
    shares = [share_above(values, level) for name, values in kinds.items() if name in names]
    return {
        "mean": mean(shares),
        "worst": round(max(shares), 4),
        "kinds_above_10": sum(share > 0.1 for share in shares),
    }


def _attacks(some: Arena, peer: Peer, count: int, clean: Floats, level: float | None) -> dict[str, Any]:
    """Attacks against their shuffled controls, and after they were saved or scaled."""
    decisions = forward(some.classifier, some.judged.pixels).argmax(1)
    controls, treated = {}, {}
    treatments = [treatment for treatment in TREATMENTS if treatment.name in SAVED]
    alike = {treatment.name: scores(peer, treatment(some.judged.x[:count])) for treatment in treatments}
    for name in ATTACKS:
        twins = some.attempts[name].subset(slice(count))
        plain = rows(some.judged.pixels, twins.index)
        fresh = scores(peer, twins.pixels)[forward(some.classifier, twins.pixels).argmax(1) != decisions[twins.index]]
        shuffled = scores(peer, Shuffled(twins.pixels, plain, some.classifier.bounds, SEED))
        controls[name] = {"auroc": round(auroc(shuffled, fresh), 4), "flagged": _flagged(shuffled, level)}
        for treatment in treatments:
            changed = treatment(twins.x)
            fools = forward(some.classifier, changed).argmax(1) != decisions[twins.index]
            if fools.any():
                area = auroc(alike[treatment.name], scores(peer, changed[fools]))
                treated[f"{name}, {treatment.name}"] = round(area, 4)
    return {
        "controls": {
            "auroc": mean(row["auroc"] for row in controls.values()),
            "flagged": None if level is None else mean(row["flagged"] for row in controls.values()),
        },
        "treated": {"auroc": mean(treated.values()), "worst": min(treated.values())},
        "controls_by_attack": controls,
        "treated_by_cell": treated,
    }


def _flagged(values: Floats, level: float | None) -> float | None:
    return None if level is None else round(share_above(values, level), 4)


if __name__ == "__main__":
    main()
