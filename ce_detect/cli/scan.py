"""``ce-detect scan``: verdicts on every image of a folder or file, with an exported gate; needs no torch."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ce_detect.artifacts.manifest import Promise
from ce_detect.cli import _options as options
from ce_detect.cli._files import check_writable
from ce_detect.cli._output import print_json, print_pairs
from ce_detect.core.errors import InputError
from ce_detect.core.extras import module
from ce_detect.core.progress import in_words, reported
from ce_detect.reporting.words import percent, promise

if TYPE_CHECKING:  # help must not need pyarrow
    from ce_detect.scan.checkpoints import Checkpoints


@click.command("scan")
@click.argument("guard", type=options.FILE)
@click.argument("data", metavar="DATA")
@click.option(
    "--out", "--output", "out", type=options.FILE, required=True, help="The parquet file of verdicts to write."
)
@click.option(
    "--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True, help="Where it runs."
)
@click.option("--threshold", type=float, help="Flag scores above this one; by default the calibrated threshold.")
@click.option("--threads", type=options.COUNT, help="Cores of one worker; by default all, with ray 1.")
@click.option(
    "--provider", "providers", multiple=True, metavar="NAME",
    help="Execution provider of ONNX Runtime, as often as you like; by default the fastest that is there.",
)  # fmt: skip
@options.trust_options()
@options.every_command(seed=0)
def command(
    guard: Path,
    data: str,
    out: Path,
    engine: str,
    threshold: float | None,
    threads: int | None,
    providers: tuple[str, ...],
    sha256: str | None,
    trusted_key: Path | None,
    as_json: bool,
    seed: int,
) -> None:
    """Judge every image of a folder or file with an exported gate.

    GUARD is what ``ce-detect export`` wrote. DATA is a folder of .png and .jpg files or of .parquet files, at any
    depth, a .parquet, .npz or .npy file, or 'demo'. A scan that was interrupted goes on where it stopped when the same
    command is run again. An image that cannot be judged is a row with an error.
    """
    check_writable(out)
    began = time.monotonic()
    module("pyarrow", "A table of verdicts", extra="scan")
    from ce_detect.runtime import Gate
    from ce_detect.scan import ray, scan
    from ce_detect.scan.sources import opened

    gate = Gate(
        guard, providers=providers or None, threads=threads, threshold=threshold, sha256=sha256, trusted_key=trusted_key
    )
    source = opened(data)
    checkpoints = scan.checkpoints_of(gate, source, out)
    if engine == "ray":
        judge = ray.ray_engine(gate, source, data, providers=providers or None, threads=threads)
    else:
        judge = scan.local_engine(gate, source)
    with _interruptible(checkpoints), reported() as progress:
        found = asdict(scan.scan(gate, source, checkpoints, judge, progress, watched=threshold is None))
    found |= {"out": str(out), "target": gate.manifest["fpr"], "seconds": round(time.monotonic() - began, 2)}
    if as_json:
        print_json(found)
    else:
        _print(
            str(data),
            found,
            promise(Promise.of(gate.manifest)) if threshold is None else "none for a threshold of your own",
        )
    if found["errors"] == found["inputs"]:
        raise InputError(f"not one of the {found['inputs']} inputs could be judged; the first: {found['first_error']}")


@contextmanager
def _interruptible(checkpoints: Checkpoints) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        kept = f"{checkpoints.done()} verdicts are kept in {checkpoints.folder}"
        click.echo(f"interrupted: {kept}; run the same command again to go on", err=True)
        raise click.exceptions.Exit(130) from None


def _print(data: str, found: dict[str, Any], promised: str) -> None:
    resumed = f", {found['resumed']} of them in an earlier run" if found["resumed"] else ""
    pairs = {
        "passed": str(found["passed"]),
        "flagged as adversarial": f"{found['adversarial']}, {percent(found['flag_rate'])} of the judged",
        "promise": promised,
        "not judged": str(found["errors"]),
        "time": f"{in_words(found['seconds'])}{resumed}",
    }
    if found["alarms"]:
        pairs["alarm"] = " ".join(found["alarms"])
    if found["errors"]:
        pairs["first error"] = f"{found['first_error']} (all are in the column 'error')"
    print_pairs(f"{data}: {found['inputs']} inputs, verdicts in {found['out']}", pairs)
