"""Manifests, and reports as plain data, in words and tables; needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ce_detect.artifacts.manifest import Manifest
from ce_detect.cli._output import print_pairs, print_table
from ce_detect.reporting.words import cost, decimal, exact_percent, percent, promise

Plain = Mapping[str, Any]

_HEADER = (
    "attack", "n", "success", "AUROC", "AUROC of successes", "detected", "detected of successes", "accuracy of passed",
)  # fmt: skip

_CLEAN_ONLY = ("clean-only AUROC of successes", "clean-only detected of successes")
"""Further columns where a detector that no attack taught stands beside."""

_CORRUPTION_HEADER = ("corruption", "n", "flagged", "flagged of same decision", "decision changed", "accuracy")


def print_gate(title: str, manifest: Manifest, threshold: float) -> None:
    """Print what was chosen and what it promises."""
    names, recipe = manifest.signature.names, manifest.recipe
    pairs = {
        "promise": promise(manifest),
        "threshold": f"{threshold:.4g}",
        "cost": cost(manifest),
        f"interventions ({len(names)})": "; ".join(names) or "none: what one forward pass gives, alone",
        "learned from": ", ".join(recipe.learned_from) or "clean images alone",
    }
    if manifest.deploy is not None:
        pairs["deployed in"] = f"{manifest.deploy.precision}: all of this holds for the exported graph"
    if recipe.corruptions:
        listed = ", ".join(f"{table['kind']} {table.get('severity', '')}".strip() for table in recipe.corruptions)
        pairs["counts as clean"] = listed
        pairs["also promised"] = f"the same of a mixture of which {exact_percent(recipe.corrupted)} are so changed"
    print_pairs(title, pairs)


def print_report(title: str, report: Plain) -> None:
    """Print the figures of a report on clean and on attacked inputs."""
    print_clean(f"{title}: {report['clean']['n']} clean images", report)
    if report["attacks"]:
        print_attacks(f"{title}: attacks, at the calibrated threshold", report["attacks"])
        print_controls(f"{title}: the same perturbations, their pixels shuffled: no attack", report["attacks"])
    if report["corruptions"]:
        print_corruptions(f"{title}: natural change, where every flag is a false alarm", report["corruptions"])


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
            "read a flag as": "an attack, or an input of which the model is unsure: both are worth a look",
        }
    if clean["clean_only_false_positive_rate"] is not None:
        pairs["flagged by the clean-only detector"] = percent(clean["clean_only_false_positive_rate"])
    print_pairs(title, pairs)


def print_attacks(title: str, attacks: Mapping[str, Plain]) -> None:
    """Print one row an attack."""
    beside = any(figures["clean_only"] is not None for figures in attacks.values())
    rows = [(name, *_row(figures), *(_clean_only(figures) if beside else ())) for name, figures in attacks.items()]
    print_table(title, (*_HEADER, *(_CLEAN_ONLY if beside else ())), rows)


def print_controls(title: str, attacks: Mapping[str, Plain]) -> None:
    """Print one row an attack; nothing of an artifact that was made before there were controls."""
    rows = [
        (name, percent(found["flagged"]), decimal(found["auroc"]))
        for name, figures in attacks.items()
        if (found := figures.get("control")) is not None
    ]
    if rows:
        print_table(title, ("control of", "flagged", "AUROC of successes against it"), rows)


def print_corruptions(title: str, corruptions: Mapping[str, Plain]) -> None:
    """Print one row a corruption."""
    beside = any(figures["clean_only_false_positive_rate"] is not None for figures in corruptions.values())
    rates = (
        "false_positive_rate", "false_positive_rate_unchanged", "changed_rate", "accuracy",
        *(["clean_only_false_positive_rate"] if beside else []),
    )  # fmt: skip
    rows = [(name, str(found["n"]), *(percent(found[rate]) for rate in rates)) for name, found in corruptions.items()]
    print_table(title, (*_CORRUPTION_HEADER, *(["flagged by clean-only"] if beside else [])), rows)


def _clean_only(figures: Plain) -> tuple[str, str]:
    beside = figures["clean_only"]
    return decimal(beside["auroc_successes"]), percent(beside["detection_rate_successes"])


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
