"""The checksum of an exported graph."""

from __future__ import annotations

import hashlib

import numpy as np
import onnx
import pytest
from support import fused

from ce_detect.artifacts import graph_digest
from ce_detect.artifacts.graph_format import DIGEST_KEY
from ce_detect.core.errors import ArtifactError


def test_a_graph_says_its_checksum() -> None:
    """It is metadata like the rest, and covers all that stands before it."""
    content = fused.graph()
    assert graph_digest.check(content, "guard.onnx") == hashlib.sha256(content).hexdigest()
    before = content[: content.rindex(DIGEST_KEY.encode()) - 4]
    last = onnx.load_from_string(content).metadata_props[-1]
    assert (last.key, last.value) == (DIGEST_KEY, hashlib.sha256(before).hexdigest())


def test_random_mutations() -> None:
    """Of a file with one byte changed, a part cut out, doubled or put elsewhere, none passes."""
    content, generator = fused.graph(), np.random.default_rng(0)
    for number in range(320):
        a, b = sorted(int(i) for i in generator.integers(len(content), size=2))
        changed = bytearray(content)
        changed[a] ^= 1 << (number % 8)
        ways = (bytes(changed), content[:a] + content[b:], content[:b] + content[a:], content[b:] + content[:b])
        made = ways[number % 4]
        if made != content:
            with pytest.raises(ArtifactError, match=r"guard\.onnx"):
                graph_digest.check(made, "guard.onnx")


def test_a_graph_of_before_needs_somebody_who_vouches_for_it() -> None:
    """The error says both ways; what is vouched for is read, unless it is damaged."""
    content = fused.graph()
    old = content[: content.rindex(DIGEST_KEY.encode()) - 4]
    with pytest.raises(ArtifactError, match=r"has no checksum of itself.*ce-detect export.*--sha256"):
        graph_digest.check(old, "guard.onnx")
    assert graph_digest.check(old, "guard.onnx", vouched=True) == hashlib.sha256(old).hexdigest()
    with pytest.raises(ArtifactError, match="edited or damaged"):
        graph_digest.check(content + b"\x12\x00", "guard.onnx", vouched=True)


def test_what_stands_behind_the_checksum_is_not_ignored() -> None:
    """Another entry, or the same once more."""
    content = fused.graph()
    for more in (b"\x12\x00", content[content.rindex(DIGEST_KEY.encode()) - 4 :]):
        with pytest.raises(ArtifactError, match="edited or damaged"):
            graph_digest.check(content + more, "guard.onnx")
