"""``ce-detect evaluate``: figures of an artifact on new images, and checks on them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ce_detect.cli import _options as options
from ce_detect.cli._figures import print_report
from ce_detect.cli._files import write
from ce_detect.cli._output import print_json
from ce_detect.core.errors import UsageError
from ce_detect.reporting.words import exact_percent, percent

if TYPE_CHECKING:  # torch takes long to import, and help needs none of it
    from ce_detect import Attack


@click.command("evaluate")
@click.argument("guard", type=options.FILE)
@options.model_options()
@options.trust_options()
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
@click.option(
    "--gallery",
    type=click.IntRange(min=0),
    default=2,
    show_default=True,
    help="Flagged inputs of each kind that a page shows with maps, some hundred forward passes each; 0 for none.",
)
@options.out_option()
@options.every_command(seed=1)
@click.pass_context
def command(
    context: click.Context,
    /,
    guard: Path,
    model: str,
    weights: Path | None,
    sha256: str | None,
    trusted_key: Path | None,
    data: str,
    split: str | None,
    limit: int | None,
    recipe: str | None,
    names: tuple[str, ...],
    corruptions: bool,
    max_fpr: float | None,
    min_detection: float | None,
    gallery: int,
    out: tuple[Path, ...],
    as_json: bool,
    **settings: Any,
) -> None:
    """Measure a detector on images that its calibration did not see.

    Exits with 1 where a check fails.
    """
    attacks = _attacks(recipe, names)
    from ce_detect import DetectedModel, load_data, load_model
    from ce_detect.data.corruptions import MILD
    from ce_detect.reporting import evaluation

    examples = evaluation.examples(gallery, out)
    loaded = DetectedModel.load(guard, load_model(model, weights), sha256=sha256, trusted_key=trusted_key)
    images = load_data(data, split=split, limit=limit, resizing=loaded.wrapped.resizing)
    report = loaded.evaluate(
        images, attacks=attacks, corruptions=MILD if corruptions else (), examples=examples, **settings
    )
    found = evaluation.document(
        report, loaded.calibrated.manifest, loaded.gate, artifact=str(guard), data=data, seed=settings["seed"],
        max_fpr=max_fpr, min_detection=min_detection,
    )  # fmt: skip
    write(found, out)
    if as_json:
        print_json(found.data)
    else:
        print_report(str(guard), found.data["report"])
        _print_checks(found.data["checks"])
    context.exit(0 if all(check["passed"] for check in found.data["checks"]) else 1)


def _attacks(recipe: str | None, names: tuple[str, ...]) -> tuple[Attack, ...] | None:
    """The attacks that were asked for; None for those of the artifact."""
    if recipe is not None and names:
        raise UsageError("--recipe and --attack both name attacks; give one of them")
    if recipe is None and not names:
        return None
    from ce_detect import Attack, Recipe

    return tuple(Attack.of(name) for name in dict.fromkeys(names)) if recipe is None else Recipe.load(recipe).attacks


def _print_checks(checks: list[dict[str, Any]]) -> None:
    for check in checks:
        verdict = "passed" if check["passed"] else "FAILED"
        click.echo(
            f"check {check['name']} {exact_percent(check['limit'])}: {verdict}, measured {percent(check['value'])}"
        )
