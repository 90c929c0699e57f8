"""Hardening: adaptive attacks on the gate, fed back into what its head learns, in rounds.

Each round attacks images of *fit* and *select* against the gate of the round before, keeps what fools the classifier,
and fits the head again on all that was found so far. Thresholds come from clean images of *calibrate*, as always; no
other split is attacked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ce_detect.attacks import Attack
from ce_detect.attacks.generation import AttackedSet
from ce_detect.calibrate.settings import CalibrationSettings
from ce_detect.classifiers.base import Classifier
from ce_detect.core.version import VERSION
from ce_detect.data.lazy import Pixels, rows
from ce_detect.detector.gate import GateModule
from ce_detect.fitting import feature_tables
from ce_detect.redteam import bpda
from ce_detect.redteam.descent import Descent, descend
from ce_detect.redteam.joint_margin import JointMargin
from ce_detect.redteam.radii import Case, judged, radii
from ce_detect.redteam.selective import Selective
from ce_detect.redteam.target import Alone, Gated, Target, margin
from ce_detect.storage.cache import Arrays, Cache, digest
from ce_detect.storage.folders import cache_folder

IMAGES = {"fit": 320, "select": 120}
"""Images that are attacked in a round, at most."""

REACHES = (1.0, 1.5, 2.0, 3.0, 4.0)
"""Bounds, as multiples of the median perturbation that fools the classifier alone; images take them in turn."""

STEPS = 40
"""Gradient steps of an attack."""

ATTACKS: tuple[Descent, ...] = (Selective(), JointMargin())
"""Attacks; images take them in turn."""

RADIUS_IMAGES = 64
"""Images on which that median is measured."""

RADIUS_STEPS = 20
"""Gradient steps of the attacks that measure it."""

RADIUS_LEVELS = np.geomspace(1 / 2040, 1 / 8, 64)
"""Perturbations that are tried for it, as shares of the pixel range."""

Tables = dict[str, feature_tables.Table]


def harden(
    gate: GateModule,
    sets: dict[str, feature_tables.Sets],
    tables: Tables,
    fit: Callable[[Tables], GateModule],
    settings: CalibrationSettings,
    reach: float,
) -> tuple[GateModule, list[dict[str, Any]]]:
    """Attack and fit again, ``settings.harden`` times.

    Args:
        gate: what was calibrated.
        sets: the splits ``"fit"`` and ``"select"``.
        tables: their signatures.
        fit: makes a gate with the same signature from signatures.
        settings: say how many rounds, and where attacked images are kept.
        reach: see `median_radius`.

    Returns:
        The last gate, and figures of each round: how many examples fooled the classifier, the share of them that
        passed the gate they were made for, and the share that passes the gate that learned them.
    """
    figures = []
    for turn in range(1, settings.harden + 1):
        name = f"adaptive-round-{turn}"
        found = {
            split: _attacked(gate, _turned(part.clean, turn, IMAGES[split]), reach, name, settings)
            for split, part in sets.items()
            if len(part.clean)
        }
        tables = {split: _with(table, name, gate, found.get(split)) for split, table in tables.items()}
        before, gate = gate, fit(tables)
        figures.append(_figures(name, found, before, gate, reach))
        if settings.progress is not None:
            settings.progress("harden: rounds", turn, settings.harden)
    return gate, figures


def median_radius(classifier: Classifier, clean: Pixels) -> float:
    """Median perturbation with which half of some images fool the classifier alone, in pixel values."""
    low, high = classifier.bounds
    levels = RADIUS_LEVELS * (high - low)
    x = torch.from_numpy(np.asarray(clean[:RADIUS_IMAGES]))
    alone = Alone(classifier)
    found, _ = radii(alone, Case.of(alone, x), levels, steps=RADIUS_STEPS, attacks=(Selective(),))
    return float(np.quantile(np.minimum(found, levels[-1]), 0.5, method="inverted_cdf"))


def _turned(x: Pixels, turn: int, most: int) -> Pixels:
    """Other images in each round, as far as there are others."""
    return rows(x, (np.arange(min(most, len(x))) + (turn - 1) * most) % len(x))


def _with(table: feature_tables.Table, name: str, gate: GateModule, found: AttackedSet | None) -> feature_tables.Table:
    """Signatures with those of the attacked images beside."""
    if found is None:
        return table
    rows = feature_tables.features(gate.signature, found.pixels)
    return feature_tables.Table(table.clean, {**table.attacked, name: rows}, rounding=table.rounding)


def _figures(
    name: str, found: dict[str, AttackedSet], before: GateModule, after: GateModule, reach: float
) -> dict[str, Any]:
    examples = torch.from_numpy(np.concatenate([part.x for part in found.values()]))
    return {
        "name": name,
        "examples": len(examples),
        "reaches": [round(factor * reach, 6) for factor in REACHES],
        "passed_before": _passing(before, examples),
        "passes_after": _passing(after, examples),
    }


def _passing(gate: GateModule, x: torch.Tensor) -> float | None:
    """Share of inputs that a gate does not flag; None of no inputs."""
    if not len(x):
        return None
    target = Gated(gate)
    return round(float((judged(target, x).score <= target.threshold).float().mean()), 4)


def _attacked(gate: GateModule, clean: Pixels, reach: float, name: str, request: CalibrationSettings) -> AttackedSet:
    """Adaptive examples that fool the classifier, whether or not they pass; from the cache where they are there."""
    x = np.asarray(clean)

    def made() -> Arrays:
        return {"x": _run(gate, torch.from_numpy(x), reach).numpy()}

    cache = Cache(request.cache or cache_folder(), "adaptive", content="adaptive examples")
    found = cache.get(_key(gate, x, reach), {"x": x.shape}, made)["x"]
    case = Case.of(Alone(gate.signature.classifier), torch.from_numpy(x))
    fooled = margin(judged(Alone(gate.signature.classifier), torch.from_numpy(found)).logits, case.labels) < 0
    settings = (("reach", reach), ("steps", STEPS))
    return AttackedSet(Attack("adaptive", settings, name), found, np.arange(len(x))).subset(fooled.numpy())


def _run(gate: GateModule, x: torch.Tensor, reach: float) -> torch.Tensor:
    target: Target = bpda.StraightThrough(gate, x) if bpda.needs_help(gate, x) else Gated(gate)
    case = Case.of(Alone(gate.signature.classifier), x)
    place = torch.arange(len(x))
    eps = torch.tensor(REACHES)[place % len(REACHES)] * reach
    attacked = x.clone()
    for turn, attack in enumerate(ATTACKS):
        own = place[place // len(REACHES) % len(ATTACKS) == turn]
        part = case.at(own)
        best = descend(attack, target, part.x, part.labels, eps[own], steps=STEPS, anchors=part.anchors, goal=torch.inf)
        attacked[own] = best.x
    return attacked


def _key(gate: GateModule, x: NDArray[np.float32], reach: float) -> str:
    return digest(
        version=VERSION,
        attacks=[attack.name for attack in ATTACKS],
        settings=[REACHES, STEPS, reach],
        interventions=[str(module.name) for module in gate.signature.interventions],
        gate={name: value.detach().cpu().numpy() for name, value in gate.state_dict().items()},
        images=x,
    )
