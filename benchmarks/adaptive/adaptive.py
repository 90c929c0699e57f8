"""Adaptive attacks on gates and on differentiable peers: the joint-evasion radius ratio and what raises it.

    CE_DETECT_DATA=... python benchmarks/adaptive.py                  # CIFAR-10, ResNet-20: every row
    CE_DETECT_DATA=... python benchmarks/adaptive.py --only hardened-3 rlt --images 64

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

import argparse
import hashlib
import json
import logging
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
from attackable import PEERS, Scored, ensemble
from detection import RESULTS, environment, progress
from subjects import CASCADED, SEED, SUBJECTS, Subject

import ce_detect
from ce_detect import DetectedModel, Recipe
from ce_detect.artifacts.file import FORMAT
from ce_detect.artifacts.int8 import LARGEST
from ce_detect.calibrate import adversarial_rounds as hardening
from ce_detect.calibrate import dataset
from ce_detect.calibrate.settings import CalibrationSettings
from ce_detect.data import Images
from ce_detect.fitting import robust_copy
from ce_detect.heads.disagreement import SOFTNESS, STEEPNESS
from ce_detect.redteam.expectation import Expectation
from ce_detect.redteam.radii import Case, radii
from ce_detect.redteam.red_team import RedTeam, redteam
from ce_detect.redteam.settings import Plan
from ce_detect.redteam.target import Alone, Gated, Target
from ce_detect.storage.folders import cache_folder

FPR = 0.05
BUDGET, LARGE = 2.0, 4.5
HARDENED = 3.0
"""Budget of the hardened gates: a hardened copy takes a whole forward pass, for which 2.0 has no room."""

FEW = 16
"""Images that the rows attack in which a step takes several gates, at most."""

HARDENED_ON = 8000
"""Training images of the classifier on which a hardened copy is trained, at most."""

LONGER = 4
"""Times the steps in the row that shows whether longer attacks come to more."""

SECRET = 982_451_653
"""Seed of the random interventions that the attacker does not know."""

Specs = tuple[dict[str, Any], ...]

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


class Bench:
    """Everything that the rows share.

    Attributes:
        subject: classifier, images and recipe.
        x: images that are attacked.
        plan: what the attacker may do.
    """

    def __init__(self, subject: Subject, count: int, steps: int, skip: int = 0) -> None:
        self.subject = subject
        self.first, fresh = subject.split()
        self.x = np.asarray(fresh.x[skip : skip + count])
        self.plan = Plan(least=0.125 / 255, most=16 / 255, steps=steps, decisions=2, queries=300, seed=SEED)
        self.guard = subject.guard(self.x.shape[1:])
        self.alone = Alone(self.guard.classifier)
        self._radii: np.ndarray | None = None

    @property
    def radii(self) -> np.ndarray:
        """Smallest perturbations that fool the classifier alone."""
        if self._radii is None:
            case = Case.of(self.alone, torch.from_numpy(self.x))
            self._radii, _ = radii(self.alone, case, self.plan.levels, steps=self.plan.steps, seed=self.plan.seed)
        return self._radii

    def calibrated(
        self, budget: float, harden: int = 0, interventions: tuple[dict[str, Any], ...] = ()
    ) -> DetectedModel:
        """A guard from where ``detection.py`` left it, or calibrated with what is in the cache."""
        left = self.subject.artifact(budget)
        if left.is_file() and not harden and not interventions:
            return DetectedModel.load(left, self.subject.model())
        recipe = replace(Recipe.load(self.subject.recipe), interventions=interventions)
        rounds = hardening.IMAGES, hardening.REACHES, hardening.STEPS
        copy = HARDENED_ON, robust_copy.IMAGES, robust_copy.RADII, robust_copy.RATE, SOFTNESS, STEEPNESS, LARGEST
        learned = (*rounds, *copy) if harden else ()
        described = (ce_detect.__version__, FORMAT, recipe, FPR, budget, harden, learned)
        made = hashlib.sha256(repr(described).encode()).hexdigest()
        kept = cache_folder() / "guards" / f"{self.subject.name}-adaptive-{made[:12]}.safetensors"
        if kept.is_file():
            return DetectedModel.load(kept, self.subject.model())
        guard = self.subject.guard(self.x.shape[1:])
        guard.calibrate(
            self.first.x, self.first.y, recipe=recipe, fpr=FPR, budget=budget, seed=SEED, harden=harden,
            harden_with=self.further() if harden else None, progress=progress,
        )  # fmt: skip
        kept.parent.mkdir(parents=True, exist_ok=True)
        guard.save(kept)
        return guard

    def further(self) -> np.ndarray | None:
        """Images for hardening alone, as many as `HARDENED_ON`."""
        return None if self.subject.training is None else self.subject.training()[:HARDENED_ON]

    def attacked(
        self, target: Target, *, truth: Target | None = None, check: bool = False, most: int | None = None,
        longer: int = 1,
    ) -> RedTeam:  # fmt: skip
        """The red team on a target, with the first ``most`` images and so many times the steps, also for the model."""
        if longer > 1:
            plan = replace(self.plan, steps=longer * self.plan.steps)
            return redteam(target, self.alone, self.x[:most], plan, check=check, progress=progress)
        return redteam(
            target, self.alone, self.x[:most], self.plan, truth=truth, alone_radii=self.radii[:most], check=check,
            progress=progress,
        )  # fmt: skip

    def data(self) -> dataset.CalibrationData:
        """Splits and attacked images, as a calibration takes them."""
        recipe = Recipe.load(self.subject.recipe)
        request = CalibrationSettings(
            recipe=recipe, fpr=FPR, budget=BUDGET, guarantee="pac", confidence=0.95, seed=SEED, attack_seconds=None,
            cache=None, jobs=None, progress=progress,
        )  # fmt: skip
        return dataset.gathered(self.guard.classifier, self.first, request)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subject", choices=tuple(SUBJECTS), default="cifar10-resnet20")
    parser.add_argument("--only", nargs="+", choices=tuple(ROWS), default=list(ROWS))
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--skip", type=int, default=0, help="images to leave out before those that are attacked")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", module="art")
    logging.basicConfig(level=logging.WARNING)
    bench = Bench(SUBJECTS[options.subject], options.images, options.steps, options.skip)
    path = RESULTS / f"adaptive-{options.subject}{f'-from-{options.skip}' if options.skip else ''}.json"
    settings = {"images": options.images, "plan": asdict(bench.plan), "fpr": FPR, "subject": options.subject}
    found = json.loads(path.read_text()) if path.is_file() else {}
    if found.get("settings") != settings:
        found = {"what": __doc__.partition("\n")[0], "environment": environment(), "settings": settings, "rows": {}}
    for name in options.only:
        if name not in found["rows"]:
            start = time.perf_counter()
            row = ROWS[name](bench)
            found["rows"][name] = {**row, "seconds": round(time.perf_counter() - start, 1)}
            path.write_text(json.dumps(found, indent=1) + "\n")
        line(name, found["rows"][name])


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
    return gated(bench.calibrated(BUDGET), bench, check=True)


def staged(bench: Bench) -> dict[str, Any]:
    return gated(DetectedModel.load(bench.subject.artifact(CASCADED, cascade=True), bench.subject.model()), bench)


def large(bench: Bench) -> dict[str, Any]:
    return gated(bench.calibrated(LARGE), bench)


def hardened(rounds: int, budget: float = HARDENED, *, check: bool = False) -> Callable[[Bench], dict[str, Any]]:
    return lambda bench: gated(bench.calibrated(budget, rounds), bench, check=check)


def longer(bench: Bench) -> dict[str, Any]:
    return gated(bench.calibrated(LARGE, 1), bench, most=FEW, longer=LONGER)


def known_seed(bench: Bench) -> dict[str, Any]:
    return gated(bench.calibrated(np.inf, 0, _sized(bench)), bench)


def secret_seed(bench: Bench) -> dict[str, Any]:
    guard = bench.calibrated(np.inf, 0, _sized(bench))
    return gated(guard, bench, target=Expectation(guard.gate), truth=Gated(guard.gate), most=FEW)


def _sized(bench: Bench) -> Specs:
    channels, height, width = bench.x.shape[1:]
    noise = {**RANDOM[0], "channels": channels, "side": max(height, width)}
    return (noise, *RANDOM[1:])


def disjoint(bench: Bench) -> dict[str, Any]:
    gates = [bench.calibrated(np.inf, 0, interventions).gate for interventions in DISJOINT]
    clean = bench.data().clean("calibrate")
    report = bench.attacked(Scored(bench.guard.classifier, ensemble(gates), clean, FPR), most=FEW)
    return {**summary(report), "interventions": [[i["kind"] for i in member] for member in DISJOINT]}


def peer(name: str) -> Callable[[Bench], dict[str, Any]]:
    def row(bench: Bench) -> dict[str, Any]:
        found = bench.data()
        images = found.images.subset(found.parts["fit"])
        score = PEERS[name](bench.guard.classifier, Images(images.x, images.y), found.sets["fit"].attacked)
        return summary(bench.attacked(Scored(bench.guard.classifier, score, found.clean("calibrate"), FPR)))

    return row


def line(name: str, row: dict[str, Any]) -> None:
    """Print a row."""
    ratio, more = row["ratio"], " or more" if row["ratio_is_bound"] else ""
    print(
        f"{name:14} ratio {ratio['value']:.2f} ({ratio['low']:.2f}-{ratio['high']:.2f}){more}, "
        f"median {255 * row['radius_joint']['value']:.2f}/255, AUROC {row.get('mean_auroc', '-')}, "
        f"evaded within {row['evaded_within']}"
    )


ROWS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "unhardened": unhardened,
    "larger": large,
    "cascade": staged,
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

if __name__ == "__main__":
    main()
