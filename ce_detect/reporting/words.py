"""Figures and manifests in words; needs no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ce_detect.artifacts.figures import CascadeFigures
from ce_detect.artifacts.manifest import Manifest, Promise

ABSENT = "-"
"""Shown for a figure that does not exist."""


def percent(share: float | None) -> str:
    """Return a measured share as ``"12.3 %"``."""
    return ABSENT if share is None else f"{share:.1%}".replace("%", " %")


def exact_percent(share: float) -> str:
    """Return a share that somebody chose as ``"1 %"``."""
    return f"{100 * share:g} %"


def decimal(value: float | None) -> str:
    """Return a figure with three decimals."""
    return ABSENT if value is None else f"{value:.3f}"


def promise(manifest: Promise) -> str:
    """What the gate promises about clean inputs."""
    limit = f"at most {exact_percent(manifest.fpr)} of clean inputs flagged"
    if manifest.guarantee == "marginal":
        return f"{limit}, on average over calibrations"
    return f"{limit}, with confidence {exact_percent(manifest.confidence)}"


def cost(manifest: Manifest) -> str:
    """Measured cost of the gate and the budget it was given."""
    allowed = "no limit" if manifest.budget is None else f"a budget of {manifest.budget:g}"
    figures = manifest.figures
    sizes = " / ".join(sorted(figures.onnxruntime_cost, key=int))
    there = f"; in ONNX Runtime {_ratios(figures.onnxruntime_cost)} in batches of {sizes}" if sizes else ""
    cascade = "" if figures.cascade is None else _cascade(figures.cascade)
    return f"{figures.cost:.2f} times the model alone, of {allowed}{there}{cascade}"


def _cascade(found: CascadeFigures) -> str:
    attacked = found.cleared_attacked.values()
    beside = f" (and {percent(sum(attacked) / len(attacked))} of attacked ones)" if attacked else ""
    others = f"{found.cost_of_others:.2f}"
    if found.onnxruntime_cost_of_others:
        others += f" (in ONNX Runtime {_ratios(found.onnxruntime_cost_of_others)})"
    cleared = f"{percent(found.cleared)} are cleared early{beside}"
    return f"; on average over clean inputs, of which {cleared}; others cost {others}"


def _ratios(by_batch: Mapping[str, float]) -> str:
    return " / ".join(f"{by_batch[batch]:.2f}" for batch in sorted(by_batch, key=int))


def mean_detection(report: Mapping[str, Any]) -> float | None:
    """Detection rate over successful attempts, averaged over the attacks; None where none succeeded."""
    rates = [figures["detection_rate_successes"] for figures in report["attacks"].values()]
    known = [rate for rate in rates if rate is not None]
    return sum(known) / len(known) if known else None


def under_attack_rows(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Plain `ce_detect.redteam.under_attack.UnderAttack` of a red team: a line a bound, for a table."""
    rows = []
    for found in report["under_attack"]:
        auroc = found["auroc"]
        area = ABSENT if auroc is None else f"{auroc['value']:.3f} ({auroc['low']:.3f} to {auroc['high']:.3f})"
        shares = (percent(found[name]) for name in ("fooled", "flagged", "implied"))
        then = f", then {found['then']}" if found["then"] else ""
        rows.append((f"{255 * found['eps']:.3g}/255{then}", area, *shares))
    return rows


def interventions(manifest: Manifest) -> list[str]:
    """Names of the interventions, see `shown`."""
    return [shown(name, manifest) for name in manifest.signature.names]


def shown(name: str, manifest: Manifest) -> str:
    """Name of an intervention without a seed that is secret: a report is there to be shown."""
    return re.sub(r"\bseed=\d+", "seed=secret", name) if manifest.secret_seed else name
