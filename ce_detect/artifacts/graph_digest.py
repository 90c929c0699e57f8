"""The checksum of an exported graph: its last bytes are an entry of the metadata, a SHA-256 of all bytes before it.

It tells damage and edits by accident. Whoever can write the file can also make the checksum anew; against that there
are signatures and pins, see `ce_detect.artifacts.trust`. A graph of a version before has no checksum, and is read only
where one of these says that it is the right one.
"""

from __future__ import annotations

import hashlib

from ce_detect.artifacts import onnx_bytes
from ce_detect.artifacts.graph_format import DIGEST_KEY, FORMAT_KEY
from ce_detect.core.errors import ArtifactError

REMEDY = "; write it again with ce-detect export, or copy it again"
"""What to do about a file that is not whole."""

_LENGTH = len(onnx_bytes.entry(DIGEST_KEY, "0" * 64))


def sealed(content: bytes) -> bytes:
    """A graph with its checksum behind it. Nothing may be changed any more, nor converted to another precision."""
    return content + onnx_bytes.entry(DIGEST_KEY, hashlib.sha256(content).hexdigest())


def check(content: bytes, name: str, *, vouched: bool = False) -> str:
    """Hold a graph to its checksum, before anything opens it.

    Args:
        content: of the file.
        name: what errors call it.
        vouched: whether a signature or a pin says that these are the right bytes; then it may lack a checksum.

    Returns:
        SHA-256 of the whole file, in hexadecimal.

    Raises:
        ArtifactError: truncated, edited or foreign; or it refers to other files.
    """
    if FORMAT_KEY.encode() not in content:
        raise ArtifactError(f"{name} is not a whole ONNX file, or not a gate that ce-detect exported{REMEDY}")
    digest = hashlib.sha256(memoryview(content)[:-_LENGTH])
    expected = onnx_bytes.entry(DIGEST_KEY, digest.hexdigest())
    digest.update(content[-_LENGTH:])
    told = DIGEST_KEY.encode() in content
    if not told and not vouched:
        raise ArtifactError(
            f"{name} has no checksum of itself: it ends too early, or a version of ce-detect before wrote it. Write it "
            "again with ce-detect export. Or say that the file is the right one: give --sha256 (sha256= in Python) "
            "what sha256sum prints of it, or sign it"
        )
    if told and not content.endswith(expected):
        raise ArtifactError(f"{name} was edited or damaged: its checksum does not match its content{REMEDY}")
    try:
        onnx_bytes.check_alone(content)
    except ArtifactError as error:
        raise ArtifactError(f"{name} is no gate that can be read: {error}{REMEDY}") from error
    return digest.hexdigest()
