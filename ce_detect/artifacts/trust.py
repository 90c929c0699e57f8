"""Which file is the right one: a pin, which is its SHA-256, or a key that must have signed it."""

from __future__ import annotations

import hashlib
import hmac
import re
from pathlib import Path
from typing import TypedDict

from ce_detect.artifacts import signing
from ce_detect.core.errors import ArtifactError, UsageError


class Trust(TypedDict, total=False):
    """What a file must be to be read; nothing means any file.

    Attributes:
        sha256: of the file, in hexadecimal, as ``sha256sum`` prints it.
        trusted_key: path of the public key, as PEM, whose signature must be beside the file, see
            `ce_detect.artifacts.signing`.
    """

    sha256: str | None
    trusted_key: str | Path | None


def check(content: bytes, path: Path, *, sha256: str | None = None, trusted_key: str | Path | None = None) -> bool:
    """Refuse a file that is not the right one.

    Args:
        content: of the file, as it will be used: the file may be another one a moment later.
        path: of the file; its signature is beside it.
        sha256: see `Trust`.
        trusted_key: see there.

    Returns:
        Whether anything was asked for, and so the file is vouched for.

    Raises:
        ArtifactError: it is another file, or that key did not sign it.
        UsageError: the pin is none, or the key cannot be read.
        MissingExtraError: a signature is asked for and the extra ``sign`` is not installed.
    """
    if sha256 is not None:
        wanted = sha256.strip().lower().removeprefix("sha256:")
        if not re.fullmatch("[0-9a-f]{64}", wanted):
            raise UsageError(f"sha256 = {sha256[:80]!r}, expected the 64 hexadecimal digits that sha256sum prints")
        found = hashlib.sha256(content).hexdigest()
        if not hmac.compare_digest(found, wanted):
            raise ArtifactError(
                f"{path} has SHA-256 {found}, expected {wanted}: it is another file. Copy the right one, or take the "
                "pin of this one if it is meant"
            )
    if trusted_key is not None:
        signing.verify(content, path, Path(trusted_key))
    return sha256 is not None or trusted_key is not None
