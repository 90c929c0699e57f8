"""``ce-detect explain``: why inputs were judged as they were, as a page or as JSON."""

from __future__ import annotations

from pathlib import Path

import click

from ce_detect.cli import _options as options
from ce_detect.cli._files import check_writable, write, write_arrays
from ce_detect.cli._output import print_json
from ce_detect.core.types import BASELINES


@click.command("explain")
@click.argument("guard", type=options.FILE)
@click.argument("data", metavar="DATA")
@options.model_options()
@options.trust_options()
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
    help="Show the map of another method beside ours, such as grad-cam or robust-perturbation; also several times.",
)
@click.option("--label", type=int, help="The class whose evidence the maps show; by default what was decided.")
@click.option("--clean", help="Clean images, as DATA: hold effects against those of the same class, and show one.")
@click.option("--concepts", help="Clean images, as DATA: rank learned concepts by their effect on these.")
@click.option(
    "--attack",
    metavar="EPS",
    help="Make the maps again after an attack of this size that keeps the decision, such as 2/255.",
)
@click.option(
    "--counterfactual",
    type=options.FILE,
    help="What 'counterfactual train' wrote: show each input as another class, too.",
)
@click.option(
    "--maps",
    type=options.FILE,
    help="Write all maps to this .npz file, in the size of the image files.",
)
@options.out_option()
@options.every_command(seed=0)
def command(
    guard: Path,
    data: str,
    model: str,
    weights: Path | None,
    sha256: str | None,
    trusted_key: Path | None,
    split: str | None,
    limit: int,
    baseline: str,
    site: str,
    methods: tuple[str, ...],
    label: int | None,
    clean: str | None,
    concepts: str | None,
    attack: str | None,
    counterfactual: Path | None,
    maps: Path | None,
    out: tuple[Path, ...],
    seed: int,
    as_json: bool,
) -> None:
    """Say why inputs were judged as they were.

    DATA is an image file, a folder of images, or any other data that calibrate takes. A map takes some hundred forward
    passes an image.
    """
    if not out and not as_json and maps is None:
        raise click.UsageError("give --out report.html for a page, --json for the same as data, or --maps maps.npz")
    if maps is not None:
        if maps.suffix != ".npz":
            raise click.UsageError(f"--maps {maps}: arrays are written, so let its name end with .npz")
        check_writable(maps)
    from ce_detect import DetectedModel, load_data, load_model
    from ce_detect.counterfactual import Counterfactual
    from ce_detect.redteam.settings import fraction
    from ce_detect.reporting import explanation

    loaded = DetectedModel.load(guard, load_model(model, weights), sha256=sha256, trusted_key=trusted_key)
    images = load_data(data, split=split, limit=limit, resizing=loaded.wrapped.resizing, originals=True)
    x = loaded.wrapped.images(images)
    beside, ranked = (
        None if spec is None else loaded.wrapped.images(load_data(spec, resizing=loaded.wrapped.resizing)).pixels
        for spec in (clean, concepts)
    )
    found = loaded.explain(
        x, baseline=baseline, site=site, seed=seed, label=label, method=methods, concepts=ranked, clean=beside,
        attack=None if attack is None else fraction(attack),
    )  # fmt: skip
    other = None if counterfactual is None else Counterfactual.load(counterfactual, loaded.classifier).generate(x.x)
    names = [f"{Path(data).name}, image {place + 1}" for place in range(len(x))]
    document = explanation.document(
        found, loaded.calibrated.manifest, artifact=str(guard), names=names, bounds=loaded.classifier.bounds,
        counterfactuals=other,
    )  # fmt: skip
    write(document, out)
    if maps is not None:
        every = ((place + 1, found.original_maps(place)) for place in range(len(x)))
        write_arrays(maps, ((f"{number}/{name}", values) for number, by in every for name, values in by.items()))
    if as_json:
        print_json(document.data)
    else:
        files = [*out] if maps is None else [*out, maps]
        click.echo(f"{document.data['verdict']['headline']} See {', '.join(map(str, files))}")
