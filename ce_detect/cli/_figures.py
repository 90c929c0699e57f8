"""Manifests and reports, as plain data, in words and tables; needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ce_detect.cli._output import decimal, exact_percent, percent, print_pairs, print_table

Plain = Mapping[str, Any]

_HEADER = (
    "attack", "n", "success", "AUROC", "AUROC of successes", "detected", "detected of successes", "accuracy of passed",
)  # fmt: skip


def promise(manifest: Plain) -> str:
    """What the gate promises about clean inputs."""
    limit = f"at most {exact_percent(manifest['fpr'])} of clean inputs flagged"
    if manifest["guarantee"] == "marginal":
        return f"{limit}, on average over calibrations"
    return f"{limit}, with confidence {exact_percent(manifest['confidence'])}"


def cost(manifest: Plain) -> str:
    """Measured cost of the gate and the budget it was given."""
    budget = manifest["budget"]
    allowed = "no limit" if budget is None else f"a budget of {budget:g}"
    return f"{manifest['figures']['cost']:.2f} times the model alone, of {allowed}"


def print_gate(title: str, manifest: Plain, threshold: float) -> None:
    """Print what was chosen and what it promises."""
    names = manifest["signature"]["names"]
    print_pairs(
        title,
        {
            "promise": promise(manifest),
            "threshold": f"{threshold:.4g}",
            "cost": cost(manifest),
            f"interventions ({len(names)})": "; ".join(names) or "none: free statistics of one forward alone",
            "learned from": ", ".join(manifest["recipe"]["learned_from"]) or "clean images alone",
        },
    )


def print_report(title: str, report: Plain) -> None:
    """Print the figures of a report on clean and on attacked inputs."""
    print_clean(f"{title}: {report['clean']['n']} clean images", report)
    if report["attacks"]:
        print_attacks(f"{title}: attacks, at the calibrated threshold", report["attacks"])


def print_clean(title: str, report: Plain) -> None:
    """Print what happens to clean inputs."""
    clean = report["clean"]
    flagged = f"{percent(clean['false_positive_rate'])}, target {exact_percent(report['target'])}"
    pairs = {"flagged": flagged}
    if clean["accuracy"] is not None:
        pairs |= {
            "flagged of the correctly classified": percent(clean["false_positive_rate_correct"]),
            "flagged of the misclassified": percent(clean["false_positive_rate_misclassified"]),
            "accuracy": percent(clean["accuracy"]),
            "accuracy of what passes": percent(clean["passed_accuracy"]),
        }
    print_pairs(title, pairs)


def print_attacks(title: str, attacks: Mapping[str, Plain]) -> None:
    """Print one row an attack."""
    print_table(title, _HEADER, [(name, *_row(figures)) for name, figures in attacks.items()])


def mean_detection(report: Plain) -> float | None:
    """Detection rate over successful attempts, averaged over the attacks; None where none succeeded."""
    rates = [figures["detection_rate_successes"] for figures in report["attacks"].values()]
    known = [rate for rate in rates if rate is not None]
    return sum(known) / len(known) if known else None


def _row(figures: Plain) -> tuple[str, ...]:
    return (
        str(figures["n"]),
        percent(figures["success_rate"]),
        decimal(figures["auroc"]),
        decimal(figures["auroc_successes"]),
        percent(figures["detection_rate"]),
        percent(figures["detection_rate_successes"]),
        percent(figures["passed_accuracy"]),
    )
