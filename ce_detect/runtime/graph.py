"""A fused graph: the file, what it says of itself, and running it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from ce_detect.artifacts import graph_digest, plain_data, trust
from ce_detect.artifacts.graph_digest import REMEDY
from ce_detect.artifacts.graph_format import (
    FORMAT,
    FORMAT_KEY,
    INPUT,
    MANIFEST_KEY,
    OUTPUTS,
    PIXEL_TYPES,
    THRESHOLD,
    THRESHOLD_KEY,
    VERSION_KEY,
    metadata,
)
from ce_detect.artifacts.manifest import Runnable
from ce_detect.artifacts.tensors import LARGEST
from ce_detect.artifacts.trust import Trust
from ce_detect.core.errors import ArtifactError
from ce_detect.core.resizing import Resizing
from ce_detect.runtime import providers as execution
from ce_detect.runtime.providers import Provider


@dataclass(frozen=True, slots=True)
class Described:
    """What a fused graph says of itself.

    Attributes:
        manifest: of the detector in it, see `ce_detect.artifacts.file.Artifact`.
        threshold: the calibrated one.
        input_shape: ``(channels, height, width)``.
        bounds: smallest and largest valid pixel value of the classifier.
        chunk: how many inputs are judged at a time in PyTorch; None for any number.
        resizing: how image files come to that size; None where they have it.
    """

    manifest: dict[str, Any]
    threshold: float
    input_shape: tuple[int, int, int]
    bounds: tuple[float, float]
    chunk: int | None
    resizing: Resizing | None


class Graph:
    """A fused graph in an ONNX Runtime session.

    Nothing in the file is executed but ONNX operators of ONNX Runtime itself. `run` may be called from several threads.

    Attributes:
        described: what the file says of itself.
        pixels: element type of the pixels, see `ce_detect.artifacts.graph_format.PIXEL_TYPES`.
        any_size: whether images may have any one size, and the graph resizes them.
        providers: what it runs on, the first first.
        fingerprint: SHA-256 of the file, in hexadecimal.

    Args:
        path: an ``.onnx`` file. It is read once: what was checked is what runs.
        providers: see `ce_detect.runtime.providers.chosen`.
        threads: for one operator; None for ONNX Runtime's choice.
        asked: which file it must be, see `ce_detect.artifacts.trust.Trust`.

    Raises:
        ArtifactError: no such file; truncated, edited, foreign or of another format; or not the one it must be.
        MissingExtraError: ONNX Runtime is not installed.
        UsageError: a provider that is not there.
    """

    def __init__(
        self, path: Path, *, providers: Sequence[Provider] | None, threads: int | None, **asked: Unpack[Trust]
    ) -> None:
        onnxruntime = execution.onnxruntime()
        content = _content(path)
        self.fingerprint = graph_digest.check(content, str(path), vouched=trust.check(content, path, **asked))
        self._session = _session(onnxruntime, path, content, providers, threads)
        self.described = _described(path, self._session)
        self.providers: tuple[str, ...] = tuple(self._session.get_providers())
        execution.check_loaded(providers, onnxruntime.get_available_providers(), self.providers)
        self.pixels, self.any_size = _pixels(path, self._session)
        self._device = "cuda" if self.providers[0] in execution.CUDA else "cpu"
        self._device_id = int(self._session.get_provider_options()[self.providers[0]].get("device_id", 0))
        self._placed = onnxruntime.OrtValue.ortvalue_from_numpy

    def run(self, x: NDArray[Any], threshold: float) -> list[NDArray[Any]]:
        """Judge one batch of the type and shape of the input.

        Returns:
            Arrays in the order of `OUTPUTS`.
        """
        feed = {INPUT: x, THRESHOLD: np.array(threshold, np.float32)}
        if self._device == "cpu":
            return list(self._session.run(OUTPUTS, feed))
        return self._run_bound(feed)

    def _run_bound(self, feed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Outputs stay on the device until all are there: one wait a batch instead of one an output."""
        binding = self._session.io_binding()
        for name, value in feed.items():  # bind_cpu_input does not know inputs with a default, such as the threshold
            binding.bind_ortvalue_input(name, self._placed(value, self._device, self._device_id))
        for name in OUTPUTS:
            binding.bind_output(name, self._device, self._device_id)
        self._session.run_with_iobinding(binding)
        return list(binding.copy_outputs_to_cpu())


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = "" if isinstance(error, FileNotFoundError) else f" ({error.strerror or error})"
        raise ArtifactError(f"no exported gate at {path}{reason}; write one with ce-detect export") from error


def session_options(onnxruntime: Any) -> Any:
    """Options for a session of a graph from a file."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; its warnings are of no use to whoever gates inputs
    options.add_session_config_entry("session.load_model_format", "ONNX")  # not its own, which nothing here checks
    return options


def _session(
    onnxruntime: Any, path: Path, content: bytes, wanted: Sequence[Provider] | None, threads: int | None
) -> Any:
    options = session_options(onnxruntime)
    options.add_session_config_entry("session.force_spinning_stop", "1")  # or its threads wait in a loop after each run
    if threads is not None:
        options.intra_op_num_threads = threads
    chosen = execution.chosen(wanted, onnxruntime.get_available_providers())
    try:
        return onnxruntime.InferenceSession(content, options, providers=chosen)
    except Exception as error:  # the errors of ONNX Runtime have no root of their own
        raise ArtifactError(f"{path} is not a whole ONNX file that ONNX Runtime can run ({error}){REMEDY}") from error


def _described(path: Path, session: Any) -> Described:
    """Read what the file says of itself.

    Raises:
        ArtifactError: nothing, or in another format.
    """
    try:
        said = metadata(session)
    except ArtifactError as error:
        raise ArtifactError(f"{path} does not say what it is: {error}{REMEDY}") from error
    version = said.get(FORMAT_KEY)
    if version != FORMAT:
        raise ArtifactError(
            f"{path} has format {version!r}, this version of ce-detect reads format {FORMAT!r}; it was written by "
            f"ce-detect {said.get(VERSION_KEY, '(unknown)')}, install that one"
        )
    try:
        manifest = plain_data.parsed(said[MANIFEST_KEY])
        told, threshold = Runnable.of(manifest), float(said[THRESHOLD_KEY])
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"the manifest of {path} cannot be read ({error}){REMEDY}") from error
    if not math.isfinite(threshold) or abs(threshold) > LARGEST:
        raise ArtifactError(f"threshold of {path} is {threshold:g}, expected a finite number{REMEDY}")
    model, chunk = told.model, told.signature.chunk
    return Described(manifest, threshold, model.input_shape, model.bounds, chunk, model.resizing)


def _pixels(path: Path, session: Any) -> tuple[str, bool]:
    """Element type of the pixels, and whether images may have any size.

    Raises:
        ArtifactError: the graph has other inputs or outputs than a gate.
    """
    taken = {node.name: node for node in (*session.get_inputs(), *session.get_overridable_initializers())}
    given = tuple(node.name for node in session.get_outputs())
    if set(taken) != {INPUT, THRESHOLD} or given != OUTPUTS or taken[INPUT].type not in PIXEL_TYPES:
        kinds = ", ".join(f"{name} {node.type}" for name, node in taken.items())
        raise ArtifactError(f"{path} takes {kinds} and gives {', '.join(given)}, which no gate does{REMEDY}")
    free = isinstance(taken[INPUT].shape[1], str)
    return PIXEL_TYPES[taken[INPUT].type], free
