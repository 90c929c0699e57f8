"""``ce-detect assess``: how easily a model is fooled, and what a gate would do for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ce_detect.cli import _options as options
from ce_detect.cli._files import write
from ce_detect.cli._output import print_json, print_listing
from ce_detect.core.progress import reported
from ce_detect.core.resizing import Interpolation, Resizing, Size
from ce_detect.reporting.words import exact_percent, percent

if TYPE_CHECKING:  # torch takes long to import, and help needs none of it
    from ce_detect.guard.assessment import Assessment
    from ce_detect.reporting.document import Document


@click.command("assess")
@options.model_options()
@options.decision_options()
@options.data_options()
@options.resizing_options()
@click.option(
    "--budget",
    type=click.FloatRange(min=1, min_open=True),
    default=2.0,
    show_default=True,
    help="Largest cost of a gated forward, the model alone being 1.0.",
)
@click.option("--recipe", help="Recipe of the gate; by default quick, or black-box where there are no gradients.")
@click.option("--attack", "names", multiple=True, metavar="NAME", help="Try this attack instead, as often as you like.")
@click.option(
    "--attack-time",
    type=options.Duration(),
    default="5m",
    show_default=True,
    help="Start no new attack after this time.",
)
@click.option("--cache", type=options.FOLDER, help="Where attacked images and costs are kept.")
@click.option("--jobs", type=options.COUNT, help="Processes that attack; by default as many as pay.")
@options.out_option()
@options.every_command(seed=0)
def command(
    model: str,
    weights: Path | None,
    data: str,
    split: str | None,
    limit: int | None,
    resize: Size | None,
    crop: Size | None,
    interpolation: Interpolation | None,
    multi_label: bool,
    label: int | None,
    names: tuple[str, ...],
    out: tuple[Path, ...],
    seed: int,
    as_json: bool,
    **asked: Any,
) -> None:
    """Say how easily a model is fooled, and what a gate would do for it.

    Attacks the model at several strengths, fresh and saved as JPEG. Changes images as cameras and lamps do. Calibrates
    a gate with a quick recipe, and says what it would flag at which false-alarm rate and cost. The images are ones that
    the model was not trained on. Labels are optional. It takes minutes for a small model.
    """
    from ce_detect import Attack, DetectedModel, load_data, load_model
    from ce_detect.guard.assessment import Asked, assess
    from ce_detect.reporting import assessment as page

    resizing = Resizing.of(resize, crop, interpolation or "bilinear")
    images = load_data(data, split=split, limit=limit, resizing=resizing)
    guard = DetectedModel(load_model(model, weights), multi_label=multi_label, label=label, resizing=resizing)
    with reported() as progress:
        attacks = tuple(Attack.of(name) for name in dict.fromkeys(names))
        found = assess(guard, images, Asked(**asked, attacks=attacks, seed=seed, progress=progress))
    facts = ("classes", "input_shape", "bounds", "differentiable", "images", "accuracy")
    document = page.document(
        {name: getattr(found, name) for name in facts}, found.fooled, found.borne, found.choices,
        report=found.report, manifest=None if found.guard is None else found.guard.calibrated.manifest,
        why_not=found.why_not, name=Path(model).name, data=Path(data).name, seed=seed,
    )  # fmt: skip
    write(document, out)
    if as_json:
        print_json(document.data)
    else:
        _print(found, document, out)


def _print(found: Assessment, document: Document, out: tuple[Path, ...]) -> None:
    click.echo(document.data["verdict"]["headline"] + "\n")
    attacks = [
        (name, one["eps"] or "-", percent(one["fresh"]), percent(one["saved"]), percent(one["accuracy"]), one["atlas"])
        for name, one in document.data["fooled"].items()
    ]
    header = ("attack", "bound", "fooled", "fooled when saved as JPEG", "accuracy", "MITRE ATLAS")
    print_listing("The model alone under attack", header, attacks)
    moved = sorted(found.borne.items(), key=lambda pair: -pair[1].changed)[:5]
    rows = [(name, percent(one.changed), percent(one.accuracy)) for name, one in moved]
    title = f"The model alone under natural change: the worst 5 of {len(found.borne)} kinds"
    print_listing(title, ("change", "decisions moved", "accuracy"), rows)
    if found.guard is None:
        click.echo(f"No gate could be made: {found.why_not}")
    else:
        shares = ("clean", "natural", "fresh", "lowest", "saved")
        flagged = [
            (exact_percent(one["asked"]), *(percent(one[share]) for share in shares))
            for one in document.data["gate"]["choices"]
        ]
        header = ("false alarms asked for", "clean", "naturally changed", "attacks", "least", "attacks saved as JPEG")
        print_listing("What a gate would flag", header, flagged)
        click.echo(f"It takes {found.guard.calibrated.manifest.figures.cost:.2f} times the model's time.")
    if out:
        click.echo(f"See {', '.join(map(str, out))}")
