"""A calibrated detector on disk: one safetensors file, data only.

The tensors are those of the gate (interventions, head, clean scores); the header carries a JSON manifest. Reading
parses and checks: nothing in the file is executed. Equal content gives equal bytes. A file of the format before is read
in the present form, see `ce_detect.artifacts.upgrade`.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ce_detect.artifacts import plain_data, trust, upgrade
from ce_detect.artifacts import tensors as tensor_table
from ce_detect.artifacts.manifest import Manifest
from ce_detect.artifacts.trust import Trust
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
        manifest = {**self.manifest.plain(), "format": FORMAT, "sha256": digest(tensors)}
        metadata = {_KEY: json.dumps({**manifest, "seal": seal(manifest)}, sort_keys=True, allow_nan=False)}
        content: bytes = save(tensors, metadata=metadata)
        return content

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
            raise ArtifactError(f"{path} is not a whole safetensors file ({error}){_REMEDY}") from error
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
        text, tensors = _parts(content, name)
        version, plain = _checked(name, text, tensors)
        manifest, tensors = _present(name, version, plain, tensors)
        return cls(tensors, manifest)


def _parts(content: bytes, name: str) -> tuple[str, Tensors]:
    """The manifest as text, and the tensors in the order of their names."""
    loaded, problem = None, None
    try:
        loaded = load(content)
    except SafetensorError as error:
        raise ArtifactError(f"{name} is not a whole safetensors file ({error}){_REMEDY}") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:  # types that NumPy has not
        problem = error
    (length,) = struct.unpack("<Q", content[:8])
    header: dict[str, Any] = json.loads(content[8 : 8 + length])  # which safetensors has read before
    told = header.pop("__metadata__", None) or {}
    if _KEY not in told:
        raise ArtifactError(
            f"{name} is a safetensors file, but not one that ce-detect wrote (no {_KEY!r} in its header)"
        )
    for one, described in header.items():
        if described["dtype"] not in tensor_table.DTYPES:
            raise ArtifactError(
                f"the tensor {one!r} of {name} is {described['dtype']}, expected one of "
                f"{', '.join(tensor_table.DTYPES)}{_REMEDY}"
            )
    if loaded is None:
        raise ArtifactError(f"the tensors of {name} cannot be read ({problem}){_REMEDY}") from problem
    return told[_KEY], dict(sorted(loaded.items()))


def _checked(name: str, text: str, tensors: Tensors) -> tuple[int, dict[str, Any]]:
    """The format of a file and its manifest as plain data, if nothing was changed since it was made."""
    try:
        manifest = plain_data.parsed(text)
        version, sealed, sha256 = manifest["format"], manifest.pop("seal"), manifest["sha256"]
    except (ArtifactError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"the manifest of {name} cannot be read ({error}){_REMEDY}") from error
    if version not in (FORMAT, upgrade.OLD):
        raise ArtifactError(
            f"{name} has format {version!r}, this version of ce-detect reads format {FORMAT}, and {upgrade.OLD} of the "
            "versions before; install the version that wrote it, or calibrate again"
        )
    if sealed != seal(manifest) or sha256 != digest(tensors):
        raise ArtifactError(f"{name} was edited or damaged after calibration: its checksum does not match its content")
    return version, {key: value for key, value in manifest.items() if key not in ("format", "sha256")}


def _present(name: str, version: int, manifest: dict[str, Any], tensors: Tensors) -> tuple[Manifest, Tensors]:
    """Manifest and tensors in the present form, and what they should be."""
    try:
        if version == upgrade.OLD:
            manifest, tensors = upgrade.manifest(manifest, upgrade.heads(tensors)), upgrade.tensors(tensors)
        read = Manifest.of(manifest)
    except (ArtifactError, AttributeError, TypeError, ValueError) as error:
        raise ArtifactError(f"the manifest of {name} cannot be read ({error}){_REMEDY}") from error
    try:
        tensor_table.check(read, tensors)
    except ArtifactError as error:
        raise ArtifactError(f"the tensors of {name} are not those of a detector: {error}{_REMEDY}") from error
    return read, tensors


def digest(tensors: Tensors) -> str:
    """SHA-256 of tensors, their names, types and shapes."""
    found = hashlib.sha256()
    for name, tensor in tensors.items():
        found.update(f"{name} {tensor.dtype} {tensor.shape}\n".encode())
        found.update(tensor.tobytes())
    return found.hexdigest()


def seal(manifest: dict[str, Any]) -> str:
    """SHA-256 of a manifest, the digest of its tensors included."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
