"""A calibrated detector on disk: one sealed file.

The tensors are those of the gate (interventions, head, clean scores); the header carries the manifest. A file of the
format before is read in the present form, see `ce_detect.artifacts.upgrade`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

from ce_detect.artifacts import sealed, trust, upgrade
from ce_detect.artifacts import tensors as tensor_table
from ce_detect.artifacts.manifest import Manifest
from ce_detect.artifacts.sealed import Tensors
from ce_detect.artifacts.trust import Trust
from ce_detect.core.errors import ArtifactError

FORMAT = 4
"""Version of tensors and manifest that this code writes."""

KIND = sealed.Kind("ce_detect", FORMAT, (upgrade.OLD,), "calibrate again")


@dataclass(frozen=True, slots=True)
class Artifact:
    """Tensors and manifest of a calibrated detector.

    Attributes:
        tensors: arrays by name.
        manifest: what was calibrated, on what, how, and the figures measured then.
    """

    tensors: Tensors
    manifest: Manifest

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
    def load(cls, path: str | Path, **asked: Unpack[Trust]) -> Artifact:
        """Read and check a file.

        Args:
            path: of the file.
            asked: which file it must be, see `ce_detect.artifacts.trust.Trust`.

        Raises:
            ArtifactError: no such file; truncated, edited or foreign; of a format that is not read here; or a manifest
                or tensors that are not what they should be, see `ce_detect.artifacts.manifest` and
                `ce_detect.artifacts.tensors`; or not the one it must be.
        """
        try:
            content = Path(path).read_bytes()
        except FileNotFoundError as error:
            raise ArtifactError(f"no artifact at {path}") from error
        except OSError as error:
            raise ArtifactError(f"{path} is not a whole safetensors file ({error}){KIND.again}") from error
        trust.check(content, Path(path), **asked)
        return cls.of(content, str(path))

    @classmethod
    def of(cls, content: bytes, name: str) -> Artifact:
        """Read and check the content of a file.

        Args:
            content: all of it.
            name: what errors call it.

        Raises:
            ArtifactError: see `load`.
        """
        manifest, tensors = _present(name, *KIND.read(content, name))
        return cls(tensors, manifest)


def _present(name: str, version: int, manifest: dict[str, Any], tensors: Tensors) -> tuple[Manifest, Tensors]:
    """Manifest and tensors in the present form, and what they should be."""
    try:
        if version == upgrade.OLD:
            manifest, tensors = upgrade.manifest(manifest, upgrade.heads(tensors)), upgrade.tensors(tensors)
        read = Manifest.of(manifest)
    except (ArtifactError, AttributeError, TypeError, ValueError) as error:
        raise ArtifactError(f"the manifest of {name} cannot be read ({error}){KIND.again}") from error
    try:
        tensor_table.check(read, tensors)
    except ArtifactError as error:
        raise ArtifactError(f"the tensors of {name} are not those of a detector: {error}{KIND.again}") from error
    return read, tensors
