"""``ce-detect demo``: the main job on an embedded default."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ce_detect.cli import _options as options
from ce_detect.cli._figures import print_gate, print_report
from ce_detect.cli._files import check_writable
from ce_detect.cli._output import print_json, print_pairs
from ce_detect.core.progress import reported
from ce_detect.reporting.words import percent

if TYPE_CHECKING:  # torch takes long to import, and help needs none of it
    from ce_detect.guard.demonstration import Demonstration, Example


@click.command("demo")
@click.option("--fresh", is_flag=True, help="Use a temporary cache: everything is computed anew.")
@click.option("--output", type=options.FILE, help="Keep the artifact in this file.")
@options.every_command(seed=0)
def command(fresh: bool, output: Path | None, as_json: bool, seed: int) -> None:
    """Show the main job on the model and images that come with ce-detect.

    Calibrates a detector for a small Fashion-MNIST classifier. Measures it on other images, also under an attack that
    calibration did not contain. Judges one image before and after an attack. Takes a few minutes.
    """
    if output is not None:
        check_writable(output)
    from ce_detect import Attack, CalibrationSettings, Recipe
    from ce_detect.guard.demonstration import Sizes, demonstrate

    recipe = Recipe.load("quick")
    shown = next(attack for attack in reversed(recipe.attacks) if attack.kind == "pgd")
    with reported() as progress, _cache(fresh) as cache:
        settings = CalibrationSettings.of(
            recipe=recipe, fpr=0.05, budget=3.0, seed=seed, cache=cache, progress=progress
        )
        found = demonstrate(settings, sizes=Sizes(), unseen=Attack.of("apgd-dlr"), shown=shown, output=output)
    if as_json:
        print_json(found.to_dict())
    else:
        _print(found, output)


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


def _print(found: Demonstration, output: Path | None) -> None:
    kept = "" if output is None else f", kept in {output}"
    print_gate(f"A detector for the demo classifier{kept}", found.manifest, found.threshold)
    print_report("Held out", found.report)
    click.echo(f"not in the calibration: {', '.join(found.unseen)}")
    click.echo(f"a gated forward takes {found.cost:.2f} times the model alone, measured now\n")
    for judged in found.judged:
        click.echo(in_words(judged))
    click.echo()
    print_pairs("Where time went", {stage: f"{seconds:.1f} s" for stage, seconds in found.seconds.items()})


def in_words(judged: Example) -> str:
    """A verdict as a sentence."""
    image = "A clean image" if judged.kind == "clean" else f"The same image after {judged.kind}"
    verdict = "it is flagged as adversarial" if judged.is_adversarial else "it passes"
    return (
        f"{image} ({judged.true_class}): the classifier says {judged.decision}, and {verdict}. "
        f"About {percent(judged.p_value)} of clean images look at least as adversarial (p-value {judged.p_value:.3f})."
    )
