"""A trained counterfactual on disk: one safetensors file, sealed as a detector's is.

The tensors are those of the K+1 network and of the generator; the header carries a JSON manifest. Nothing in the file
is executed. Equal content gives equal bytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ce_detect.artifacts import plain_data
from ce_detect.artifacts.file import Tensors, digest, seal
from ce_detect.artifacts.manifest import DataPart, InputPart
from ce_detect.artifacts.plain_data import Readable
from ce_detect.core.errors import ArtifactError
from ce_detect.storage import atomic

FORMAT = 1
"""Version of tensors and manifest that this code writes."""

KEY = "ce_detect.counterfactual"

_REMEDY = "; train it again, or copy it again"


class CounterfactualManifest(InputPart, Readable, frozen=True, kw_only=True, omit_defaults=True):
    """What was trained, on what, how, and what came of it.

    Attributes:
        classes: number of classes, K.
        settings: of the training, see `ce_detect.counterfactual.settings.TrainingSettings`.
        data: what it was trained on.
        figures: on images that were held out, see `ce_detect.counterfactual.checks.figures`.
        problems: what went wrong in the training, in words, each with its remedy.
        versions: of Python and packages.
        classifier: digest of the weights of the classifier whose layers it has; None for one from scratch.
    """

    classes: int
    settings: dict[str, Any]
    data: DataPart
    figures: dict[str, float]
    problems: tuple[str, ...]
    versions: dict[str, str]
    classifier: str | None = None


@dataclass(frozen=True, slots=True)
class CounterfactualArtifact:
    """Tensors and manifest of a trained counterfactual."""

    tensors: Tensors
    manifest: CounterfactualManifest

    def save(self, path: str | Path) -> None:
        """Write the file, atomically.

        Raises:
            ArtifactError: the folder does not exist, cannot be written, or the disk is full.
        """
        try:
            atomic.write(Path(path), self.to_bytes())
        except OSError as error:
            raise ArtifactError(f"cannot write {path}: {error.strerror or error}") from error

    def to_bytes(self) -> bytes:
        """The content of the file."""
        tensors = {name: np.asarray(self.tensors[name], order="C") for name in sorted(self.tensors)}
        manifest = {**self.manifest.plain(), "format": FORMAT, "sha256": digest(tensors)}
        metadata = {KEY: json.dumps({**manifest, "seal": seal(manifest)}, sort_keys=True, allow_nan=False)}
        content: bytes = save(tensors, metadata=metadata)
        return content

    @classmethod
    def load(cls, path: str | Path) -> CounterfactualArtifact:
        """Read and check a file.

        Raises:
            ArtifactError: no such file; truncated, edited or foreign; or of a format that is not read here.
        """
        try:
            with safe_open(str(path), framework="numpy") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
        except FileNotFoundError as error:
            raise ArtifactError(
                f"no counterfactual at {path}; 'ce-detect counterfactual train --data ... --out {path}' makes one"
            ) from error
        except (SafetensorError, OSError) as error:
            raise ArtifactError(f"{path} is not a whole safetensors file ({error}){_REMEDY}") from error
        if KEY not in metadata:
            other = ", but a detector" if "ce_detect" in metadata else ""
            raise ArtifactError(
                f"{path} is no counterfactual{other}: give a file that 'ce-detect counterfactual train' wrote"
            )
        return cls(tensors, _checked(path, metadata[KEY], tensors))


def _checked(path: str | Path, text: str, tensors: Tensors) -> CounterfactualManifest:
    """The manifest of a file, if nothing was changed since it was written."""
    try:
        manifest = plain_data.parsed(text)
        version, sealed, sha256 = manifest["format"], manifest.pop("seal"), manifest["sha256"]
    except (ArtifactError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"the manifest of {path} cannot be read ({error}){_REMEDY}") from error
    if version != FORMAT:
        raise ArtifactError(
            f"{path} has format {version!r}, this version of ce-detect reads counterfactuals of format {FORMAT}; "
            "install the version that wrote it, or train it again"
        )
    if sealed != seal(manifest) or sha256 != digest(tensors):
        raise ArtifactError(f"{path} was edited or damaged after training: its checksum does not match its content")
    try:
        read = CounterfactualManifest.of(manifest)
        _check_sizes(read, tensors)
    except ArtifactError as error:
        raise ArtifactError(f"the manifest of {path} cannot be read ({error}){_REMEDY}") from error
    return read


def _check_sizes(manifest: CounterfactualManifest, tensors: Tensors) -> None:
    """Hold the sizes that a manifest names to the tensors, before networks of these sizes are made.

    Raises:
        ArtifactError: they are not those of the tensors, or a number is not finite.
    """
    settings, channels = manifest.settings, manifest.input_shape[0]
    first = tensors.get("generator.first.0.weight", np.zeros(0)).shape
    halvings = len({name.split(".")[2] for name in tensors if name.startswith("generator.down.")})
    found = {"width": first[:1], "channels and classes": first[1:2], "depth": (halvings,)}
    said = {
        "width": (settings.get("width"),),
        "channels and classes": (channels + manifest.classes,),
        "depth": (settings.get("depth"),),
    }
    if found != said:
        raise ArtifactError(f"it says {said}, but its tensors have {found}")
    wrong = [name for name, value in tensors.items() if not np.isfinite(value).all()]
    if wrong:
        raise ArtifactError(f"the tensor {wrong[0]!r} holds numbers that are not finite")
