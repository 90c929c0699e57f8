"""``ce-detect recalibrate``: a threshold that is moved by what people found clean; needs no torch."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from ce_detect.artifacts.manifest import Promise
from ce_detect.cli import _options as options
from ce_detect.cli._files import check_writable
from ce_detect.cli._output import print_json, print_pairs
from ce_detect.core.extras import needed_for
from ce_detect.reporting.words import percent, promise


@click.command("recalibrate")
@click.argument("guard", type=options.FILE)
@click.option("--reviews", required=True, metavar="URL", help="The store of ce-detect console: sqlite:///reviews.db.")
@click.option("--out", "--output", "out", type=options.FILE, required=True, help="The new artifact.")
@click.option("--since", type=options.Moment(), help="Take inputs from this time on: 2026-11-30T08:00.  [default: all]")
@click.option("--until", type=options.Moment(), help="And up to this time.")
@options.trust_options()
@options.every_command(seed=0)
def command(
    guard: Path,
    reviews: str,
    out: Path,
    since: float | None,
    until: float | None,
    sha256: str | None,
    trusted_key: Path | None,
    as_json: bool,
    seed: int,
) -> None:
    """Move the threshold by reviewed clean inputs, with the promise of before.

    Only inputs that were drawn at random count (ce-detect serve --quarantine-sample). Where there are too few it says
    how many more are needed. Export the graph again afterwards.
    """
    check_writable(out)
    with needed_for("ce-detect recalibrate", extra="console"):
        from ce_detect.artifacts.file import Artifact
        from ce_detect.calibrate.recalibration import recalibrated
        from ce_detect.records import tallies
        from ce_detect.records.store import Store

    artifact = Artifact.load(guard, sha256=sha256, trusted_key=trusted_key)
    store = Store(reviews, new=False)
    try:
        with store.answering():
            drawn = tallies.drawn(store, since=since, until=until)
    finally:
        store.close()
    found = recalibrated(artifact, drawn)
    found.artifact.save(out)
    told = {name: value for name, value in asdict(found).items() if name != "artifact"}
    if as_json:
        print_json({**told, "out": str(out)})
        return
    print_pairs(
        str(out),
        {
            "threshold": f"{found.threshold:.4g}, before {found.before:.4g}",
            "promise": promise(Promise.of(artifact.manifest.plain())),
            "reviewed clean": f"{found.clean}, of which {percent(found.flagged)} are flagged now, "
            f"{percent(found.flagged_before)} before",
            "not settled": f"{found.doubtful}; the threshold holds whatever they are"
            + (": settle them, and it may be lower" if found.doubtful else ""),
            "attacks": f"{found.attacks}, left out",
            "judged by another detector": str(found.left_out),
        },
    )
