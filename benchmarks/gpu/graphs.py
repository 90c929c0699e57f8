"""Graphs in ONNX Runtime that run where they are told to, from inputs and to outputs that lie there."""

from __future__ import annotations

import warnings
from collections import Counter
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from ce_detect.runtime import providers as execution
from ce_detect.runtime.providers import Provider

NAMES = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
"""Execution providers by the names that the program has for them."""

PRECISIONS = ("fp32", "fp16")


def wanted(name: str, precision: str, shape: tuple[int, ...], most: int) -> list[Provider]:
    """Execution providers to ask for, with TF32 off: what is called fp32 is.

    Args:
        name: key of `NAMES`.
        precision: one of `PRECISIONS`; matters to TensorRT alone, which converts by itself.
        shape: ``(channels, height, width)`` of an input.
        most: inputs in the largest batch.
    """
    if name == "cpu":
        return [NAMES[name]]
    cuda: Provider = (NAMES["cuda"], {"use_tf32": "0"})
    if name == "cuda":
        return [cuda]
    sides = "x".join(map(str, shape))
    batches = {"min": 1, "opt": most, "max": most}
    profile = {f"trt_profile_{end}_shapes": f"input:{batch}x{sides}" for end, batch in batches.items()}
    return [(NAMES[name], {"trt_fp16_enable": str(int(precision == "fp16")), **profile}), cuda]


def converted(graph: bytes, name: str, precision: str) -> bytes:
    """A graph in a precision, by ONNX Runtime's own tool; TensorRT gets it as it is."""
    if precision == "fp32" or name == "tensorrt":
        return graph
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of each number that float16 does not have
        content: bytes = convert_float_to_float16(onnx.load_from_string(graph), keep_io_types=True).SerializeToString()
    return content


def opened(graph: bytes, providers: list[Provider]) -> Any:
    """A session, which runs on all of these providers.

    Raises:
        UsageError: one of them is not there, or could not be loaded and ONNX Runtime went on without it.
    """
    onnxruntime = execution.onnxruntime()
    available = onnxruntime.get_available_providers()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    session = onnxruntime.InferenceSession(graph, options, providers=execution.chosen(providers, available))
    execution.check_loaded(providers, available, session.get_providers())
    return session


def nodes(session: Any) -> dict[str, int]:
    """Nodes of a graph by the provider that runs them: few of them may stay on the CPU."""
    found: Counter[str] = Counter()
    for part in session.get_provider_graph_assignment_info():
        found[part.ep_name] += len(part.get_nodes())
    return dict(found)


class Bound:
    """A graph on one batch that lies on its device; a run copies nothing."""

    def __init__(self, session: Any, x: NDArray[np.float32]) -> None:
        self._session, self._binding = session, session.io_binding()
        device = "cpu" if session.get_providers()[0] == NAMES["cpu"] else "cuda"
        self._x = execution.onnxruntime().OrtValue.ortvalue_from_numpy(np.ascontiguousarray(x), device, 0)
        self._binding.bind_ortvalue_input("input", self._x)
        self._names = [node.name for node in session.get_outputs()]
        for name in self._names:
            self._binding.bind_output(name, device, 0)

    def __call__(self) -> None:
        """Run, and wait for the end."""
        self._session.run_with_iobinding(self._binding)

    def outputs(self) -> dict[str, NDArray[Any]]:
        """Run, and take the outputs to the CPU."""
        self()
        return dict(zip(self._names, self._binding.copy_outputs_to_cpu(), strict=True))
