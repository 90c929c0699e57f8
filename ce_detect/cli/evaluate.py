"""``ce-detect evaluate``: figures of an artifact on new images, and checks on them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ce_detect.cli import _options as options
from ce_detect.cli._figures import mean_detection, print_report
from ce_detect.cli._files import check_writable, write_json
from ce_detect.cli._output import exact_percent, percent, print_json
from ce_detect.core.errors import UsageError

if TYPE_CHECKING:  # torch takes long to import, and help needs none of it
    from ce_detect import Attack


@click.command("evaluate")
@click.argument("guard", type=options.FILE)
@options.model_options()
@options.data_options()
@click.option("--recipe", help="Take the attacks of this recipe; by default those of the artifact's own.")
@click.option("--attack", "names", multiple=True, metavar="NAME", help="Use this attack instead, as often as you like.")
@options.attack_options()
@click.option(
    "--corruptions/--no-corruptions", default=True, show_default=True, help="Count false alarms under natural change."
)
@click.option("--max-fpr", type=click.FloatRange(0, 1), help="Check: share of clean inputs that is flagged.")
@click.option(
    "--min-detection",
    type=click.FloatRange(0, 1),
    help="Check: share of successful attacks that is flagged, mean over attacks.",
)
@click.option("--output", type=options.FILE, help="Write the figures to this JSON file.")
@options.every_command(seed=1)
@click.pass_context
def command(
    context: click.Context,
    /,
    guard: Path,
    model: str,
    weights: Path | None,
    data: str,
    split: str | None,
    limit: int | None,
    recipe: str | None,
    names: tuple[str, ...],
    corruptions: bool,
    max_fpr: float | None,
    min_detection: float | None,
    output: Path | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Measure a detector on images that its calibration did not see.

    Exits with 1 where a check fails.
    """
    attacks = _attacks(recipe, names)
    if output is not None:
        check_writable(output)
    from ce_detect import DetectedModel, load_data, load_model
    from ce_detect.data.corruptions import MILD

    loaded = DetectedModel.load(guard, load_model(model, weights))
    images = load_data(data, split=split, limit=limit, resizing=loaded.wrapped.resizing)
    report = loaded.evaluate(images, attacks=attacks, corruptions=MILD if corruptions else (), **settings).to_dict()
    checks = _checks(report, max_fpr, min_detection)
    result = {"artifact": str(guard), "seed": settings["seed"], "report": report, "checks": checks}
    if output is not None:
        write_json(output, result)
    if as_json:
        print_json(result)
    else:
        print_report(str(guard), report)
        _print_checks(checks)
    context.exit(0 if all(check["passed"] for check in checks) else 1)


def _attacks(recipe: str | None, names: tuple[str, ...]) -> tuple[Attack, ...] | None:
    """The attacks that were asked for; None for those of the artifact."""
    if recipe is not None and names:
        raise UsageError("--recipe and --attack both name attacks; give one of them")
    if recipe is None and not names:
        return None
    from ce_detect import Attack, Recipe

    return tuple(Attack.of(name) for name in dict.fromkeys(names)) if recipe is None else Recipe.load(recipe).attacks


def _checks(report: dict[str, Any], max_fpr: float | None, min_detection: float | None) -> list[dict[str, Any]]:
    checks: list[dict[str, Any]] = []
    if max_fpr is not None:
        rate = report["clean"]["false_positive_rate"]
        checks.append({"name": "max-fpr", "limit": max_fpr, "value": rate, "passed": rate <= max_fpr})
    if min_detection is not None:
        mean = mean_detection(report)
        passed = mean is not None and mean >= min_detection
        checks.append({"name": "min-detection", "limit": min_detection, "value": mean, "passed": passed})
    return checks


def _print_checks(checks: list[dict[str, Any]]) -> None:
    for check in checks:
        verdict = "passed" if check["passed"] else "FAILED"
        click.echo(
            f"check {check['name']} {exact_percent(check['limit'])}: {verdict}, measured {percent(check['value'])}"
        )
