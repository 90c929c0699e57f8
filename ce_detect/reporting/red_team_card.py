"""The report card of a red team: plain data for programs, one HTML file without scripts for people."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from ce_detect.core.errors import MissingExtraError
from ce_detect.redteam.red_team import RedTeam

DIGITS = 5
"""Significant digits of figures in a card."""

_OPEN = (
    "The attacker knows everything: the classifier, the gate, its threshold and the seeds of its random interventions, "
    "and follows gradients through all of it."
)
_SECRET = (
    "The attacker knows the classifier, the gate and its threshold, but not the seeds of its random interventions, and "
    "attacks the expectation over seeds of their own."
)
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _BOTTOM = 640, 300, 44, 28, 30


def card(
    report: RedTeam, manifest: dict[str, Any], *, artifact: str, bar: float | None, secret_seeds: bool = False
) -> dict[str, Any]:
    """Make a report card, as plain data.

    Args:
        report: what the red team found.
        manifest: of the detector, see `ce_detect.DetectedModel.manifest`.
        artifact: what the card calls the detector.
        bar: smallest radius ratio that passes; None for none.
        secret_seeds: whether the attacker did not know the seeds.

    Returns:
        The card; ``"passed"`` says whether the ratio reaches the bar and all checks of the attack passed.
    """
    checks_passed = all(check.passed for check in report.checks)
    enough = bar is None or report.ratio.value >= bar
    model = manifest["model"]
    found: dict[str, Any] = _rounded(
        {
            "artifact": artifact,
            "passed": checks_passed and enough,
            "bar": bar,
            "checks_passed": checks_passed,
            "threat_model": _SECRET if secret_seeds else _OPEN,
            "model": {key: model[key] for key in ("fingerprint", "input_shape", "num_classes", "bounds")},
            "interventions": _interventions(manifest),
            "head": manifest["recipe"]["head"],
            "cascade": manifest.get("cascade", False),
            "hardening": len(manifest["figures"].get("hardening", [])),
            "fpr": manifest["fpr"],
            "guarantee": manifest["guarantee"],
            "versions": manifest["versions"],
            "report": report.to_dict(),
        }
    )
    return found


def _interventions(manifest: dict[str, Any]) -> list[str]:
    """Names of the interventions, without the seeds that are secret: a card is there to be shown."""
    names = manifest["signature"]["names"]
    return [re.sub(r"\bseed=\d+", "seed=secret", name) for name in names] if manifest.get("secret_seed") else names


def html(card: dict[str, Any]) -> str:
    """Return a card as one self-contained HTML page.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, FileSystemLoader
        from markupsafe import Markup
    except ImportError as error:
        raise MissingExtraError("jinja2", "report", "A report card as HTML") from error
    folder = Path(__file__).parent
    environment = Environment(loader=FileSystemLoader(folder), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.get_template("card.html.j2")
    curve = Markup(_curve(card["report"]))
    return template.render(card=card, curve=curve, in255=lambda part: round(255 * part, 2))


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(inner) for inner in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def _curve(report: dict[str, Any]) -> str:
    """Both curves as SVG; the same numbers stand in a table of the page."""
    levels = report["levels"]
    low, high = math.log(levels[0]), math.log(levels[-1])

    def at(level: float, share: float) -> tuple[float, float]:
        x = _LEFT + (math.log(level) - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)
        return round(x, 1), round(10 + (1 - share) * (_HEIGHT - _BOTTOM - 10), 1)

    def line(shares: list[float], colour: str) -> str:
        points = " ".join(f"{x},{y}" for x, y in map(at, levels, shares))
        return f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{points}"/>'

    marks = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = at(levels[0], share)
        marks.append(f'<line x1="{x}" y1="{y}" x2="{_WIDTH - _RIGHT}" y2="{y}" stroke="#ddd"/>')
        marks.append(f'<text x="{x - 6}" y="{y + 4}" text-anchor="end">{share:.0%}</text>')
    for power in range(-4, 9):
        level = 2.0**power / 255
        if levels[0] * 0.999 <= level <= levels[-1] * 1.001:
            x, y = at(level, 0)
            marks.append(f'<text x="{x}" y="{y + 18}" text-anchor="middle">{2.0**power:g}/255</text>')
    drawn = "".join([*marks, line(report["fooled"], "#888"), line(report["evaded"], "#b3261e")])
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="Share of images against bound">{drawn}</svg>'
