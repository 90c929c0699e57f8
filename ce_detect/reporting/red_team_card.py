"""The report card of a red team: plain data for programs, a page and a model card for people."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ce_detect.artifacts.manifest import Manifest
from ce_detect.core.types import Bounds
from ce_detect.evaluate.curves import Rate, rate
from ce_detect.redteam.examples import PastTheGate
from ce_detect.redteam.red_team import RedTeam
from ce_detect.reporting import pictures, plots
from ce_detect.reporting.document import Document, Headline, Verdict, rounded
from ce_detect.reporting.gallery import picture
from ce_detect.reporting.model_card import model_card
from ce_detect.reporting.page import rendered
from ce_detect.reporting.words import interventions, percent, under_attack_rows

_OPEN = (
    "The attacker knows everything: the classifier, the gate, its threshold and the seeds of its random interventions, "
    "and follows gradients through all of it."
)
_SECRET = (
    "The attacker knows the classifier, the gate and its threshold, but not the seeds of its random interventions, and "
    "attacks the expectation over seeds of their own."
)

PIXELS = ("before", "pixels")
"""What of an input that got through is shown on the page alone."""


def document(
    report: RedTeam, manifest: Manifest, *, artifact: str, bar: float | None, secret_seeds: bool = False
) -> Document:
    """Make a report card.

    Args:
        report: what the red team found.
        manifest: of the detector.
        artifact: what the card calls the detector.
        bar: smallest radius ratio that passes; None for none.
        secret_seeds: whether the attacker did not know the seeds.

    Returns:
        The card; ``"passed"`` in its data says whether the ratio reaches the bar and all checks of the attack passed.
    """
    checks_passed = all(check.passed for check in report.checks)
    model = manifest.model
    found: dict[str, Any] = rounded(
        {
            "artifact": artifact,
            "passed": checks_passed and (bar is None or report.ratio.value >= bar),
            "bar": bar,
            "checks_passed": checks_passed,
            "threat_model": _SECRET if secret_seeds else _OPEN,
            "model": {
                "fingerprint": model.fingerprint,
                "input_shape": model.input_shape,
                "num_classes": model.num_classes,
                "bounds": model.bounds,
            },
            "interventions": interventions(manifest),
            "head": manifest.recipe.head,
            "cascade": manifest.cascade,
            "hardening": len(manifest.figures.hardening),
            "fpr": manifest.fpr,
            "guarantee": manifest.guarantee,
            "versions": manifest.versions,
            "report": report.to_dict(),
            "past_the_gate": [
                {name: value for name, value in asdict(one).items() if name not in PIXELS} for one in report.examples
            ],
            "by_attack": {name: asdict(_rate(share, report.images)) for name, share in report.by_attack.items()},
        }
    )
    found["model_card"] = model_card(manifest, artifact=artifact, red_team=found["report"])
    found["verdict"] = asdict(_verdict(found))
    return Document(found, lambda: _page(found, report.examples))


def _rate(share: float, images: int) -> Rate:
    return rate(np.arange(images) < round(share * images))


def _verdict(found: dict[str, Any]) -> Verdict:
    report, bar, passed = found["report"], found["bar"], found["passed"]
    ratio, alone, joint = report["ratio"], report["radius_alone"], report["radius_joint"]
    at_least = "at least " if report["ratio_is_bound"] else ""
    enough = "No bar was set, so nothing says whether that is enough." if bar is None else f"The bar is {bar}."
    details = [f"Radius ratio {at_least}{ratio['value']}, 95 % interval {ratio['low']} to {ratio['high']}. {enough}"]
    if report["censored"]:
        details.append("The ratio is censored: many images fool the classifier alone at the smallest bound tried.")
    if not found["checks_passed"]:
        details.append("A check of the attack failed, so its figures may flatter the detector.")
    return Verdict(
        state="failed" if not passed else "measured" if bar is None else "passed",
        label="Failed" if not passed else "Measured" if bar is None else "Passed",
        headline=f"An attacker who knows the gate needs {at_least}{ratio['value']:.2f} times the perturbation.",
        details=tuple(details),
        figures=(
            Headline(f"{255 * alone['value']:.3g}/255", "fools the classifier alone", "median perturbation"),
            Headline(f"{255 * joint['value']:.3g}/255", "fools classifier and gate", "median perturbation"),
            Headline(str(report["images"]), "images", f"{percent(report['flagged_clean'])} flagged before any attack"),
        ),
    )


def _gallery(examples: tuple[PastTheGate, ...], bounds: Bounds) -> list[dict[str, Any]]:
    """Each input that got through: before, after, and what was changed."""
    low, high = bounds
    shown = []
    for one in examples:
        name = f"image {one.image}"
        before, after = ((pixels - low) / (high - low) for pixels in (one.before, one.pixels))
        change = after - before
        times = pictures.strength(change) / 2
        images = [
            picture(f"before: score {one.score_before:.2f}", f"{name} before the attack", pictures.plain(before)),
            picture(f"got through: score {one.score:.2f}", f"{name} as it got through", pictures.plain(after)),
            picture(
                f"the difference, {times:.3g} times as strong", f"What the attack changed in {name}",
                pictures.difference(change),
            ),
        ]  # fmt: skip
        shown.append({"name": name, "example": one, "pictures": images})
    return shown


def _page(found: dict[str, Any], examples: tuple[PastTheGate, ...]) -> str:
    report, (low, high) = found["report"], found["model"]["bounds"]
    return rendered(
        "red_team_card.html.j2",
        title=f"Red team report card: {Path(found['artifact']).name}",
        found=found,
        radii=plots.radii(report),
        by_attack=plots.rates(
            "by-attack",
            "Each attack on its own",
            "Share of images with which it gets through, within the median joint radius. Lines are 95 % intervals.",
            found["by_attack"],
            kind="attacked",
            head="attack",
        ),
        under_attack=under_attack_rows(report),
        gallery=_gallery(examples, (low, high)),
        in255=lambda part: f"{255 * part:.3g}",
        in_pixels=lambda part: f"{(high - low) * part:.3g}",
        interval=lambda one: f"{one['value']} ({one['low']} to {one['high']})",
    )
