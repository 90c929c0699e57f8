"""A counterfactual on disk: sealed, and nothing but what was written is read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from support.calibrated import guard
from support.counterfactuals import trained

from ce_detect.artifacts.counterfactual import KIND, CounterfactualArtifact
from ce_detect.core.errors import ArtifactError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file."""
    trained().save(tmp_path / "cf.safetensors")
    return tmp_path / "cf.safetensors"


def test_what_was_written_is_read(path: Path) -> None:
    """Tensors and manifest, and again the same bytes."""
    artifact = CounterfactualArtifact.load(path)
    assert artifact.manifest == trained().manifest
    assert artifact.to_bytes() == path.read_bytes()


def changed(path: Path, **changes: object) -> None:
    """Write the file again with another manifest."""
    with safe_open(path, framework="numpy") as file:
        manifest = json.loads(file.metadata()[KIND.key])
    save_file(load_file(path), path, metadata={KIND.key: json.dumps({**manifest, **changes})})


def test_a_file_that_was_edited_is_refused(path: Path) -> None:
    """Its manifest, its tensors, its length, its format."""
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ArtifactError, match="edited or damaged"):
        CounterfactualArtifact.load(path)
    path.write_bytes(whole[:-40])
    with pytest.raises(ArtifactError, match="not a whole safetensors file"):
        CounterfactualArtifact.load(path)
    for changes, told in (({"classes": 3}, "edited or damaged"), ({"format": 9}, "has format 9")):
        path.write_bytes(whole)
        changed(path, **changes)
        with pytest.raises(ArtifactError, match=told):
            CounterfactualArtifact.load(path)


def test_sizes_are_those_of_the_tensors(path: Path) -> None:
    """A manifest that asks for networks of another size, or numbers that are none, even where the seal is right."""
    artifact = CounterfactualArtifact.load(path)
    large = structs.replace(artifact.manifest, settings={**artifact.manifest.settings, "width": 1000})
    CounterfactualArtifact(artifact.tensors, large).save(path)
    with pytest.raises(ArtifactError, match=r"it says .*1000.* but its tensors have .*4"):
        CounterfactualArtifact.load(path)
    nothing = {**artifact.tensors, "generator.mask.bias": np.full(1, np.nan, np.float32)}
    CounterfactualArtifact(nothing, artifact.manifest).save(path)
    with pytest.raises(ArtifactError, match=r"'generator.mask.bias' holds numbers that are not finite"):
        CounterfactualArtifact.load(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    """None at all, a detector, and one that somebody else wrote."""
    with pytest.raises(ArtifactError, match="'ce-detect counterfactual train"):
        CounterfactualArtifact.load(tmp_path / "none.safetensors")
    guard().save(tmp_path / "guard.safetensors")
    with pytest.raises(ArtifactError, match="is no counterfactual that ce-detect wrote, but a detector"):
        CounterfactualArtifact.load(tmp_path / "guard.safetensors")
    save_file({}, tmp_path / "other.safetensors", metadata={KIND.key: "{}"})
    with pytest.raises(ArtifactError, match="cannot be read"):
        CounterfactualArtifact.load(tmp_path / "other.safetensors")


def test_a_folder_that_is_not_there(path: Path) -> None:
    """It is named, and nothing is written."""
    with pytest.raises(ArtifactError, match="cannot write"):
        trained().save(path.parent / "no" / "cf.safetensors")
