"""Write the JSON Schemas of recipes and manifests, and the table of metrics, from the code's own types.

python -m docs.programs.schemas          # writes docs/reference/*.schema.json
python -m docs.programs.schemas --check  # exits with 1 where one is not what the code says
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, get_args

import msgspec

from ce_detect.artifacts.manifest import Manifest
from ce_detect.attacks import ATTACKS
from ce_detect.calibrate.recipe import SPLITS
from ce_detect.core.types import HeadKind
from ce_detect.data.corruptions import KINDS, SEVERITIES

FOLDER = Path(__file__).parents[1] / "reference"
DRAFT = "https://json-schema.org/draft/2020-12/schema"
VALUE: dict[str, Any] = {"type": ["number", "string", "boolean"]}
SHARE: dict[str, Any] = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--check", action="store_true", help="write nothing")
    check = options.parse_args().check
    for name, schema in schemas().items():
        path, text = FOLDER / f"{name}.schema.json", json.dumps(schema, indent=1) + "\n"
        if check and (not path.exists() or path.read_text() != text):
            sys.exit(f"{path.name} is not what the code says; run python -m docs.programs.schemas")
        if not check:
            path.write_text(text)


def schemas() -> dict[str, dict[str, Any]]:
    """Every schema by name."""
    manifest = {"$schema": DRAFT, "title": "Manifest of a calibrated detector", **msgspec.json.schema(Manifest)}
    return {"manifest": manifest, "recipe": recipe()}


def recipe() -> dict[str, Any]:
    """What a recipe may hold, parsed from TOML."""
    properties = {
        "description": {"type": "string"},
        "head": {"enum": list(get_args(HeadKind)), "default": "mlp"},
        "prevalence": {**SHARE, "default": 0.01},
        "corrupted": {**SHARE, "default": 0.5},
        "splits": _object({split: {"type": "number", "minimum": 0, "maximum": 1} for split in SPLITS}),
        "attack": {"type": "array", "items": {"anyOf": [*(_attack(kind) for kind in ATTACKS), _own()]}},
        "intervention": {"type": "array", "items": {**_object({"kind": {"type": "string"}}, ["kind"], VALUE)}},
        "corruption": {
            "type": "array",
            "items": {"anyOf": [_corruption({"enum": list(KINDS)}), _corruption(_named())]},
        },
    }
    return {"$schema": DRAFT, "title": "Recipe of a calibration, as TOML", **_object(properties)}


def _attack(kind: str) -> dict[str, Any]:
    info = ATTACKS[kind]
    settings = dict.fromkeys([*info.defaults, *(["target"] if info.targeted else [])], VALUE)
    return _object({"kind": {"const": kind}, "name": {"type": "string"}, **settings}, ["kind"])


def _own() -> dict[str, Any]:
    """An attack of the user's: a function by name, and its settings."""
    return _object({"kind": _named(), "name": {"type": "string"}}, ["kind"], VALUE)


def _corruption(kind: dict[str, Any]) -> dict[str, Any]:
    return _object({"kind": kind, "severity": {"enum": [*SEVERITIES]}}, ["kind"])


def _named() -> dict[str, Any]:
    return {"type": "string", "pattern": ":"}


def _object(properties: dict[str, Any], required: list[str] | None = None, other: Any = False) -> dict[str, Any]:
    needed = {"required": required} if required else {}
    return {"type": "object", "properties": properties, **needed, "additionalProperties": other}


if __name__ == "__main__":
    main()
