"""One loaded artifact: its gate, its queue, and what requests to it must look like."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ce_detect.core.errors import ArtifactError
from ce_detect.records.record import Judged
from ce_detect.runtime import Gate
from ce_detect.runtime.gate import ONE_SIZE
from ce_detect.serve.batching import Batcher
from ce_detect.serve.protocol import Contract
from ce_detect.serve.settings import Settings
from ce_detect.serve.watch import Watched


class Model:
    """One loaded artifact, warmed up.

    Attributes:
        contract: what requests must look like.
        read: makes inputs of image files.
        batcher: takes them.
        threshold: the calibrated one.
        described: what is told of it in metrics and logs.
        watched: what a monitor needs to know of it.

    Args:
        settings: of the server.
        record: told of every judged batch before its answers leave, with the artifact's fingerprint.

    Raises:
        ArtifactError: no such file, or not a gate that runs.
    """

    def __init__(self, settings: Settings, record: Callable[[Judged, str], None]) -> None:
        gate = Gate(
            settings.artifact,
            providers=settings.providers,
            threads=settings.threads,
            sha256=settings.sha256,
            trusted_key=settings.trusted_key,
        )
        if gate.any_size:
            raise ArtifactError(f"{gate.path} takes images of one size at a time; {ONE_SIZE}")
        self.fingerprint = gate.fingerprint
        self.read = partial(gate.read, most_pixels=settings.limits.pixels)
        self.threshold = gate.threshold
        self.described = _described(gate)
        bounds = (0.0, 255.0) if gate.takes_uint8 else gate.bounds
        self.watched = Watched(self.fingerprint, gate.manifest, math.prod(gate.input_shape), bounds, self.read)
        classes = _warm_up(gate, settings.limits.batch)
        self.contract = Contract(
            datatype="UINT8" if gate.takes_uint8 else "FP32",
            shape=_blank(gate, 1).shape[1:],
            classes=classes,
            most_inputs=settings.limits.inputs,
            most_json=settings.limits.json,
            allow_threshold=settings.allow_threshold,
        )
        self.batcher = Batcher(
            gate,
            bounds=None if gate.takes_uint8 else gate.bounds,
            limits=settings.limits,
            policy=settings.policy,
            record=lambda judged: record(judged, self.fingerprint),
        )


def _blank(gate: Gate, count: int) -> NDArray[Any]:
    channels, height, width = gate.input_shape
    if gate.takes_uint8:
        return np.full((count, height, width, channels), 128, np.uint8)
    low, high = gate.bounds
    return np.full((count, channels, height, width), (low + high) / 2, np.float32)


def _warm_up(gate: Gate, batch: int) -> int:
    """Run the smallest and the largest batch, so that no client waits for memory to be laid out.

    Returns:
        The number of classes.
    """
    try:
        for size in (1, batch):
            logits = gate(_blank(gate, size)).logits
    except Exception as error:  # ONNX Runtime's errors have no root of their own
        raise ArtifactError(f"{gate.path} does not run: {error}") from error
    return int(logits.shape[1])


def _described(gate: Gate) -> dict[str, str]:
    manifest = gate.manifest
    said: dict[str, str] = {
        "fingerprint": gate.fingerprint,
        "threshold": f"{gate.threshold:.9g}",
        "provider": gate.providers[0],
    }
    promised: dict[str, str] = {
        name: str(manifest[name]) for name in ("fpr", "guarantee", "confidence") if name in manifest
    }
    return {**said, "model": str(manifest["model"].get("fingerprint", "")), **promised}
