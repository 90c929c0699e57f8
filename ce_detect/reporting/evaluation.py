"""The report of an evaluation: what is detected, what is flagged in vain, what it costs, and some flagged inputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ce_detect.artifacts.manifest import Manifest
from ce_detect.core import extras
from ce_detect.detector.gate import GateModule
from ce_detect.evaluate.curves import curves
from ce_detect.evaluate.report import Report, without_nan
from ce_detect.evaluate.scores import Flagged
from ce_detect.explain.explanation import explain
from ce_detect.reporting import plots
from ce_detect.reporting.document import PAGE, Document, Headline, Verdict, rounded
from ce_detect.reporting.gallery import Entry, entries
from ce_detect.reporting.model_card import model_card
from ce_detect.reporting.page import rendered
from ce_detect.reporting.words import cost, exact_percent, mean_detection, percent, promise

Plain = Mapping[str, Any]

KINDS = {
    "attacked": "Attacked inputs",
    "natural": "False alarms after natural change",
    "clean": "False alarms on clean images",
}
"""Headings of the gallery."""

MOST_KINDS = 12
"""Kinds of natural change that are drawn: those that are flagged most."""


def examples(each: int, files: Iterable[Path]) -> int:
    """Flagged inputs of each kind that an evaluation must keep for these files: only a page shows them.

    Raises:
        MissingExtraError: they are to be explained, and Captum is not installed.
    """
    if not each or not any(path.suffix == PAGE for path in files):
        return 0
    extras.module("captum", "Explaining flagged inputs (none with --gallery 0)", extra="explain")
    return each


def document(
    report: Report,
    manifest: Manifest,
    gate: GateModule,
    *,
    artifact: str,
    data: str,
    seed: int,
    max_fpr: float | None = None,
    min_detection: float | None = None,
) -> Document:
    """Make the report of an evaluation.

    Args:
        report: what was measured; its flagged inputs are explained, some hundred forward passes each.
        manifest: of the detector.
        gate: explains them.
        artifact: what the report calls the detector.
        data: what it calls the images.
        seed: of the evaluation.
        max_fpr: check: largest share of clean images that may be flagged; None for no check.
        min_detection: check: smallest share of successful attacks to be flagged, mean over attacks; None for none.

    Raises:
        MissingExtraError: flagged inputs are to be explained, and Captum is not installed.
    """
    figures = report.to_dict()
    shown = rounded(without_nan(asdict(curves(report))))
    checks = _checks(figures, max_fpr, min_detection)
    flagged = tuple(one for one in report.scores.flagged if np.ptp(one.pixels, axis=(1, 2)).any())  # else no map
    explained = _explained(gate, flagged)
    found = {
        "artifact": artifact,
        "seed": seed,
        "verdict": asdict(_verdict(figures, shown, manifest, checks, _caveats(report, manifest))),
        "report": figures,
        "curves": shown,
        "cost": {"pytorch": manifest.figures.cost, "onnxruntime": manifest.figures.onnxruntime_cost},
        "checks": checks,
        "flagged": [
            {"kind": one.kind, "change": one.change, "image": one.image, "label_before": one.label, **entry.verdict}
            for one, entry in zip(flagged, explained, strict=True)
        ],
        "model_card": model_card(manifest, artifact=artifact, data=data, report=figures),
    }
    groups = {
        heading: [entry for one, entry in zip(flagged, explained, strict=True) if one.kind == kind]
        for kind, heading in KINDS.items()
    }
    return Document(found, lambda: _page(found, manifest, {name: group for name, group in groups.items() if group}))


def _checks(figures: Plain, max_fpr: float | None, min_detection: float | None) -> list[dict[str, Any]]:
    checks: list[dict[str, Any]] = []
    if max_fpr is not None:
        share = figures["clean"]["false_positive_rate"]
        checks.append({"name": "max-fpr", "limit": max_fpr, "value": share, "passed": share <= max_fpr})
    if min_detection is not None:
        mean = mean_detection(figures)
        passed = mean is not None and mean >= min_detection
        checks.append({"name": "min-detection", "limit": min_detection, "value": mean, "passed": passed})
    return checks


def _explained(gate: GateModule, flagged: tuple[Flagged, ...]) -> list[Entry]:
    if not flagged:
        return []
    found = explain(gate, np.stack([one.pixels for one in flagged]))
    names = [f"image {one.image}" + (f", {one.change}" if one.change else "") for one in flagged]
    return entries(found, names, gate.signature.classifier.bounds, flagged)


def _verdict(
    figures: Plain, shown: Plain, manifest: Manifest, checks: list[dict[str, Any]], caveats: Iterable[str]
) -> Verdict:
    clean, mean, alarms = figures["clean"], mean_detection(figures), shown["false_alarms"]["clean"]
    caught = (
        "No attack succeeded, and it flags" if mean is None else f"It flags {percent(mean)} of successful attacks and"
    )
    measured = f"{percent(alarms['value'])} of {clean['n']} clean images, 95 % interval {_interval(alarms)}"
    return Verdict(
        *_state(alarms, figures["target"], checks),
        headline=f"{caught} {percent(alarms['value'])} of clean images.",
        details=(
            f"Promised: {promise(manifest)}. Measured: {measured}.",
            *(
                f"Check {check['name']} {exact_percent(check['limit'])}: {'passed' if check['passed'] else 'failed'}, "
                f"measured {percent(check['value'])}."
                for check in checks
            ),
            *caveats,
            "A flag means: attacked, or the classifier is unsure here.",
        ),
        figures=tuple(_headlines(figures, shown["detection"], manifest)),
    )


def _caveats(report: Report, manifest: Manifest) -> Iterator[str]:
    """What the figures are not."""
    if report.seen:
        yield f"{report.seen} of these images were used in calibration; figures on new ones will be worse."
    if manifest.deploy is not None:
        precision = manifest.deploy.precision
        yield f"The threshold is that of the exported graph in {precision}; these figures are of the gate in PyTorch."


def _state(
    alarms: Plain, target: float, checks: list[dict[str, Any]]
) -> tuple[Literal["passed", "failed", "measured"], str]:
    """By the checks that were asked for; without any, by the promise about clean images, which alone passes nothing."""
    if checks:
        passed = all(check["passed"] for check in checks)
        return ("passed", "Checks passed") if passed else ("failed", "Checks failed")
    if alarms["low"] > target:
        return "failed", "More false alarms than promised"
    return "measured", "False alarms as promised" if alarms["value"] <= target else "False alarms within chance"


def _headlines(figures: Plain, detection: Plain, manifest: Manifest) -> Iterator[Headline]:
    clean = figures["clean"]
    caught = {name: one["value"] for name, one in detection.items() if one["n"]}
    if caught:
        least = min(caught, key=lambda name: caught[name])
        note = f"least: {percent(caught[least])}, {least}"
        yield Headline(percent(mean_detection(figures)), "successful attacks flagged", note)
    promised = f"promised: {exact_percent(figures['target'])}"
    yield Headline(percent(clean["false_positive_rate"]), "clean images flagged", promised)
    natural = {name: one["false_positive_rate"] for name, one in figures["corruptions"].items()}
    if natural:
        most = max(natural, key=lambda name: natural[name])
        mean = sum(natural.values()) / len(natural)
        yield Headline(percent(mean), "naturally changed flagged", f"most: {percent(natural[most])}, {most}")
    if clean["accuracy"] is not None:
        yield Headline(
            percent(clean["passed_accuracy"]), "accuracy of what passes", f"all: {percent(clean['accuracy'])}"
        )
    budget = "no budget" if manifest.budget is None else f"budget: {manifest.budget:g}"
    yield Headline(f"{manifest.figures.cost:.2f}", "times the time of the model", budget)


def _interval(found: Plain) -> str:
    return f"{percent(found['low'])} to {percent(found['high'])}"


def _page(found: Plain, manifest: Manifest, groups: Mapping[str, list[Entry]]) -> str:
    figures, shown = found["report"], found["curves"]
    threshold, roc = figures["threshold"], shown["roc"]
    natural = {name: one for name, one in shown["false_alarms"].items() if name != "clean"}
    most = sorted(natural.items(), key=lambda pair: -pair[1]["value"])[:MOST_KINDS]
    return rendered(
        "evaluation.html.j2",
        title=f"Evaluation of {Path(found['artifact']).name}",
        found=found,
        cost_in_words=cost(manifest),
        detection=plots.rates(
            "detection", "Successful attacks flagged", "Dots are measured, lines are 95 % intervals.",
            shown["detection"], kind="attacked", head="attack",
        ),
        natural=plots.rates(
            "natural", "Naturally changed images flagged",
            "Each flag is a false alarm. Lines are 95 % intervals, the dashed one is the promise for plain images.",
            dict(most), kind="natural", head="change", promised=figures["target"],
        ),
        histogram=plots.histogram(shown["histogram"], threshold),
        roc=None if roc is None else plots.roc(roc, threshold),
        calibration=plots.calibration(shown["calibration"], figures["target"]),
        cost=plots.cost(manifest),
        groups=groups,
    )  # fmt: skip
