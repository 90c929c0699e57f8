"""Our detectors beside methods from the literature: same images, same attacks, same false-positive rate.

    CE_DETECT_DATA=... python -m benchmarks.detection.detection --suite full     # leaves our detectors and the attacks
    CE_DETECT_DATA=... python -m benchmarks.peers.compare                        # subjects and methods that are missing
    CE_DETECT_DATA=... python -m benchmarks.peers.compare --only fashion --peers rlt lid --again

What is there already is not done again, so the program can be run piece by piece. Writes, for each subject and method,
``results/compare/<subject>/<method>.json``, and then ``results/compare.json``, ``results/compare.md`` and
``results/compare.png``. Scores are kept in the cache, so that slow methods, which judge fewer images, are held against
our scores on these very images.
"""

from __future__ import annotations

import copy
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.face import ALL, MILD, Mapped, Table, auroc, cache_folder, ratios, rows
from benchmarks.machine import environment
from benchmarks.peers import standings
from benchmarks.peers.arena import Arena, arena
from benchmarks.peers.judged import Judged
from benchmarks.peers.methods import PEERS
from benchmarks.peers.ours import Ours, clean_only, ours
from benchmarks.peers.picture import picture
from benchmarks.peers.protocol import Peer, forward
from benchmarks.program import parser, progress, quiet, write
from benchmarks.subjects.settings import BUDGETS, SEED
from benchmarks.subjects.subjects import SUBJECTS

RESULTS = Path(__file__).parent / "results"
FOLDER = RESULTS / "compare"
SECONDS = 10.0
"""Time for measuring the cost of one method, about."""

TIMED = 1_250_000
"""Pixel values at most in the batch on which the classifier alone is timed: 32 small images, 8 large ones."""


def main() -> None:
    program = parser(__doc__)
    program.add_argument("--only", choices=tuple(SUBJECTS), nargs="+", default=list(SUBJECTS), help="subjects")
    program.add_argument("--peers", choices=(*PEERS, "ours"), nargs="+", default=["ours", *PEERS], help="methods")
    program.add_argument("--again", action="store_true", help="also what is there already")
    options = program.parse_args()
    quiet()
    for name in options.only:
        compare(name, options.peers, again=options.again)
    merge()


def compare(name: str, wanted: list[str], *, again: bool) -> None:
    """Judge a subject with every method that is wanted and missing."""
    subject = SUBJECTS[name]
    gates = ours(subject)
    if len(gates) < len(BUDGETS):
        print(
            f"{name}: {len(BUDGETS) - len(gates)} of our detectors are missing; run detection.py --only {name}",
            file=sys.stderr,
        )
    mine = [*gates, *clean_only(subject)] if "ours" in wanted else []
    methods: list[Peer] = [*mine, *(PEERS[key]() for key in wanted if key != "ours")]
    missing = [method for method in methods if again or not path(name, method.name).exists()]
    if not missing:
        return
    ground = arena(subject, progress)
    for gate in mine or gates:
        gate.fit(ground.classifier, ground.taught, {})
    for method in missing:
        outcome = judged(ground, method, gates)
        write(path(name, method.name), outcome)
        print(
            name,
            method.name,
            outcome.get("summary", outcome.get("left_out")),
            f"{outcome.get('seconds', 0):.0f} s",
            flush=True,
        )


def path(subject: str, peer: str) -> Path:
    """Where the outcome of one method on one subject is written."""
    return FOLDER / subject / f"{peer}.json"


def kept(subject: str, peer: str) -> Path:
    """Where its scores are kept."""
    return cache_folder() / "compare" / subject / f"{peer}.safetensors"


def judged(ground: Arena, peer: Peer, gates: list[Ours]) -> dict[str, Any]:
    """Everything measured of one method on one subject."""
    described = {
        "subject": ground.subject.name, "subject_title": ground.subject.title, "peer": peer.name, "title": peer.title,
        "source": peer.source, "settings": dict(peer.settings), "supervised": peer.supervised,
        "forwards": peer.forwards,
    }  # fmt: skip
    limits = ground.limits(peer)
    if limits is None:
        return {
            **described,
            "left_out": f"{peer.forwards:g} forward passes of a large image take too long",
        }
    start = time.perf_counter()
    some = ground.limited(limits)
    if not isinstance(peer, Ours):
        peer.fit(some.classifier, some.taught, some.teachers)
    scores, matrix = scored(some, peer, limits.corrupted)
    scores.write(kept(ground.subject.name, peer.name))
    cost = costs(some, peer, gates)
    return {
        **described,
        "settings": dict(peer.settings),
        "environment": environment(),
        "n": {
            "taught": len(some.taught), "calibrate": len(scores.calibrate), "clean": len(scores.clean),
            "corrupted": limits.corrupted, **{key: len(value) for key, value in scores.attacked.items()},
        },
        "cost": cost[peer.name],
        "cost_measured_beside": cost,
        "seconds": round(time.perf_counter() - start, 1),
        "published": standings.reproduced(peer, scores, ground.subject.name),
        **standings.figures(scores, ground.seen),
        "matrix": matrix,
    }  # fmt: skip


