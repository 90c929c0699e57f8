"""``ce-detect inspect``: what is in an artifact; needs no torch."""

from __future__ import annotations

from pathlib import Path

import click

from ce_detect.artifacts.manifest import Manifest, ModelPart
from ce_detect.cli import _options as options
from ce_detect.cli._figures import print_gate, print_report
from ce_detect.cli._output import print_json, print_pairs


@click.command("inspect")
@click.argument("guard", type=options.FILE)
@options.trust_options()
@options.every_command(seed=0)
def command(guard: Path, sha256: str | None, trusted_key: Path | None, as_json: bool, seed: int) -> None:
    """Print what a detector was calibrated for and what it promises.

    The file is checked against its checksums; nothing in it is executed.
    """
    from ce_detect.artifacts.file import Artifact

    artifact = Artifact.load(guard, sha256=sha256, trusted_key=trusted_key)
    manifest = artifact.manifest
    if as_json:
        print_json(manifest.plain())
        return
    print_gate(str(guard), manifest, artifact.tensors["threshold"].item())
    print_pairs("Calibrated for", _origin(manifest))
    if manifest.figures.test is not None:
        print_report("Test split of the calibration", manifest.figures.test)
    print_pairs("Versions", manifest.versions)


def _origin(manifest: Manifest) -> dict[str, str]:
    model, data, recipe = manifest.model, manifest.data, manifest.recipe
    low, high = model.bounds
    splits = ", ".join(f"{name} {size}" for name, size in data.splits.items())
    return {
        "model": f"fingerprint {model.fingerprint[:12]}, {_decision(model)}",
        "inputs": f"{model.input_shape}, pixels in [{low:g}, {high:g}]",
        "data": f"fingerprint {data.fingerprint[:12]}, {data.images} images ({splits})",
        "recipe": f"{recipe.name}, head {recipe.head}, seed {manifest.seed}",
    }


def _decision(model: ModelPart) -> str:
    """What the model decides, in words."""
    if model.label is not None:
        return f"label {model.label} of several or not"
    return f"{model.num_classes} {'labels' if model.multi_label else 'classes'}"
