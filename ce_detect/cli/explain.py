"""``ce-detect explain``: why inputs were judged as they were, as a page or as JSON."""

from __future__ import annotations

from pathlib import Path

import click

from ce_detect.cli import _options as options
from ce_detect.cli._files import check_writable, write_text
from ce_detect.cli._output import print_json
from ce_detect.core.types import BASELINES


@click.command("explain")
@click.argument("guard", type=options.FILE)
@click.argument("data", metavar="DATA")
@options.model_options()
@click.option("--split", help="Which split of an .npz file or of parquet files to take, such as 'train'.")
@click.option("--limit", type=options.COUNT, default=16, show_default=True, help="Take only the first so many images.")
@click.option(
    "--baseline",
    type=click.Choice(BASELINES),
    default="mean",
    show_default=True,
    help="What is put in the place of what is hidden.",
)
@click.option("--site", default="input", show_default=True, help="Where it is hidden: the input, or a layer.")
@click.option(
    "--method",
    "methods",
    multiple=True,
    help="Add the map of another method to --json, such as grad-cam or robust-perturbation; also several times.",
)
@click.option("--label", type=int, help="The class whose evidence the maps show.  [default: what was decided]")
@click.option("--concepts", help="Clean images, as DATA: rank learned concepts by their effect on these, for --json.")
@click.option("--out", type=options.FILE, help="Write the page to this HTML file.")
@options.every_command(seed=0)
def command(
    guard: Path,
    data: str,
    model: str,
    weights: Path | None,
    split: str | None,
    limit: int,
    baseline: str,
    site: str,
    methods: tuple[str, ...],
    label: int | None,
    concepts: str | None,
    out: Path | None,
    seed: int,
    as_json: bool,
) -> None:
    """Say why inputs were judged as they were.

    DATA is an image file, a folder of images, or any other data that calibrate takes. A map takes some hundred forward
    passes an image.
    """
    if out is None and not as_json:
        raise click.UsageError("give --out report.html for a page, or --json for the same as data")
    if methods and not as_json:
        raise click.UsageError("maps of --method are given as data: add --json")
    if concepts is not None and not as_json:
        raise click.UsageError("--concepts is given as data alone: add --json")
    if out is not None:
        check_writable(out)
    from ce_detect import DetectedModel, load_data, load_model
    from ce_detect.reporting import explanation

    loaded = DetectedModel.load(guard, load_model(model, weights))
    images = load_data(data, split=split, limit=limit, resizing=loaded.wrapped.resizing)
    x = loaded.wrapped.images(images).x
    clean = None if concepts is None else load_data(concepts, resizing=loaded.wrapped.resizing)
    ranked = None if clean is None else loaded.wrapped.images(clean).pixels
    found = loaded.explain(x, baseline=baseline, site=site, seed=seed, label=label, method=methods, concepts=ranked)
    names = [f"{Path(data).name}, image {place + 1}" for place in range(len(x))]
    if out is not None:
        page = explanation.html(found, artifact=str(guard), names=names, bounds=loaded.classifier.bounds)
        write_text(out, page)
    if as_json:
        more = {} if found.concepts is None else {"concepts": found.concepts.to_dict()}
        print_json({"artifact": str(guard), "inputs": found.to_dict(), **more})
    elif out is not None:
        flagged = int(found.result.is_adversarial.sum())
        click.echo(f"{len(x)} inputs, {flagged} of them flagged: {out}")