def scored(some: Arena, peer: Peer, corrupted: int | None) -> tuple[Judged, dict[str, dict[str, float]]]:
    """Scores of everything, and the train x test matrix of a method that learns from attacks."""
    clean = peer.features_of(some.judged.pixels)
    attacked = {name: peer.features_of(twins.pixels) for name, twins in some.attempts.items()}
    decisions = forward(some.classifier, some.judged.pixels).argmax(1)
    success = some.successes(some.attempts, decisions)
    changed = rows(some.judged.pixels, slice(corrupted))
    scores = Judged(
        peer.judge(peer.features_of(some.calibrate)),
        peer.judge(clean),
        {name: peer.judge(values) for name, values in attacked.items()},
        success,
        {name: twins.index for name, twins in some.attempts.items()},
        np.ones(len(clean), bool) if some.judged.y is None else decisions == some.judged.y,
        {
            corruption.name: peer.judge(peer.features_of(Mapped(changed, change)))
            for corruption in MILD
            for change in [partial(corruption, bounds=some.classifier.bounds, seed=SEED + 1)]
        },
    )
    hits = {name: values[success[name]] for name, values in attacked.items() if success[name].any()}
    return scores, matrix(peer, clean, hits) if peer.supervised else {}


def matrix(peer: Peer, clean: Any, hits: dict[str, Any]) -> dict[str, dict[str, float]]:
    """AUROC of every attack by what was learned: all attacks, or one alone."""

    def row(learned: Peer) -> dict[str, float]:
        plain = learned.judge(clean)
        return {name: round(auroc(plain, learned.judge(values)), 4) for name, values in hits.items()}

    found = {ALL: row(peer)}
    for name, values in peer.taught.attacked.items():
        other = copy.copy(peer)
        other.learn(Table(peer.taught.clean, {name: values}))
        found[name] = row(other)
    return found


def costs(some: Arena, peer: Peer, gates: list[Ours]) -> dict[str, float]:
    """Time of a method, and of our gates in the same rounds, over that of the model alone, for as many images."""
    x = torch.from_numpy(np.asarray(some.judged.pixels[: min(32, TIMED // some.judged.pixels[0].size)]))
    methods: list[Peer] = [peer, *(gate for gate in gates if gate is not peer)]
    functions: list[Callable[[], Any]] = [partial(method.score, x[: method.timed]) for method in methods]

    def bare() -> None:
        with torch.inference_mode():
            some.guard.model(x)

    found = ratios(bare, functions, rounds=15, warm_up=1, seconds=SECONDS)
    return {
        method.name: round(ratio * len(x) / min(method.timed, len(x)) + (not method.asks_classifier), 3)
        for method, ratio in zip(methods, found, strict=True)
    }


def merge() -> None:
    """Put together what is there."""
    everything = [json.loads(file.read_text()) for file in sorted(FOLDER.glob("*/*.json"))]
    outcomes = [outcome for outcome in everything if "summary" in outcome]
    parts = ["Our detectors beside methods from the literature; see `compare.py`. Written by it."]
    for name in [name for name in SUBJECTS if any(outcome["subject"] == name for outcome in outcomes)]:
        mine = [outcome for outcome in outcomes if outcome["subject"] == name]
        for outcome in mine:
            if not outcome["peer"].startswith(("ours", "clean-only")):
                outcome["against_ours"] = standings.better(outcome, beside(name, outcome, mine))
        parts += [f"\n## {SUBJECTS[name].title}\n", standings.table(mine)]
        parts += ["", *(line(outcome["title"], row) for outcome in mine for row in outcome["published"])]
        left = [outcome for outcome in everything if outcome["subject"] == name and "left_out" in outcome]
        parts += [f"- {outcome['title']}: left out, {outcome['left_out']}" for outcome in left]
    (RESULTS / "compare.md").write_text("\n".join(parts) + "\n")
    write(RESULTS / "compare.json", [_short(outcome) for outcome in outcomes])
    if outcomes:
        picture(outcomes, RESULTS / "compare.png")
    print("\n".join(parts))


def line(title: str, row: dict[str, Any]) -> str:
    """A published figure beside ours."""
    both = f"published {row['published']}, measured {row['measured']}"
    return f"- {title}: {row['figure']} ({row['source']}): {both}; {row['differs']}"


def beside(subject: str, outcome: dict[str, Any], mine: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Our figures on the images that a peer was given: the first ones.

    Costs are those measured beside it, or those of the gate's own run where the peer's scores are not kept here.
    """
    here = kept(subject, outcome["peer"]).exists()
    measured, found = outcome["cost_measured_beside"] if here else {}, {}
    for other in mine:
        gate = other["peer"]
        if gate.startswith("ours") and kept(subject, gate).exists():
            same = Judged.read(kept(subject, gate)).first(outcome["n"])
            areas = {name: auroc(same.clean, hits) for name, hits in same.successes().items()}
            found[gate] = {
                "cost": measured.get(gate, other["cost"]),
                "summary": {"auroc_all": float(np.mean(list(areas.values()))), "auroc_worst": min(areas.values())},
                "attacks": areas,
            }
    return found


def _short(outcome: dict[str, Any]) -> dict[str, Any]:
    keys = ("subject", "peer", "cost", "summary", "clean", "published", "against_ours")
    return {key: outcome[key] for key in keys if key in outcome}


if __name__ == "__main__":
    main()
