"""``ce-detect export``: from an artifact and its model to one ONNX graph, or to a Triton model repository."""

from __future__ import annotations

from pathlib import Path

import click

from ce_detect.cli import _options as options
from ce_detect.cli._differences import pairs
from ce_detect.cli._files import check_writable
from ce_detect.cli._output import print_json, print_pairs
from ce_detect.core.errors import ExportError


@click.command("export")
@click.argument("guard", type=options.FILE)
@options.model_options()
@options.trust_options()
@click.option("--output", type=options.FILE, help="The graph to write; by default the artifact's name with .onnx.")
@click.option("--triton", type=options.FOLDER, help="Write a Triton model repository into this folder instead.")
@click.option("--name", default="guard", show_default=True, help="Name of the model in the Triton repository.")
@click.option("--uint8", is_flag=True, help="Take bytes 0-255, as image files hold them.")
@click.option("--any-size", is_flag=True, help="Take bytes 0-255 of any image size; the graph resizes.")
@options.data_options(required=False)
@options.every_command(seed=0)
@click.pass_context
def command(
    context: click.Context,
    /,
    guard: Path,
    model: str,
    weights: Path | None,
    sha256: str | None,
    trusted_key: Path | None,
    output: Path | None,
    triton: Path | None,
    name: str,
    uint8: bool,
    any_size: bool,
    data: str | None,
    split: str | None,
    limit: int | None,
    as_json: bool,
    seed: int,
) -> None:
    """Write classifier and detector as one ONNX graph.

    The graph is checked against PyTorch before it is written: on --data where it is given, else on what the calibration
    left in this machine's cache, else on random images. Exits with 1, and writes nothing, where the two judge
    differently.
    """
    if triton is not None and any_size:
        raise click.UsageError(
            "--any-size and --triton: Triton batches images of one size alone; leave one of them out"
        )
    path = guard.with_suffix(".onnx") if output is None else output
    if triton is None:
        check_writable(path)
    from ce_detect import DetectedModel, load_data, load_model
    from ce_detect.guard import exporting

    loaded = DetectedModel.load(guard, load_model(model, weights), sha256=sha256, trusted_key=trusted_key)
    resizing = loaded.wrapped.resizing
    images = None if data is None else load_data(data, split=split, limit=limit, resizing=resizing)
    try:
        if triton is None:
            found = loaded.export(path, data=images, uint8=uint8, any_size=any_size)
        else:
            path, found = exporting.write_for_triton(
                loaded.calibrated, loaded.wrapped, triton, name=name, data=images, uint8=uint8
            )
    except ExportError as error:
        click.echo(f"error: {error}", err=True)
        context.exit(1)
    if as_json:
        print_json({"output": str(path), "bytes": path.stat().st_size, "differences": found.to_dict()})
        return
    print_pairs(f"Exported: {path}", {"size": f"{path.stat().st_size / 1e6:.2f} MB", **pairs(found.to_dict())})
