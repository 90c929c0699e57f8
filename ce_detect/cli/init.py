"""``ce-detect init``: a commented configuration of ``calibrate``, from the model and the images."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from ce_detect.cli import _options as options
from ce_detect.cli._files import check_writable
from ce_detect.cli._output import print_json
from ce_detect.core.errors import UsageError
from ce_detect.core.resizing import Interpolation, Resizing, Size


@click.command("init")
@options.model_options()
@options.decision_options()
@options.data_options()
@options.resizing_options()
@click.option(
    "--output", type=options.FILE, default=Path("ce-detect.toml"), show_default=True, help="The file to write."
)
@click.option("--force", is_flag=True, help="Write over a file that is there.")
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
    output: Path,
    force: bool,
    as_json: bool,
    seed: int,
    **decision: Any,
) -> None:
    """Write a commented configuration for calibrate.

    Asks the model and the images what they are: sizes, pixel range, labels, gradients. Nothing is asked of you.
    """
    check_writable(output)
    if output.exists() and not force:
        raise UsageError(f"{output} is there already; name another --output, or add --force")
    from ce_detect import DetectedModel, load_data, load_model
    from ce_detect.guard import proposal
    from ce_detect.storage import atomic

    resizing = Resizing.of(resize, crop, interpolation or "bilinear")
    images = load_data(data, split=split, limit=limit, resizing=resizing)
    guard = DetectedModel(load_model(model, weights), resizing=resizing, **decision)
    found = proposal.look(guard.wrapped, images)
    given = {
        "model": model, "weights": weights, "data": data, "split": split, "limit": limit, "resize": _size(resize),
        "crop": _size(crop), "interpolation": interpolation, **decision,
    }  # fmt: skip
    listed = [entry._replace(value=seed) if entry.key == "seed" else entry for entry in proposal.entries(found, given)]
    atomic.write(output, proposal.toml(listed, str(output)).encode())
    if as_json:
        keys = {entry.key: entry.value for entry in listed if entry.active}
        print_json({"output": str(output), "found": asdict(found), "config": keys})
    else:
        click.echo(f"Wrote {output}. Look it over, then: ce-detect calibrate --config {output}")


def _size(size: Size | None) -> str | None:
    """A size as its flag takes it."""
    return None if size is None else str(size) if isinstance(size, int) else "x".join(map(str, size))
