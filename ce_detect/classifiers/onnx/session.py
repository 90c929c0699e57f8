"""An ONNX graph run by ONNX Runtime: whole, with hidden tensors as further outputs, or from one of them on."""

from __future__ import annotations

import hashlib
from typing import Any

import onnx
import torch
from onnx import ModelProto
from onnx.utils import Extractor
from torch import Tensor

from ce_detect.classifiers.interface import BlackBoxModule
from ce_detect.classifiers.onnx.file import OnnxFile
from ce_detect.core.errors import ModelError
from ce_detect.core.extras import needed_for

with needed_for("Running an ONNX model", extra="onnx"):
    import onnxruntime

_FAILURES = (
    onnxruntime.capi.onnxruntime_pybind11_state.Fail,
    onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument,
    onnxruntime.capi.onnxruntime_pybind11_state.InvalidGraph,
    onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented,
    onnxruntime.capi.onnxruntime_pybind11_state.RuntimeException,
)
"""What ONNX Runtime raises on a graph that it cannot run, or on an input that the graph does not take."""


class RuntimeModule(BlackBoxModule):
    """An ONNX graph behind the interface of a PyTorch module, without gradients.

    Attributes:
        file: the graph.
        digest: SHA-256 of graph and weights, ``(32,)``: the module's fingerprint follows from it.
    """

    digest: Tensor

    def __init__(self, file: OnnxFile) -> None:
        super().__init__()
        self.file = file
        self._session: Any = None
        own = hashlib.sha256(file.proto.SerializeToString(deterministic=True)).digest()
        self.register_buffer("digest", torch.frombuffer(bytearray(own), dtype=torch.uint8))
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Map pixels ``(batch, channels, height, width)`` to logits.

        Raises:
            ModelError: ONNX Runtime cannot run the graph, or not on this input.
        """
        if self._session is None:
            self._session = session(self.file.proto.SerializeToString(), self.file.name)
        (logits,) = outputs(self._session, self.as_fed(x), batch=self.file.batch)
        return logits.to(x.device)

    def as_fed(self, x: Tensor) -> Tensor:
        """Pixels in the type and the order of axes that the graph takes."""
        x = x.detach().to(getattr(torch, self.file.dtype))
        return x.permute(0, 2, 3, 1) if self.file.channels_last else x

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the session, which each process opens for itself."""
        return {**self.__dict__, "_session": None}


def session(serialized: bytes, name: str) -> Any:
    """Open a graph on the CPU, with as many threads as PyTorch has.

    Raises:
        ModelError: ONNX Runtime cannot run it.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(serialized, options, providers=["CPUExecutionProvider"])
    except _FAILURES as error:
        raise ModelError(f"ONNX Runtime cannot run {name}: {_line(error)}") from error


def outputs(opened: Any, fed: Tensor, *, batch: int | None = None) -> list[Tensor]:
    """Run a graph; one of a fixed batch size of 1 is run image by image.

    Raises:
        ModelError: it does not take this input.
    """
    (given,) = opened.get_inputs()
    parts = fed.detach().cpu().contiguous().split(batch or max(1, len(fed)))
    try:
        found = [opened.run(None, {given.name: part.numpy()}) for part in parts]
    except _FAILURES as error:
        raise ModelError(
            f"the ONNX graph does not take an input of shape {tuple(fed.shape)}: {_line(error)}"
        ) from error
    return [torch.cat([torch.from_numpy(row[i]) for row in found]) for i in range(len(found[0]))]


def showing(file: OnnxFile, tensors: dict[str, int]) -> ModelProto:
    """The graph with hidden tensors as outputs behind the logits.

    Args:
        file: the graph.
        tensors: element type of each tensor by its name.
    """
    proto = ModelProto()
    proto.CopyFrom(file.proto)
    for name, kind in tensors.items():
        proto.graph.output.append(onnx.helper.make_tensor_value_info(name, kind, None))
    return proto


def after(file: OnnxFile, tensor: str, kind: int) -> ModelProto:
    """The part of the graph that leads from a hidden tensor to the logits."""
    proto = ModelProto()
    proto.CopyFrom(file.proto)
    kept = [value for value in proto.graph.value_info if value.name != tensor]
    del proto.graph.value_info[:]
    proto.graph.value_info.extend([*kept, onnx.helper.make_tensor_value_info(tensor, kind, None)])
    return Extractor(proto).extract_model([tensor], [file.output])


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
