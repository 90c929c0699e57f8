"""A model card of a detector (Mitchell et al. 2019, arXiv 1810.03993): intended use, limits, figures.

One set of plain data is a section of each page, part of what `--json` prints, and a Markdown file. That file begins
with YAML as the Hugging Face hub reads it; without the YAML it is short enough for a description in MLflow.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ce_detect.artifacts.manifest import Manifest
from ce_detect.reporting import words
from ce_detect.reporting.page import rendered

Plain = Mapping[str, Any]


def model_card(
    manifest: Manifest, *, artifact: str, data: str = "", report: Plain | None = None, red_team: Plain | None = None
) -> dict[str, Any]:
    """Return a card as plain data.

    Args:
        manifest: of the detector.
        artifact: the name of its file.
        data: what the figures of ``report`` were measured on.
        report: plain `ce_detect.evaluate.report.Report`; by default that of the calibration's own test split.
        red_team: plain `ce_detect.redteam.red_team.RedTeam`, where there was one.
    """
    if report is None:
        data, report = "test split of the calibration", manifest.figures.test
    return {
        "name": Path(artifact).name,
        "intended_use": _use(manifest),
        "limits": _limits(manifest, report, red_team),
        "figures": _figures(report, red_team),
        "measured_on": Path(data).name,
        "details": _details(manifest),
    }


def markdown(card: Plain) -> str:
    """Return a card as Markdown with YAML front matter.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    return rendered("model_card.md.j2", card=card)


def _use(manifest: Manifest) -> list[str]:
    model = manifest.model
    shape, (low, high) = " x ".join(map(str, model.input_shape)), model.bounds
    return [
        f"Stands in front of one image classifier and flags inputs that look attacked. Inputs: {shape}, pixels from "
        f"{low:g} to {high:g}.",
        "A flag means: attacked, or the classifier is unsure here. Abstain, fall back, or have a person look.",
        f"Belongs to the classifier with the fingerprint {model.fingerprint[:12]}; for any other its promise is void.",
    ]


def _limits(manifest: Manifest, report: Plain | None, red_team: Plain | None) -> list[str]:
    recipe = manifest.recipe
    taught = ", ".join(recipe.learned_from) or "no attack at all"
    kinds = ", ".join(dict.fromkeys(str(spec["kind"]) for spec in recipe.corruptions)) or "none"
    found = [
        f"The promise is: {words.promise(manifest)}. It holds for inputs like those of the calibration.",
        f"Learned from: {taught}. Other attacks may get through more often.",
        f"Natural change that counts as clean: {kinds}. Other kinds may be flagged more often.",
    ]
    if report is not None and report["clean"]["accuracy"] is not None:
        wrong, right = (report["clean"][f"false_positive_rate_{which}"] for which in ("misclassified", "correct"))
        found.append(
            f"Of the clean inputs that the classifier gets wrong {words.percent(wrong)} are flagged, of the others "
            f"{words.percent(right)}."
        )
    if red_team is None:
        found.append("What an attacker can do who knows this detector is not measured here; `ce-detect redteam` does.")
    else:
        ratio, at_least = red_team["ratio"], "at least " if red_team["ratio_is_bound"] else ""
        found.append(
            f"An attacker who knows this detector needs {at_least}{ratio['value']:.2f} times the perturbation (95 % "
            f"interval {ratio['low']:.2f} to {ratio['high']:.2f}). At 1 it costs them nothing."
        )
    return found


def _figures(report: Plain | None, red_team: Plain | None) -> list[dict[str, Any]]:
    """Name, metric and value of each figure that there is."""
    found: list[tuple[str, str, float | None]] = []
    if report is not None:
        clean = report["clean"]
        natural = [one["false_positive_rate"] for one in report["corruptions"].values()]
        mean = sum(natural) / len(natural) if natural else None
        found += [
            ("clean images flagged", "false_positive_rate", clean["false_positive_rate"]),
            ("naturally changed images flagged, mean over kinds", "false_positive_rate", mean),
            ("accuracy of the classifier", "accuracy", clean["accuracy"]),
            ("accuracy on what passes", "accuracy", clean["passed_accuracy"]),
            ("successful attacks flagged, mean over attacks", "detection_rate", words.mean_detection(report)),
        ]
        for name, one in report["attacks"].items():
            found.append((f"{name}: flagged when successful", "detection_rate", one["detection_rate_successes"]))
            found.append((f"{name}: AUROC when successful", "roc_auc", one["auroc_successes"]))
    if red_team is not None:
        name = f"radius ratio on {red_team['images']} images, the attacker knows the detector"
        found.append((name, "radius_ratio", red_team["ratio"]["value"]))
    return [
        {"name": name, "metric": metric, "value": float(f"{value:.4g}")}
        for name, metric, value in found
        if value is not None
    ]


def _details(manifest: Manifest) -> dict[str, str]:
    data, recipe = manifest.data, manifest.recipe
    splits = ", ".join(f"{name} {size}" for name, size in data.splits.items())
    return {
        "promise": words.promise(manifest),
        "cost": words.cost(manifest),
        "interventions": "; ".join(words.interventions(manifest)) or "none: what one forward pass gives, alone",
        "calibrated on": f"{data.images} images ({splits}), fingerprint {data.fingerprint[:12]}",
        "recipe": f"{recipe.name}, head {recipe.head}, seed {manifest.seed}",
        "versions": ", ".join(f"{name} {version}" for name, version in manifest.versions.items()),
    }
