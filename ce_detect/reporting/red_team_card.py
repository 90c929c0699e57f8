"""The report card of a red team: plain data for programs, one HTML file without scripts for people."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

from ce_detect.core import extras
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
_PURPOSE = "A report card as HTML"

_WIDTH, _HEIGHT = 576, 288
"""Of the plot, in points."""

_TICKS = 8
"""Bounds that have room below the plot, at most."""

_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)

_CURVES: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("fooled", {"color": "#777777", "linestyle": "--"}, "the classifier alone is fooled"),
    ("evaded", {"color": "#b3261e"}, "classifier and gate are"),
)
"""What is drawn: name in the report, line, and label."""

_STYLE = {"svg.hashsalt": "ce-detect", "svg.fonttype": "none"}
"""The same card gives the same bytes, and its words stay words."""


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
        MissingExtraError: jinja2 or matplotlib is not installed.
    """
    with extras.needed_for(_PURPOSE):
        from jinja2 import Environment, FileSystemLoader
        from markupsafe import Markup
    folder = Path(__file__).parent / "templates"
    environment = Environment(loader=FileSystemLoader(folder), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.get_template("red_team_card.html.j2")
    curves = Markup(_curves(card["report"]))
    low, high = card["model"]["bounds"]
    return template.render(
        card=card,
        curves=curves,
        in255=lambda part: f"{255 * part:.3g}",
        in_pixels=lambda part: f"{(high - low) * part:.3g}",
    )


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(inner) for inner in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def _curves(report: dict[str, Any]) -> str:
    """Both curves as an SVG element; the same numbers stand in a table of the page."""
    with extras.needed_for(_PURPOSE):
        from matplotlib import style
        from matplotlib.figure import Figure

    low, high = report["levels"][0], report["levels"][-1]
    powers = [power for power in range(-16, 9) if low * 0.999 <= 2.0**power / 255 <= high * 1.001]
    powers = powers[:: -(-len(powers) // _TICKS)]
    with style.context(["default", _STYLE]):
        figure = Figure(figsize=(_WIDTH / 72, _HEIGHT / 72), layout="constrained")
        axes = figure.add_subplot(xscale="log", xlim=(low, high), ylim=(0, 1), xlabel="bound on the perturbation")
        axes.set_xticks([2.0**power / 255 for power in powers], [f"{2.0**power:.3g}/255" for power in powers])
        axes.set_yticks(_SHARES, [f"{share:.0%}" for share in _SHARES])
        axes.minorticks_off()
        axes.tick_params(bottom=False, left=False, pad=6)
        axes.grid(axis="y", color="#dddddd", clip_on=False)
        axes.spines[["top", "left", "right"]].set_visible(False)
        for name, line, label in _CURVES:
            axes.plot(report["levels"], report[name], **line, label=label, gid=name, clip_on=False)
        figure.legend(loc="outside upper left", ncols=len(_CURVES), frameon=False)
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    inside = drawn.getvalue().partition("<svg")[2].partition(">")[2]  # a page needs no header and no namespaces
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="Share of images against bound">{inside}'
