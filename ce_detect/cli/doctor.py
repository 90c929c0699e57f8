"""``ce-detect doctor``: what is installed, what is missing and where things are kept; needs the light core alone."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from typing import Any

import click

from ce_detect.cli import _options as options
from ce_detect.cli._output import print_json, print_listing, print_pairs
from ce_detect.core.extras import DEPENDENCIES
from ce_detect.core.version import VERSION
from ce_detect.reporting.words import ABSENT
from ce_detect.storage.folders import cache_folder


@click.command("doctor")
@click.option("--attacks", is_flag=True, help="List the attacks that a recipe can name.")
@click.option("--interventions", is_flag=True, help="List the kinds of intervention and what they claim.")
@options.every_command(seed=0)
@click.pass_context
def command(context: click.Context, /, attacks: bool, interventions: bool, as_json: bool, seed: int) -> None:
    """Say what is installed, what is missing and where things are kept.

    Exits with 1 where something that calibration needs is missing.
    """
    found = examination()
    if attacks:
        found["attacks"], found["refused"] = attack_rows(), refused_rows()
    if interventions:
        found["interventions"] = intervention_rows()
    if as_json:
        print_json(found)
    else:
        _print(found)
    context.exit(1 if found["problems"] else 0)


def examination() -> dict[str, Any]:
    """Everything but the listings, as plain data; ``problems`` is empty where calibration can run."""
    packages = [
        {"name": name, "version": found.installed, "extra": found.extras[0] if found.extras else None}
        for name, found in DEPENDENCIES.items()
    ]
    missing = [str(p["name"]) for p in packages if p["version"] is None and p["extra"] in (None, "calibrate")]
    devices, broken = _devices() if DEPENDENCIES["torch"].installed else ([], None)
    from ce_detect.calibrate.recipe import shipped_recipes

    return {
        "ce-detect": VERSION,
        "python": platform.python_version(),
        "packages": packages,
        "devices": devices,
        "cores": os.cpu_count(),
        "cache": _cache(),
        "recipes": list(shipped_recipes()),
        "problems": _problems(missing, broken),
    }


def attack_rows() -> list[dict[str, Any]]:
    """The registry of attacks as plain data."""
    from ce_detect.attacks import ATTACKS, Attack

    return [
        {
            "name": name,
            "norm": info.norm,
            "access": info.access,
            "needs": list(info.needs),
            "targeted": info.targeted,
            "cost": info.cost,
            "passes": Attack.of(name).passes,
            "settings": dict(info.defaults),
            "art": info.art,
            "paper": info.paper,
        }
        for name, info in ATTACKS.items()
    ]


def refused_rows() -> list[dict[str, str]]:
    """Attacks of ART that are not in the registry, and why."""
    from ce_detect.attacks import REFUSED

    return [{"art": art, "reason": reason} for art, reason in REFUSED.items()]


def intervention_rows() -> list[dict[str, Any]] | None:
    """The kinds of intervention with their claims as plain data; None without torch."""
    if DEPENDENCIES["torch"].installed is None:
        return None
    from ce_detect.interventions import kinds

    claims = ("family", "label_preserving", "deterministic", "exportable", "latents", "paper")
    return [{"name": name, **{claim: getattr(kind, claim) for claim in claims}} for name, kind in kinds().items()]


def _problems(missing: list[str], broken: str | None) -> list[str]:
    from ce_detect.runtime.providers import clash

    problems = []
    if missing:
        problems.append(f"calibration needs {', '.join(missing)}: pip install 'ce-detect[calibrate]'")
    if broken is not None:
        problems.append(f"torch is installed but cannot be imported: {broken}")
    two = clash()
    if two is not None:
        problems.append(two)
    cache = _cache()
    if not cache["writable"]:
        problems.append(f"the cache folder {cache['folder']} cannot be written; name another in CE_DETECT_CACHE")
    return problems


def _devices() -> tuple[list[str], str | None]:
    """Devices that torch can use, or why it cannot be imported."""
    try:
        import torch
    except (ImportError, OSError) as error:  # a shared library that is absent or of another platform
        return [], str(error)
    graphics = [f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        graphics.append("mps")
    return [f"cpu ({torch.get_num_threads()} threads)", *graphics], None


def _cache() -> dict[str, Any]:
    folder = cache_folder()
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return {
        "folder": str(folder),
        "bytes": size,
        "writable": existing.is_dir() and os.access(existing, os.W_OK | os.X_OK),
    }


def _print(found: Mapping[str, Any]) -> None:
    packages = [
        (p["name"], p["version"] or "absent", "core" if p["extra"] is None else f"extra {p['extra']}")
        for p in found["packages"]
    ]
    print_listing(f"ce-detect {found['ce-detect']}, Python {found['python']}", ("package", "version", "from"), packages)
    cache = found["cache"]
    print_pairs(
        "Here",
        {
            "devices": ", ".join(found["devices"]) or ABSENT,
            "cores": str(found["cores"]),
            "cache": f"{cache['folder']}, {cache['bytes'] / 1e6:.1f} MB, {'' if cache['writable'] else 'not '}writable",
            "recipes": ", ".join(found["recipes"]),
        },
    )
    if "attacks" in found:
        _print_attacks(found["attacks"], found["refused"])
    if "interventions" in found:
        _print_interventions(found["interventions"])
    for problem in found["problems"]:
        click.echo(f"problem: {problem}")
    if not found["problems"]:
        click.echo("all that calibration needs is here")


def _print_attacks(attacks: list[dict[str, Any]], refused: list[dict[str, str]]) -> None:
    header = ("attack", "norm", "access", "needs", "target", "cost", "passes", "paper")
    print_listing(
        "Attacks; passes: forward passes an image, about, with default settings",
        header,
        [
            (
                a["name"], a["norm"], a["access"], ", ".join(a["needs"]) or ABSENT, "yes" if a["targeted"] else "no",
                a["cost"], f"{a['passes']:g}", a["paper"],
            )
            for a in attacks
        ],
    )  # fmt: skip
    print_listing("Attacks of ART left out", ("class", "why"), [(row["art"], row["reason"]) for row in refused])


def _print_interventions(rows: list[dict[str, Any]] | None) -> None:
    if rows is None:
        click.echo("interventions: listing them needs torch, from the extra calibrate\n")
        return
    claims = ("label_preserving", "deterministic", "exportable", "latents")
    header = ("intervention", "family", *(claim.replace("_", " ") for claim in claims), "paper")
    marks = {True: "yes", False: "no"}
    print_listing(
        "Interventions",
        header,
        [
            (row["name"], row["family"], *(marks[row[claim]] for claim in claims), row["paper"] or ABSENT)
            for row in rows
        ],
    )
