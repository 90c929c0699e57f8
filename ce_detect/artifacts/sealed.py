"""Sealed files: tensors and a manifest in one safetensors file, with a checksum of all of it.

Reading parses and checks: nothing in a file is executed. Equal content gives equal bytes.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ce_detect.artifacts import plain_data
from ce_detect.artifacts.tensors import DTYPES
from ce_detect.core.errors import ArtifactError
from ce_detect.storage import atomic

Tensors = dict[str, NDArray[Any]]

KEYS = {"ce_detect": "detector", "ce_detect.counterfactual": "counterfactual"}
"""Key of the header at which the manifest stands, and what a file with it is."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What is kept in files of one kind, and what errors say of them.

    Attributes:
        key: one of `KEYS`.
        format: version that this code writes.
        older: versions that it reads, too.
        remedy: what makes such a file anew.
    """

    key: str
    format: int
    older: tuple[int, ...]
    remedy: str

    @property
    def again(self) -> str:
        """What to do with a file that is not whole."""
        return f"; {self.remedy}, or copy it again"

    def content(self, manifest: dict[str, Any], tensors: Tensors) -> bytes:
        """The content of a file.

        Args:
            manifest: plain data.
            tensors: by name.
        """
        ordered = {name: np.asarray(tensors[name], order="C") for name in sorted(tensors)}
        said = {**manifest, "format": self.format, "sha256": digest(ordered)}
        text = json.dumps({**said, "seal": seal(said)}, sort_keys=True, allow_nan=False)
        made: bytes = save(ordered, metadata={self.key: text})
        return made

    def read(self, content: bytes, name: str) -> tuple[int, dict[str, Any], Tensors]:
        """Format, manifest as plain data, and tensors in the order of their names, if nothing was changed.

        Args:
            content: of a file.
            name: what errors call it.

        Raises:
            ArtifactError: truncated, edited or foreign; or of a format that is not read here.
        """
        text, tensors = self._parts(content, name)
        try:
            manifest = plain_data.parsed(text)
            version, sealed, sha256 = manifest["format"], manifest.pop("seal"), manifest["sha256"]
        except (ArtifactError, KeyError, TypeError, AttributeError) as error:
            raise ArtifactError(f"the manifest of {name} cannot be read ({error}){self.again}") from error
        if version not in (self.format, *self.older):
            before = "".join(f", and {older} of the versions before" for older in self.older)
            raise ArtifactError(
                f"{name} has format {version!r}, this version of ce-detect reads format {self.format}{before}; install "
                f"the version that wrote it, or {self.remedy}"
            )
        if sealed != seal(manifest) or sha256 != digest(tensors):
            raise ArtifactError(
                f"{name} was edited or damaged since it was made: its checksum does not match its content"
            )
        return version, {key: value for key, value in manifest.items() if key not in ("format", "sha256")}, tensors

    def _parts(self, content: bytes, name: str) -> tuple[str, Tensors]:
        """The manifest as text, and the tensors."""
        loaded, problem = None, None
        try:
            loaded = load(content)
        except SafetensorError as error:
            raise ArtifactError(f"{name} is not a whole safetensors file ({error}){self.again}") from error
        except (AttributeError, KeyError, TypeError, ValueError) as error:  # types that NumPy has not
            problem = error
        (length,) = struct.unpack("<Q", content[:8])
        header: dict[str, Any] = json.loads(content[8 : 8 + length])  # which safetensors has read before
        told = header.pop("__metadata__", None) or {}
        if self.key not in told:
            other = next((f", but a {what}" for key, what in KEYS.items() if key in told), "")
            raise ArtifactError(
                f"{name} is no {KEYS[self.key]} that ce-detect wrote{other} (no {self.key!r} in its header)"
            )
        for one, described in header.items():
            if described["dtype"] not in DTYPES:
                raise ArtifactError(
                    f"the tensor {one!r} of {name} is {described['dtype']}, expected one of "
                    f"{', '.join(DTYPES)}{self.again}"
                )
        if loaded is None:
            raise ArtifactError(f"the tensors of {name} cannot be read ({problem}){self.again}") from problem
        return told[self.key], dict(sorted(loaded.items()))


def write(path: str | Path, content: bytes) -> None:
    """Write a file, atomically.

    Raises:
        ArtifactError: the folder does not exist, cannot be written, or the disk is full.
    """
    try:
        atomic.write(Path(path), content)
    except OSError as error:
        reason = error.strerror or error
        raise ArtifactError(f"cannot write {path}: {reason}. The file that was there is untouched") from error


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
