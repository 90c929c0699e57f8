"""Hardening: adaptive attacks on the gate, fed back into what its head learns, in rounds.

Each round attacks images of *fit* and *select* against the gate of the round before, keeps what fools the classifier,
and fits the head again on all that was found so far. Thresholds come from clean images of *calibrate*, as always; no
other split is attacked.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load, save

from ce_detect.attacks import Attack
from ce_detect.attacks.generation import AttackedSet
from ce_detect.calibrate.settings import CalibrationSettings
from ce_detect.classifiers.base import Classifier
from ce_detect.core.version import VERSION
from ce_detect.data.lazy import Pixels, rows
from ce_detect.detector.gate import GateModule
from ce_detect.fitting import heads
from ce_detect.redteam import bpda
from ce_detect.redteam.descent import Descent, descend
from ce_detect.redteam.joint_margin import JointMargin
from ce_detect.redteam.radii import Case, judged, radii
from ce_detect.redteam.selective import Selective
from ce_detect.redteam.target import Alone, Gated, Target, margin
from ce_detect.storage import atomic
from ce_detect.storage.folders import cache_folder

logger = logging.getLogger("ce_detect")

IMAGES = {"fit": 320, "select": 120}
"""Images that are attacked in a round, at most."""

REACHES = (1.0, 1.5, 2.0, 3.0, 4.0)
"""Bounds, as multiples of the median perturbation that fools the classifier alone; images take them in turn."""

STEPS = 40
"""Gradient steps of an attack."""

ATTACKS: tuple[Descent, ...] = (Selective(), JointMargin())
"""Attacks; images take them in turn."""

MEASURED = 64
"""Images on which that median is measured."""

_LEVELS = np.geomspace(1 / 2040, 1 / 8, 64)

Tables = dict[str, heads.Table]


def harden(
    gate: GateModule,
    sets: dict[str, heads.Sets],
    tables: Tables,
    learned: Callable[[Tables], GateModule],
    request: CalibrationSettings,
    reach: float,
) -> tuple[GateModule, list[dict[str, Any]]]:
    """Attack and fit again, ``request.harden`` times.

    Args:
        gate: what was calibrated.
        sets: the splits ``"fit"`` and ``"select"``.
        tables: their signatures.
        learned: makes a gate with the same signature from signatures.
        request: says how many rounds, and where attacked images are kept.
        reach: see `median_radius`.

    Returns:
        The last gate, and figures of each round: how many examples fooled the classifier, the share of them that
        passed the gate they were made for, and the share that passes the gate that learned them.
    """
    figures = []
    for turn in range(1, request.harden + 1):
        name = f"adaptive-round-{turn}"
        found = {
            split: _attacked(gate, _turned(part.clean, turn, IMAGES[split]), reach, name, request)
            for split, part in sets.items()
            if len(part.clean)
        }
        before = gate
        tables = {split: _with(table, name, before, found.get(split)) for split, table in tables.items()}
        gate = learned(tables)
        seen = torch.from_numpy(np.concatenate([part.x for part in found.values()]))
        figures.append(
            {
                "name": name,
                "examples": len(seen),
                "reaches": [round(factor * reach, 6) for factor in REACHES],
                "passed_before": _passing(before, seen),
                "passes_after": _passing(gate, seen),
            }
        )
        if request.progress is not None:
            request.progress("harden: rounds", turn, request.harden)
    return gate, figures


def _turned(x: Pixels, turn: int, most: int) -> Pixels:
    """Other images in each round, as far as there are others."""
    return rows(x, (np.arange(min(most, len(x))) + (turn - 1) * most) % len(x))


def _with(table: heads.Table, name: str, gate: GateModule, found: AttackedSet | None) -> heads.Table:
    if found is None:
        return table
    return heads.Table(table.clean, {**table.attacked, name: heads.features(gate.signature, found.pixels)})


def _passing(gate: GateModule, x: torch.Tensor) -> float | None:
    if not len(x):
        return None
    return round(float((judged(Gated(gate), x).score <= gate.threshold).float().mean()), 4)


def median_radius(classifier: Classifier, clean: Pixels) -> float:
    """Median perturbation with which half of some images fool the classifier alone, in pixel values."""
    low, high = classifier.bounds
    x = torch.from_numpy(np.asarray(clean[:MEASURED])).to(classifier.device)
    alone = Alone(classifier)
    found, _ = radii(alone, Case.of(alone, x), _LEVELS * (high - low), steps=20, attacks=(Selective(),))
    return float(np.quantile(np.minimum(found, _LEVELS[-1] * (high - low)), 0.5, method="inverted_cdf"))


def _attacked(gate: GateModule, clean: Pixels, reach: float, name: str, request: CalibrationSettings) -> AttackedSet:
    """Adaptive examples that fool the classifier, whether or not they pass; from the cache where they are there."""
    folder = (request.cache or cache_folder()) / "adaptive"
    x = np.asarray(clean)
    path = folder / f"{_key(gate, x, reach)}.safetensors"
    found = _read(path, x.shape) if path.is_file() else None
    if found is None:
        found = _run(gate, torch.from_numpy(x), reach).cpu().numpy()
        folder.mkdir(parents=True, exist_ok=True)
        atomic.write(path, save({"x": found}))
    case = Case.of(Alone(gate.signature.classifier), torch.from_numpy(x))
    fooled = margin(judged(Alone(gate.signature.classifier), torch.from_numpy(found)).logits, case.labels) < 0
    settings = (("reach", reach), ("steps", STEPS))
    return AttackedSet(Attack("adaptive", settings, name), found, np.arange(len(x))).subset(fooled.numpy())


def _read(path: Path, shape: tuple[int, ...]) -> NDArray[np.float32] | None:
    try:
        found: NDArray[np.float32] = load(path.read_bytes())["x"]
    except Exception as error:  # noqa: BLE001  safetensors raises a bare Exception subclass
        logger.warning("adaptive examples in %s cannot be read (%s); making them again", path, error)
        return None
    return found if found.shape == shape else None


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
    attacks = [attack.name for attack in ATTACKS]
    names = [str(module.name) for module in gate.signature.interventions]
    described = [VERSION, attacks, REACHES, STEPS, reach, names]
    digest = hashlib.sha256(json.dumps(described).encode() + x.tobytes())
    for name, tensor in sorted(gate.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
