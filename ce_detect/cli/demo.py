"""``ce-detect demo``: the main job on an embedded default."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ce_detect.cli import _options as options
from ce_detect.cli._figures import print_gate
from ce_detect.cli._files import check_writable, write
from ce_detect.cli._output import print_json, print_listing, print_pairs
from ce_detect.core import extras
from ce_detect.core.errors import MissingExtraError
from ce_detect.core.progress import reported
from ce_detect.reporting import document
from ce_detect.reporting.words import percent

if TYPE_CHECKING:  # torch takes long to import, and help needs none of it
    from ce_detect.guard.demonstration import Demonstration
    from ce_detect.reporting.demonstration import Example

EXPLANATION = "an attacked image counts where it fools the classifier; each flag of another image is a false alarm"


@click.command("demo")
@click.option(
    "--fresh",
    is_flag=True,
    help="Make everything anew, with a temporary cache: the attacks and the choice of interventions, too.",
)
@click.option("--output", type=options.FILE, help="Keep the artifact in this file.")
@click.option(
    "--html",
    "page",
    type=options.FILE,
    default=Path("demo.html"),
    show_default=True,
    help="The page to open afterwards.",
)
@options.every_command(seed=0)
def command(fresh: bool, output: Path | None, page: Path, as_json: bool, seed: int) -> None:
    """Show the main job on the model and images that come with ce-detect.

    Calibrates a detector for a small Fashion-MNIST classifier. Measures it on other images, also under an attack that
    calibration did not contain. Writes a page with images, verdicts and maps. Attacked images and a choice of
    interventions come along. With --fresh they are made anew, which takes some minutes more.
    """
    pages = _pages(page)
    for path in [*pages, *([] if output is None else [output])]:
        check_writable(path)
    from ce_detect import Attack, CalibrationSettings, Recipe
    from ce_detect.guard.demonstration import demonstrate

    with reported() as progress, _cache(fresh) as cache:
        settings = CalibrationSettings.of(
            recipe=Recipe.load("quick"), fpr=0.05, budget=3.0, seed=seed, cache=cache, progress=progress
        )
        found = demonstrate(settings, unseen=Attack.of("apgd-dlr"), fresh=fresh)
        started = time.perf_counter()
        write(found.document, pages)
        found.seconds["explain some verdicts and write the page"] = round(time.perf_counter() - started, 2)
    if output is not None:
        found.guard.save(output)
    if as_json:
        print_json(found.to_dict())
    else:
        _print(found, output, pages)


def _pages(page: Path) -> list[Path]:
    """The page, or nothing where what draws it is not installed."""
    try:
        document.check(page)
        extras.module("captum", "A page with maps", extra="explain")
    except MissingExtraError as error:
        click.echo(f"no page will be written: {error}", err=True)
        return []
    return [page]


@contextmanager
def _cache(fresh: bool) -> Iterator[Path | None]:
    if not fresh:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="ce-detect-demo-") as folder:
        try:
            yield Path(folder)
        except KeyboardInterrupt:
            click.echo("interrupted: of a --fresh demo nothing is kept", err=True)
            raise click.exceptions.Exit(130) from None


def _print(found: Demonstration, output: Path | None, pages: list[Path]) -> None:
    data = found.document.data
    kept = "" if output is None else f", kept in {output}"
    print_gate(f"A detector for the demo classifier{kept}", found.manifest, found.guard.threshold)
    rows = [(line["name"], line["value"], line["meaning"]) for line in data["figures"]]
    print_listing("On images that calibration did not see", ("figure", "value", "what it means"), rows)
    attacks = [
        (name + (" (new to the detector)" if name in data["unseen"] else ""), percent(one["success_rate"]),
         percent(one["detection_rate_successes"]))
        for name, one in data["report"]["attacks"].items()
    ]  # fmt: skip
    print_listing(f"Each attack: {EXPLANATION}", ("attack", "fools the classifier", "of these flagged"), attacks)
    for judged in found.judged:
        click.echo(in_words(judged))
    print_pairs("\nWhere time went", {stage: f"{seconds:.1f} s" for stage, seconds in found.seconds.items()})
    if found.shipped:
        click.echo("The attacked images and the choice of interventions ship with ce-detect; --fresh makes them anew.")
    click.echo(f"A gated forward takes {found.cost:.2f} times the model alone, measured just now.")
    for page in pages:
        click.echo(f"Open {page} for the images, their maps and all figures.")


def in_words(judged: Example) -> str:
    """A verdict as a sentence."""
    image = {"clean": f"Image {judged.image}", "natural": "  after", "attacked": "  after"}[judged.kind]
    verdict = "it is flagged" if judged.is_adversarial else "it passes"
    return (
        f"{image} {judged.change or f'({judged.true_class})'}: the classifier says {judged.decision}, {verdict}: "
        f"{percent(judged.p_value)} of clean images look at least as adversarial."
    )
