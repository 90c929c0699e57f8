"""The rows of `adaptive.py`: gates of two budgets, hardened ones, random ones, an ensemble, and peers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.adaptive.attackable import PEERS, Scored, ensemble
from benchmarks.adaptive.bench import BUDGET, HARDENED, LARGE, Bench, Specs
from benchmarks.face import Expectation, Gated, Images, RedTeam
from benchmarks.subjects.settings import CASCADED, FPR
from ce_detect import DetectedModel

Row = Callable[[Bench], dict[str, Any]]
"""From what the rows share to the figures of one."""

FEW = 16
"""Images that the rows attack in which a step takes several gates, at most."""

LONGER = 4
"""Times the steps in the row that shows whether longer attacks come to more."""

SECRET = 982_451_653
"""Seed of the random interventions that the attacker does not know."""

RANDOM: Specs = (
    {"kind": "GaussianNoise", "sigma": 0.05, "draws": 2, "seed": SECRET},
    {"kind": "RandomMask", "draws": 2, "seed": SECRET + 1},
    {"kind": "Flip"},
)
"""A signature that draws, with a secret seed."""

DISJOINT: tuple[Specs, ...] = (
    ({"kind": "Flip"}, {"kind": "Downscale", "scale": 0.75}),
    ({"kind": "Shift", "dx": 1, "dy": 1}, {"kind": "Blur", "sigma": 0.8}),
    ({"kind": "BitDepth", "bits": 3}, {"kind": "Rotate", "degrees": -10}),
)
"""Interventions of the members of an ensemble."""


def gated(guard: DetectedModel, bench: Bench, **more: Any) -> dict[str, Any]:
    """A row of one of our gates, with what it does on ordinary attacks of the test split."""
    report = bench.attacked(more.pop("target", None) or Gated(guard.gate), **more)
    test = guard.manifest["figures"]["test"]
    return {
        **summary(report),
        "interventions": guard.manifest["signature"]["names"],
        "cost": guard.manifest["figures"]["cost"],
        "hardening": guard.manifest["figures"].get("hardening", []),
        "auroc": {name: round(attack["auroc_successes"], 4) for name, attack in test["attacks"].items()},
        "mean_auroc": round(float(np.mean([a["auroc_successes"] for a in test["attacks"].values()])), 4),
        "false_positive_rate": round(test["clean"]["false_positive_rate"], 4),
    }


def summary(report: RedTeam) -> dict[str, Any]:
    """The figures of a row."""
    plain = report.to_dict()
    kept = ("images", "flagged_clean", "radius_alone", "radius_joint", "ratio", "ratio_is_bound", "by_attack", "checks")
    at = [0.5, 1, 2, 4, 8]
    share = {
        f"{e:g}/255": round(sum(r is not None and r * 255 <= e for r in report.radii_joint) / report.images, 3)
        for e in at
    }
    return {**{key: plain[key] for key in kept}, "evaded_within": share, "radii_joint": plain["radii_joint"]}


def unhardened(bench: Bench) -> dict[str, Any]:
    """An ordinary gate."""
    return gated(bench.calibrated(BUDGET), bench, check=True)


def staged(bench: Bench) -> dict[str, Any]:
    """The gate that ``cascade.py`` left."""
    return gated(DetectedModel.load(bench.subject.artifact(CASCADED, cascade=True), bench.subject.model()), bench)


def large(bench: Bench) -> dict[str, Any]:
    """An ordinary gate of a larger budget."""
    return gated(bench.calibrated(LARGE), bench)


def hardened(rounds: int, budget: float = HARDENED, *, check: bool = False) -> Row:
    """A gate hardened in so many rounds."""
    return lambda bench: gated(bench.calibrated(budget, rounds), bench, check=check)


def longer(bench: Bench) -> dict[str, Any]:
    """The same hardened gate under longer attacks."""
    return gated(bench.calibrated(LARGE, 1), bench, most=FEW, longer=LONGER)


def known_seed(bench: Bench) -> dict[str, Any]:
    """A gate that draws, attacked by one who knows the seed."""
    return gated(bench.calibrated(np.inf, 0, _sized(bench)), bench)


def secret_seed(bench: Bench) -> dict[str, Any]:
    """The same gate, attacked by one who averages over seeds of his own."""
    guard = bench.calibrated(np.inf, 0, _sized(bench))
    return gated(guard, bench, target=Expectation(guard.gate), truth=Gated(guard.gate), most=FEW)


def _sized(bench: Bench) -> Specs:
    """`RANDOM` for images of this size."""
    channels, height, width = bench.x.shape[1:]
    noise = {**RANDOM[0], "channels": channels, "side": max(height, width)}
    return (noise, *RANDOM[1:])


def disjoint(bench: Bench) -> dict[str, Any]:
    """An ensemble whose members share no intervention."""
    gates = [bench.calibrated(np.inf, 0, interventions).gate for interventions in DISJOINT]
    clean = bench.data().clean("calibrate")
    report = bench.attacked(Scored(bench.guard.classifier, ensemble(gates), clean, FPR), most=FEW)
    return {**summary(report), "interventions": [[i["kind"] for i in member] for member in DISJOINT]}


def peer(name: str) -> Row:
    """A method from the literature, taught on *fit*."""

    def row(bench: Bench) -> dict[str, Any]:
        found = bench.data()
        images = found.images.subset(found.parts["fit"])
        score = PEERS[name](bench.guard.classifier, Images(images.x, images.y), found.sets["fit"].attacked)
        return summary(bench.attacked(Scored(bench.guard.classifier, score, found.clean("calibrate"), FPR)))

    return row


ROWS: dict[str, Row] = {
    "unhardened": unhardened,
    "larger": large,
    "cascade": staged,
    "smaller-1": hardened(1, BUDGET),
    "hardened-1": hardened(1),
    "hardened-3": hardened(3, check=True),
    "larger-1": hardened(1, LARGE, check=True),
    "larger-1-longer": longer,
    "larger-3": hardened(3, LARGE),
    "known-seed": known_seed,
    "secret-seed": secret_seed,
    "ensemble": disjoint,
    **{name: peer(name) for name in PEERS},
}
"""Every row by name: gates of two budgets, hardened in rounds, random with and without a secret, an ensemble, peers."""
