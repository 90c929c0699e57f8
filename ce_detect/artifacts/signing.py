"""Signatures of artifacts and graphs, in the format of OpenSSF Model Signing: who signed it, and that it is unchanged.

With a pair of keys on an elliptic curve, and no service on the network. A signature is a file beside the one it is for,
a Sigstore bundle; ``model_signing verify key`` reads it as well (https://github.com/sigstore/model-transparency).
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ce_detect.core.errors import ArtifactError, UsageError
from ce_detect.core.extras import needed_for
from ce_detect.storage import atomic

SUFFIX = ".sig"
"""Behind the name of a file: that of its signature."""


def signature_of(path: Path) -> Path:
    """Where the signature of a file is."""
    return path.with_name(path.name + SUFFIX)


def sign(path: Path, key: Path, password: str | None = None) -> Path:
    """Sign a file.

    Args:
        path: an artifact or a graph.
        key: private key as PEM, on one of the curves P-256, P-384 and P-521.
        password: of the key, where it is encrypted.

    Returns:
        The signature's path.

    Raises:
        ArtifactError: the file cannot be read, or the signature not written.
        UsageError: the key cannot be used.
        MissingExtraError: the extra ``sign`` is not installed.
    """
    library, place = _library(), signature_of(path)
    encoded: Any = None if password is None else password.encode()
    try:
        signer = library.signing.Config().use_elliptic_key_signer(private_key=key, password=encoded)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise _unusable("private", key, error) from error
    try:
        content = path.read_bytes()
        with TemporaryDirectory(prefix="ce-detect-") as folder:
            copy, made = Path(folder) / path.name, Path(folder) / "signature"
            copy.write_bytes(content)
            signer.sign(copy, made)
            atomic.write(place, made.read_bytes())
    except OSError as error:
        raise ArtifactError(f"cannot sign {path}: {error.filename}: {error.strerror or error}") from error
    return place


def verify(content: bytes, path: Path, key: Path) -> None:
    """Refuse what a key did not sign.

    The bytes are held to the signature in a folder of our own: the file at the path may be another one by then.

    Args:
        content: of the file.
        path: of the file; its signature is beside it.
        key: public key as PEM.

    Raises:
        ArtifactError: there is no signature, it is of another key, or of another file.
        UsageError: the key cannot be used.
        MissingExtraError: the extra ``sign`` is not installed.
    """
    library, place = _library(), signature_of(path)
    try:
        verifier = library.verifying.Config().use_elliptic_key_verifier(public_key=key)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise _unusable("public", key, error) from error
    if not place.is_file():
        raise ArtifactError(f"{path} is not signed: there is no {place.name} beside it; sign it with ce-detect sign")
    with TemporaryDirectory(prefix="ce-detect-") as folder:
        copy = Path(folder) / "content"
        copy.write_bytes(content)
        try:
            verifier.verify(copy, place)
        except Exception as error:  # whatever is in that file; the library has no root of its errors
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ArtifactError(
                f"{place.name} is no signature of {path} by the key {key} ({reason[:200]}); sign this file with "
                "ce-detect sign, or take the key that signed it"
            ) from error


def _library() -> Any:
    with needed_for("A signature", extra="sign"):
        import model_signing
    return model_signing


def _unusable(kind: str, key: Path, error: Exception) -> UsageError:
    return UsageError(
        f"{key} cannot be used as a {kind} key ({error}); expected PEM of an elliptic curve, as made by openssl "
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256"
    )
