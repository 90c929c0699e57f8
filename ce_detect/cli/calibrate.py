"""``ce-detect calibrate``: from a model and clean images to an artifact."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ce_detect.cli import _options as options
from ce_detect.cli._figures import print_gate, print_report
from ce_detect.cli._files import check_writable
from ce_detect.cli._output import print_json
from ce_detect.core.resizing import Interpolation, Resizing, Size


class _Seed(click.ParamType[int | str]):
    """``random`` or a whole number."""

    name = "seed"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Return ``"random"`` or a number at least 0."""
        return "random" if value == "random" else int(click.IntRange(min=0).convert(value, param, ctx))


SEED = _Seed()


@click.command("calibrate")
@options.model_options()
@options.decision_options()
@options.data_options()
@options.resizing_options()
@click.option("--recipe", default="default", show_default=True, help="Name of a shipped recipe, or a .toml file.")
@click.option(
    "--fpr",
    type=options.SHARE,
    default=0.01,
    show_default=True,
    help="Largest share of clean inputs that may be flagged.",
)
@click.option(
    "--budget",
    type=click.FloatRange(min=1, min_open=True),
    default=2.0,
    show_default=True,
    help="Largest cost of a gated forward, the model alone being 1.0; 'inf' for no limit.",
)
@click.option(
    "--guarantee",
    type=click.Choice(["pac", "marginal"]),
    default="pac",
    show_default=True,
    help="Whether --fpr holds for this very gate (pac) or on average over calibrations (marginal).",
)
@click.option("--confidence", type=options.SHARE, default=0.95, show_default=True, help="Probability that pac holds.")
@click.option(
    "--bounds",
    nargs=2,
    type=float,
    default=None,
    metavar="LOW HIGH",
    help="Valid pixel range; by default found in the data.",
)
@click.option(
    "--harden",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="ROUNDS",
    help="Train a copy of the model that small perturbations do not fool. Then attack the detector itself, so many "
    "times, and let it learn from what gets through.",
)
@click.option(
    "--harden-with",
    metavar="DATA",
    help="Further images for the training of that copy, for example those that the model was trained on.",
)
@click.option("--harden-split", metavar="NAME", help="Which split of them.")
@click.option(
    "--natural",
    type=options.FILE,
    help="TOML file with [[corruption]] tables: natural changes of your own that count as clean, too. A kind is one of "
    "ours, or 'path/to/file.py:function'.",
)
@click.option(
    "--also-clean",
    metavar="DATA",
    help="Images from where the gate will stand, without labels. They count as clean, and the promise holds for them.",
)
@click.option(
    "--also-attacked",
    metavar="DATA",
    help="Attacks that people found, without labels: attacks.npz of ce-detect console. The gate learns from them.",
)
@click.option(
    "--counterfactual",
    type=options.FILE,
    help="What 'counterfactual train' wrote: showing inputs as another class, and their fakeness, are tried, too.",
)
@click.option(
    "--secret-seed",
    type=SEED,
    default=None,
    metavar="random|N",
    help="Draw random interventions from the system's randomness, or from N, instead of --seed. The artifact, its "
    "manifest and exported graphs hold the seed and then are secrets.",
)
@click.option(
    "--cascade",
    is_flag=True,
    help="Let a first, cheap look clear most clean inputs, and intervene on the others only. The budget then holds on "
    "average over clean traffic.",
)
@click.option(
    "--deploy",
    type=click.Choice(["fp32", "fp16", "int8"]),
    default="fp32",
    show_default=True,
    help="Precision of the classifier in the exported graph. Threshold and test figures are then those of that graph, "
    "and export writes it.",
)
@options.attack_options()
@click.option(
    "--output", type=options.FILE, default=Path("guard.safetensors"), show_default=True, help="The artifact to write."
)
@options.every_command(seed=0)
def command(
    model: str,
    weights: Path | None,
    multi_label: bool,
    label: int | None,
    data: str,
    split: str | None,
    limit: int | None,
    bounds: tuple[float, float] | None,
    output: Path,
    as_json: bool,
    harden_with: str | None,
    harden_split: str | None,
    natural: Path | None,
    also_clean: str | None,
    also_attacked: str | None,
    resize: Size | None,
    crop: Size | None,
    interpolation: Interpolation | None,
    **settings: Any,
) -> None:
    """Make a detector for a model from clean images.

    The images are ones that the model was not trained on. They are attacked as the recipe says; finished work is
    kept in the cache, so an interrupted calibration goes on where it stopped.
    """
    check_writable(output)
    if harden_split is not None and harden_with is None:
        raise click.UsageError("--harden-split names a split of --harden-with, which is not given")
    if interpolation is not None and resize is None:
        raise click.UsageError("--interpolation is the filter of --resize, which is not given")
    from ce_detect import CalibrationSettings, DetectedModel, load_data, load_model
    from ce_detect.calibrate import enough

    resizing = Resizing.of(resize, crop, interpolation or "bilinear")
    further = None if harden_with is None else load_data(harden_with, split=harden_split, resizing=resizing)
    field = None if also_clean is None else load_data(also_clean, resizing=resizing)
    attacks = None if also_attacked is None else load_data(also_attacked, resizing=resizing)
    asked = CalibrationSettings.of(
        harden_with=further, natural=natural or (), also_clean=field, also_attacked=attacks, **settings
    )
    images = load_data(data, split=split, limit=limit, resizing=resizing)
    enough.check(len(images), asked)  # before the model is loaded; calibrate asks again, of the distinct ones
    guard = DetectedModel(
        load_model(model, weights), bounds=bounds, multi_label=multi_label, label=label, resizing=resizing
    )
    guard.calibrate(images, settings=asked)
    guard.save(output)
    if as_json:
        print_json({"output": str(output), "manifest": guard.manifest})
        return
    manifest = guard.calibrated.manifest
    print_gate(f"Calibrated: {output}", manifest, guard.threshold)
    if manifest.figures.test is not None:
        print_report("Test split", manifest.figures.test)
