"""The format of exported graphs: what they take and give, and what they say of themselves in their metadata."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from ce_detect.core.errors import ArtifactError

FORMAT = "1"
"""Version of the format that this code writes and reads."""

INPUT = "input"
"""Name of the input that takes pixels."""

THRESHOLD = "threshold"
"""Name of the input, optional, that takes another threshold than the calibrated one: a float32 scalar."""

DTYPES: Mapping[str, np.dtype[np.generic]] = MappingProxyType(
    {"FP32": np.dtype("<f4"), "INT64": np.dtype("<i8"), "BOOL": np.dtype("|b1"), "UINT8": np.dtype("|u1")}
)
"""Element types by their names in the Open Inference Protocol; Triton puts ``TYPE_`` before them."""

PIXEL_TYPES: Mapping[str, str] = MappingProxyType({"tensor(float)": "FP32", "tensor(uint8)": "UINT8"})
"""Element types that the pixels may have, by their names in ONNX Runtime.

FP32 is ``(batch, channels, height, width)`` within the bounds, UINT8 bytes 0-255 ``(batch, height, width, channels)``.
"""

OUTPUT_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "logits": "FP32",
        "label": "INT64",
        "score": "FP32",
        "p_value": "FP32",
        "probability": "FP32",
        "is_adversarial": "BOOL",
    }
)
"""Element types of the outputs by name, in the order of `ce_detect.verdict.result.GateResult`."""

OUTPUTS = tuple(OUTPUT_TYPES)
"""Names of the outputs; ``logits`` is ``(batch, classes)``, the others are ``(batch,)``."""

FORMAT_KEY = "ce_detect.format"
"""Key of the metadata: `FORMAT`."""

VERSION_KEY = "ce_detect.version"
"""Key of the metadata: the version of ce-detect that wrote the graph."""

THRESHOLD_KEY = "ce_detect.threshold"
"""Key of the metadata: the calibrated threshold, in decimal."""

DIGEST_KEY = "ce_detect.digest"
"""Key of the metadata, the last entry: a checksum of all before it, see `ce_detect.artifacts.graph_digest`."""

MANIFEST_KEY = "ce_detect.manifest"
"""Key of the metadata: the manifest of the artifact as JSON, keys sorted."""


def metadata(session: Any) -> dict[str, str]:
    """What a graph in a session of ONNX Runtime says of itself.

    Raises:
        ArtifactError: it is no text.
    """
    try:
        found: dict[str, str] = session.get_modelmeta().custom_metadata_map
    except UnicodeDecodeError as error:
        raise ArtifactError(f"its metadata is no text ({error})") from error
    return found
