"""``ce-detect counterfactual``: train a counterfactual, and show images as another class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ce_detect.cli import _options as options
from ce_detect.cli._files import check_writable
from ce_detect.cli._output import print_json, print_pairs
from ce_detect.core.errors import UsageError
from ce_detect.core.resizing import Interpolation, Resizing, Size

_SETTINGS = {
    "steps": "Steps of each of the two networks.",
    "batch": "Images in a step.",
    "width": "Channels of the first layers.",
    "depth": "How often the networks halve the image.",
    "rate": "Step size of Adam.",
    "adversarial": "Weight of being of the target class, and not fake.",
    "cycle": "Weight of the way there and back.",
    "identity": "Weight of leaving an image of the target class as it is.",
    "sparsity": "Weight of changing little.",
    "r1": "Weight of the gradient penalty.",
    "augment": "Weight of learning from counterfactuals as adversarial examples.",
    "noise": "Noise that training adds, in parts of the pixel range.",
    "decay": "Decay of the moving average of weights.",
}
"""Numbers of a training, in words; without them those of `ce_detect.counterfactual.settings` hold."""


def _settings(function: Any) -> Any:
    """An option for each number of a training."""
    for name, words in reversed(_SETTINGS.items()):
        kind = int if name in ("steps", "batch", "width", "depth") else float
        function = click.option(f"--{name}", type=kind, help=words)(function)
    return function


@click.group("counterfactual")
def command() -> None:
    """Train what shows images as another class, and show images so.

    One network is classifier and discriminator: K classes, and "fake". A generator shows an image as one of another
    class. The difference says what would have to change.
    """


@command.command("train")
@options.data_options()
@options.resizing_options()
@click.option(
    "--model",
    metavar="SPEC",
    help="Start from this classifier of your own: 'demo', 'package.module:factory', 'path/to/file.py:factory' or an "
    ".onnx file.  [default: from scratch]",
)
@click.option("--weights", type=options.FILE, help="State dict of that model.")
@click.option("--frozen", is_flag=True, help="Keep that classifier as it is, and train the output 'fake' alone.")
@click.option("--mirror", is_flag=True, help="Mirror training images at random.")
@_settings
@click.option("--bounds", nargs=2, type=float, default=None, metavar="LOW HIGH", help="Valid pixel range.")
@click.option("--device", help="Where to train from scratch.  [default: a GPU where there is one]")
@click.option("--cache", type=options.FOLDER, help="Where checkpoints are kept.")
@click.option("--losses", type=options.FILE, help="CSV file for the losses.  [default: beside --out, .csv]")
@click.option("--out", type=options.FILE, default=Path("cf.safetensors"), show_default=True, help="The file to write.")
@options.every_command(seed=0)
def train(
    data: str,
    split: str | None,
    limit: int | None,
    resize: Size | None,
    crop: Size | None,
    interpolation: Interpolation | None,
    model: str | None,
    weights: Path | None,
    bounds: tuple[float, float] | None,
    device: str | None,
    cache: Path | None,
    losses: Path | None,
    out: Path,
    seed: int,
    as_json: bool,
    **settings: Any,
) -> None:
    """Train a K+1 network and a generator on images with their classes.

    A checkpoint is kept now and then: the same command again goes on there.
    """
    check_writable(out)
    if weights is not None and model is None:
        raise click.UsageError("--weights are those of --model, which is not given")
    from ce_detect import load_data, load_model
    from ce_detect.counterfactual import TrainingSettings, fit

    asked = TrainingSettings(seed=seed, **{name: value for name, value in settings.items() if value is not None})
    images = load_data(data, split=split, limit=limit, resizing=Resizing.of(resize, crop, interpolation or "bilinear"))
    own = None if model is None else load_model(model, weights)
    made = fit(
        images, settings=asked, model=own, bounds=bounds, losses_to=losses or out.with_suffix(".csv"), cache=cache,
        device=device,
    )  # fmt: skip
    made.save(out)
    manifest = made.manifest
    if as_json:
        print_json({"output": str(out), "manifest": manifest.plain()})
        return
    print_pairs(f"Trained: {out}", {name: f"{value:.3g}" for name, value in manifest.figures.items()})
    for problem in manifest.problems:
        click.echo(f"problem: {problem}")


@command.command("show")
@click.argument("data", metavar="DATA")
@click.option(
    "--counterfactual", "trained", type=options.FILE, required=True, help="What 'counterfactual train' wrote."
)
@click.option("--target", type=click.IntRange(min=0), help="The class to show.  [default: the runner-up of each image]")
@click.option("--model", metavar="SPEC", help="The classifier that it was trained from, where it was.")
@click.option("--weights", type=options.FILE, help="State dict of that model.")
@click.option("--split", help="Which split of an .npz file or of parquet files to take, such as 'train'.")
@click.option("--limit", type=options.COUNT, default=16, show_default=True, help="Take only the first so many images.")
@click.option("--out", type=options.FILE, multiple=True, help=".html for a page, .png for a picture; also several.")
@options.every_command(seed=0)
def show(
    data: str,
    trained: Path,
    target: int | None,
    model: str | None,
    weights: Path | None,
    split: str | None,
    limit: int,
    out: tuple[Path, ...],
    seed: int,
    as_json: bool,
) -> None:
    """Show images as another class: what would have to change.

    DATA is an image file, a folder of images, or any other data that train takes.
    """
    if not out and not as_json:
        raise click.UsageError("give --out page.html, --out picture.png, or --json for the same as data")
    for path in out:
        check_writable(path)
    from ce_detect import load_data, load_model
    from ce_detect.counterfactual import Counterfactual
    from ce_detect.reporting import counterfactual as reporting

    reporting.check(out)
    own = None if model is None else load_model(model, weights)
    made = Counterfactual.load(trained, own)
    images = load_data(data, split=split, limit=limit, resizing=made.manifest.resizing).within(made.bounds)
    found = made.generate(images.x, target)
    names = [f"{Path(data).name}, image {place + 1}" for place in range(len(images))]
    shown = reporting.Shown(found, images.x, names, made.bounds, made.manifest, str(trained))
    try:
        for path in out:
            shown.write(path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}; name another file") from error
    if as_json:
        print_json(shown.data)
    else:
        click.echo(f"{shown.headline} See {', '.join(map(str, out))}")
