"""The JSON Schemas of the reference are what the code says, and say what the code takes."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import jsonschema
import pytest
from support import manifests

from ce_detect.artifacts import file, graph_format
from ce_detect.calibrate.recipe import recipe_folder, shipped_recipes
from docs.programs import schemas


def problems(plain: dict[str, Any], schema: dict[str, Any]) -> list[str]:
    """What does not fit."""
    return [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(plain)]


@pytest.mark.parametrize("name", ["manifest", "recipe"])
def test_schemas_are_those_of_the_code(name: str) -> None:
    """After a change, ``python -m docs.programs.schemas`` brings them up to date."""
    kept = json.loads((schemas.FOLDER / f"{name}.schema.json").read_text())
    assert kept == json.loads(json.dumps(schemas.schemas()[name]))
    jsonschema.Draft202012Validator.check_schema(kept)


@pytest.mark.parametrize("name", shipped_recipes())
def test_recipes_that_come_along_are_valid(name: str) -> None:
    """Each fits the schema."""
    raw = tomllib.loads((recipe_folder() / f"{name}.toml").read_text())
    assert problems(raw, schemas.recipe()) == []


@pytest.mark.parametrize(
    "changed",
    [
        {"heads": "mlp"},
        {"head": "tree"},
        {"attack": [{"kind": "pdg"}]},
        {"attack": [{"kind": "pgd", "epsilon": 1}]},
        {"corruption": [{"kind": "jpeg", "severity": 3}]},
        {"prevalence": 1},
        {"splits": {"train": 1}},
    ],
)
def test_what_the_code_refuses_is_invalid(changed: dict[str, Any]) -> None:
    """A key, kind or value that makes no sense."""
    assert len(problems(changed, schemas.recipe())) == 1


def test_the_page_on_artifacts_names_what_is_in_them() -> None:
    """Every key of a graph's metadata and every output, and the versions of both formats."""
    page = (schemas.FOLDER / "artifact.md").read_text()
    keys = [value for name, value in vars(graph_format).items() if name.endswith("_KEY")]
    assert len(keys) == 5
    assert "Its metadata has five keys" in page
    assert [name for name in (*keys, *graph_format.OUTPUTS) if f"`{name}`" not in page] == []
    assert f"`format` is {file.FORMAT}," in page
    assert f"`ce_detect.format` is {graph_format.FORMAT}." in page


def test_the_page_on_recipes_names_every_key() -> None:
    """Those of the schema."""
    page = (schemas.FOLDER / "recipe.md").read_text()
    assert [key for key in schemas.recipe()["properties"] if f"{key}`" not in page and f"{key}]" not in page] == []


def test_a_manifest_fits_its_schema() -> None:
    """One that was made here, as it is stored."""
    assert problems(manifests.plain(), schemas.schemas()["manifest"]) == []
