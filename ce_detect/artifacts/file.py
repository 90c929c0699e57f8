"""A calibrated detector on disk: one safetensors file, data only.

The tensors are those of the gate (interventions, head, clean scores); the header carries a JSON manifest. Reading
parses and checks: nothing in the file is executed. Equal content gives equal bytes. A file of the format before is read
in the present form, see `ce_detect.artifacts.upgrade`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ce_detect.artifacts import upgrade
from ce_detect.artifacts.manifest import Manifest
from ce_detect.core.errors import ArtifactError
from ce_detect.storage import atomic

FORMAT = 4
"""Version of tensors and manifest that this code writes."""

_KEY = "ce_detect"
_REMEDY = "; calibrate again, or copy it again"

Tensors = dict[str, NDArray[Any]]


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
        try:
            atomic.write(Path(path), self.to_bytes())
        except OSError as error:
            reason = error.strerror or error
            raise ArtifactError(f"cannot write {path}: {reason}. The file that was there is untouched") from error

    def to_bytes(self) -> bytes:
        """The content of the file."""
        tensors = {name: np.asarray(self.tensors[name], order="C") for name in sorted(self.tensors)}
        manifest = {**self.manifest.plain(), "format": FORMAT, "sha256": _digest(tensors)}
        metadata = {_KEY: json.dumps({**manifest, "seal": _seal(manifest)}, sort_keys=True, allow_nan=False)}
        content: bytes = save(tensors, metadata=metadata)
        return content

    @classmethod
    def load(cls, path: str | Path) -> Artifact:
        """Read and check a file.

        Raises:
            ArtifactError: no such file; truncated, edited or foreign; of a format that is not read here; or a manifest
                that does not say what it should.
        """
        try:
            with safe_open(str(path), framework="numpy") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
        except FileNotFoundError as error:
            raise ArtifactError(f"no artifact at {path}") from error
        except (SafetensorError, OSError) as error:
            raise ArtifactError(
                f"{path} is not a whole safetensors file ({error}); calibrate again or copy it again"
            ) from error
        if _KEY not in metadata:
            raise ArtifactError(
                f"{path} is a safetensors file, but not one that ce-detect wrote (no {_KEY!r} in its header)"
            )
        manifest, tensors = _present(path, *_checked(path, metadata[_KEY], tensors), tensors)
        return cls(tensors, manifest)


def _checked(path: str | Path, text: str, tensors: Tensors) -> tuple[int, dict[str, Any]]:
    """The format of a file and its manifest as plain data, if nothing was changed since it was written."""
    try:
        manifest = json.loads(text)
        version, seal, sha256 = manifest["format"], manifest.pop("seal"), manifest["sha256"]
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"the manifest of {path} cannot be read ({error}){_REMEDY}") from error
    if version not in (FORMAT, upgrade.OLD):
        raise ArtifactError(
            f"{path} has format {version!r}, this version of ce-detect reads format {FORMAT}, and {upgrade.OLD} of the "
            "versions before; install the version that wrote it, or calibrate again"
        )
    if seal != _seal(manifest) or sha256 != _digest(tensors):
        raise ArtifactError(f"{path} was edited or damaged after calibration: its checksum does not match its content")
    return version, {key: value for key, value in manifest.items() if key not in ("format", "sha256")}


def _present(path: str | Path, version: int, manifest: dict[str, Any], tensors: Tensors) -> tuple[Manifest, Tensors]:
    """Manifest and tensors in the present form."""
    try:
        if version == upgrade.OLD:
            manifest, tensors = upgrade.manifest(manifest, upgrade.heads(tensors)), upgrade.tensors(tensors)
        return Manifest.of(manifest), tensors
    except ArtifactError as error:
        raise ArtifactError(f"the manifest of {path} cannot be read ({error}){_REMEDY}") from error


def _digest(tensors: Tensors) -> str:
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        digest.update(f"{name} {tensor.dtype} {tensor.shape}\n".encode())
        digest.update(tensor.tobytes())
    return digest.hexdigest()


def _seal(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
