"""``ce-detect verify``: an exported graph against PyTorch, on clean and attacked images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ce_detect.cli import _options as options
from ce_detect.cli._differences import pairs
from ce_detect.cli._output import print_json, print_pairs
from ce_detect.core.errors import UsageError
from ce_detect.core.progress import reported


@click.command("verify")
@click.argument("graph", type=options.FILE)
@click.option("--against", "guard", type=options.FILE, required=True, help="The artifact that was exported.")
@options.model_options()
@options.trust_options()
@options.data_options()
@click.option(
    "--attack", "names", multiple=True, metavar="NAME", help="Attack with this, by default as the recipe does."
)
@options.attack_options()
@options.every_command(seed=1)
@click.pass_context
def command(
    context: click.Context,
    /,
    graph: Path,
    guard: Path,
    model: str,
    weights: Path | None,
    sha256: str | None,
    trusted_key: Path | None,
    data: str,
    split: str | None,
    limit: int | None,
    names: tuple[str, ...],
    attack_time: float | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Compare an exported graph with PyTorch.

    Every image is judged as it is and under attack. Exits with 1 where two scores differ by more than 1e-4, or where a
    verdict flips. Of a graph in fp16 or int8, 2 % or 10 % of the verdicts may flip. --sha256 and --trusted-key are
    those of the graph.
    """
    from ce_detect import Attack, DetectedModel, load_data, load_model
    from ce_detect.artifacts import upgrade
    from ce_detect.export import parity

    loaded = DetectedModel.load(guard, load_model(model, weights))
    opened = parity.session(graph, sha256=sha256, trusted_key=trusted_key)
    manifest = loaded.manifest
    if upgrade.manifest(parity.manifest_of(opened), manifest["heads"]) != manifest:
        raise UsageError(f"{graph} was not exported from {guard}: their manifests differ; export it again")
    images = load_data(data, split=split, limit=limit, resizing=loaded.wrapped.resizing)
    attacks = tuple(Attack.of(name) for name in dict.fromkeys(names)) or None
    with reported() as progress:
        found = parity.verify(
            loaded.gate, manifest, opened, images, attacks=attacks, seconds=attack_time, progress=progress, **settings
        )
    agree = all(part.agree for part in found.values())
    if as_json:
        print_json({"graph": str(graph), "agree": agree, "sets": {name: one.to_dict() for name, one in found.items()}})
    else:
        for name, one in found.items():
            print_pairs(f"{name}: {'agrees' if one.agree else 'DISAGREES'}", pairs(one.to_dict()))
    context.exit(0 if agree else 1)
