"""A trained counterfactual on disk: one sealed file.

The tensors are those of the K+1 network and of the generator; the header carries the manifest.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ce_detect.artifacts import sealed
from ce_detect.artifacts.manifest import DataPart, InputPart
from ce_detect.artifacts.plain_data import Readable
from ce_detect.artifacts.sealed import Tensors
from ce_detect.core.errors import ArtifactError

KIND = sealed.Kind("ce_detect.counterfactual", 1, (), "train it again")


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
        sealed.write(path, self.to_bytes())

    def to_bytes(self) -> bytes:
        """The content of the file."""
        return KIND.content(self.manifest.plain(), self.tensors)

    @classmethod
    def load(cls, path: str | Path) -> CounterfactualArtifact:
        """Read and check a file.

        Raises:
            ArtifactError: no such file; truncated, edited or foreign; or of a format that is not read here.
        """
        try:
            content = Path(path).read_bytes()
        except FileNotFoundError as error:
            raise ArtifactError(
                f"no counterfactual at {path}; 'ce-detect counterfactual train --data ... --out {path}' makes one"
            ) from error
        except OSError as error:
            raise ArtifactError(f"{path} is not a whole safetensors file ({error}){KIND.again}") from error
        _, manifest, tensors = KIND.read(content, str(path))
        try:
            read = CounterfactualManifest.of(manifest)
            _check_sizes(read, tensors)
        except ArtifactError as error:
            raise ArtifactError(f"the manifest of {path} cannot be read ({error}){KIND.again}") from error
        return cls(tensors, read)


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
