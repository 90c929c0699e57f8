"""The gate without torch: a fused graph in, verdicts out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from ce_detect.artifacts.graph_format import OUTPUTS
from ce_detect.artifacts.trust import Trust
from ce_detect.core.errors import InputError, UsageError
from ce_detect.data import validation
from ce_detect.data.decoding import decoded
from ce_detect.data.lazy import batch_size
from ce_detect.runtime.graph import Graph
from ce_detect.runtime.images import one_input
from ce_detect.runtime.providers import Provider
from ce_detect.verdict.policies import Policy, as_policy
from ce_detect.verdict.result import GateResult

ONE_SIZE = "where files of many sizes come in, export without any size: scan, serve and Gate.read resize as well"
"""What to do with a graph that resizes by itself."""

CHUNK = 128
"""Inputs that are judged at a time, as in PyTorch, where the manifest names no number."""


class Gate:
    """A classifier with a detector in front of it, as ``ce-detect export`` wrote them; may be called from many threads.

    >>> gate = Gate("guard.onnx")                                                  # doctest: +SKIP
    >>> result = gate(x)                                                           # doctest: +SKIP
    >>> result.is_adversarial, result.p_value                                      # doctest: +SKIP

    Attributes:
        path: of the file.
        threshold: score above which an input is flagged.
        providers: what it runs on, such as ``("CUDAExecutionProvider", "CPUExecutionProvider")``.

    Args:
        path: an ``.onnx`` file.
        providers: names of execution providers as ONNX Runtime spells them, or pairs of a name and options; by default
            TensorRT, CUDA or the CPU, the first of them that is there.
        threads: for one operator on the CPU; by default as many as there are cores.
        threshold: in the place of the calibrated one. The promise about clean inputs holds for that one alone.
        asked: which file it must be: its ``sha256``, or a ``trusted_key`` that signed it, see
            `ce_detect.artifacts.trust.Trust`.

    Raises:
        ArtifactError: no such file; truncated, edited, foreign or of another format; or not the one it must be.
        MissingExtraError: ONNX Runtime is not installed.
        UsageError: a provider that is not there, or a value that makes no sense.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        providers: Sequence[Provider] | None = None,
        threads: int | None = None,
        threshold: float | None = None,
        **asked: Unpack[Trust],
    ) -> None:
        if threads is not None and threads < 1:
            raise UsageError(f"threads = {threads}, expected at least 1")
        if threshold is not None and math.isnan(threshold):
            raise UsageError("threshold = nan, expected a score")
        self.path = Path(path)
        self._graph = Graph(self.path, providers=providers, threads=threads, **asked)
        self.threshold = float(np.float32(self._graph.described.threshold if threshold is None else threshold))
        self.providers = self._graph.providers

    @property
    def manifest(self) -> dict[str, Any]:
        """What was calibrated, on what, how, and the figures measured then: plain data, as saved."""
        return self._graph.described.manifest

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """``(channels, height, width)``."""
        return self._graph.described.input_shape

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest valid pixel value; of the classifier itself where the graph takes uint8."""
        return self._graph.described.bounds

    @property
    def takes_uint8(self) -> bool:
        """Whether inputs are bytes 0-255 ``(batch, height, width, channels)`` in uint8, which the graph scales."""
        return self._graph.pixels == "UINT8"

    @property
    def any_size(self) -> bool:
        """Whether images may have any size, one in a batch, and the graph resizes them."""
        return self._graph.any_size

    def one_input(self, image: NDArray[Any], name: str) -> NDArray[Any]:
        """Return a decoded image as one input, see `ce_detect.runtime.images.one_input`.

        Raises:
            UsageError: the graph resizes by itself, and takes arrays alone.
        """
        if self.any_size:
            raise UsageError(f"{self.path} resizes by itself, images of one size at a time; {ONE_SIZE}")
        return one_input(image, name, self._graph.described, uint8=self.takes_uint8)

    def read(self, files: Iterable[str | Path | bytes], *, most_pixels: int | None = None) -> NDArray[Any]:
        """Read image files as inputs.

        Args:
            files: paths, or what is in the files; of any size where the gate knows how to resize them.
            most_pixels: of one file; by default what Pillow allows.

        Returns:
            What the gate judges: ``gate(gate.read(["one.jpg", "two.jpg"]))``.

        Raises:
            InputError: one cannot be read, or is no input of this gate; or there is none.
            MissingExtraError: Pillow is not installed.
        """
        named = [(f"file {i}" if isinstance(file, bytes) else str(file), file) for i, file in enumerate(files)]
        inputs = []
        for name, file in named:
            image = decoded(file if isinstance(file, bytes) else Path(file), name, most_pixels=most_pixels)
            inputs.append(self.one_input(image, name))
        if not inputs:
            raise InputError("there are no files, expected at least one")
        return np.stack(inputs)

    @property
    def together(self) -> int:
        """How many inputs are judged at a time; larger batches are split."""
        return batch_size(self._graph.described.chunk or CHUNK, self.input_shape)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the file, in hexadecimal, as it was read."""
        return self._graph.fingerprint

    def __call__(self, x: Any, *, policy: Policy | str | Callable[[Any], Any] = "flag") -> GateResult:
        """Judge inputs.

        Args:
            x: NumPy array ``(batch, channels, height, width)``, floating point, within the bounds; or uint8
                ``(batch, height, width, channels)`` where the graph was exported so.
            policy: what happens to the label of an adversarial input: ``"flag"`` (nothing), ``"abstain"`` (−1), a
                callable that is asked for the labels of those inputs, or a policy object.

        Returns:
            NumPy arrays.

        Raises:
            InputError: the array cannot be judged.
            UsageError: no such policy.
            AbstainedError: the policy is ``Abstain(raise_error=True)`` and an input is adversarial.
        """
        chosen_policy = as_policy(policy)
        checked = self._grey_levels(x) if self.takes_uint8 else self._floats(x)
        size = self.together
        parts = [self._graph.run(checked[i : i + size], self.threshold) for i in range(0, len(checked), size)]
        columns = parts[0] if len(parts) == 1 else [np.concatenate(column) for column in zip(*parts, strict=True)]
        return chosen_policy.apply(GateResult(**dict(zip(OUTPUTS, columns, strict=True)), threshold=self.threshold), x)

    def _floats(self, x: Any) -> NDArray[Any]:
        return validation.checked(x, input_shape=self.input_shape, bounds=self.bounds)

    def _grey_levels(self, x: Any) -> NDArray[Any]:
        channels, height, width = self.input_shape
        expected = (
            f"expected bytes 0-255 (uint8) (batch, {height}, {width}, {channels}), which this graph scales itself"
        )
        if not isinstance(x, np.ndarray):
            raise InputError(f"got {type(x).__name__}, expected a NumPy array; {expected}")
        validation.refuse_masked(x)
        if x.dtype != np.uint8:
            raise InputError(f"got {x.dtype} pixels, {expected}; export without uint8 input to pass floats")
        if self.any_size and x.ndim == 4 and x.shape[3] == channels:
            height, width = x.shape[1:3]
        if x.shape[1:] != (height, width, channels):
            last = x.ndim == 4 and x.shape[1:] == (channels, height, width)
            raise InputError(f"got shape {x.shape}, {expected}" + ("; pass x.transpose(0, 2, 3, 1)" if last else ""))
        if not len(x):
            raise InputError(f"got an empty batch, {expected}")
        return np.ascontiguousarray(x)
