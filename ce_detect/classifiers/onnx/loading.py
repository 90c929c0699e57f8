"""Classifiers from ONNX files: converted to PyTorch where that is possible, else run by ONNX Runtime as black boxes."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch import Tensor

from ce_detect.classifiers.interface import agree
from ce_detect.classifiers.onnx.convert.module import OnnxModule
from ce_detect.classifiers.onnx.convert.values import UnconvertibleError
from ce_detect.classifiers.onnx.file import OnnxFile, read
from ce_detect.classifiers.onnx.session import RuntimeModule
from ce_detect.core.errors import ModelError

logger = logging.getLogger("ce_detect")

_PROBES = 4


def load(path: str | Path) -> OnnxModule | RuntimeModule:
    """Read a classifier from an ONNX file.

    Its graph becomes a PyTorch module, which is used where its logits agree with those of ONNX Runtime. A graph with
    an operation that PyTorch does not have is left to ONNX Runtime: such a classifier has no gradients.

    - A softmax or sigmoid at the end is cut off: effects are measured on logits.
    - An input ``(batch, height, width, channels)`` is taken as ``(batch, channels, height, width)``.
    - A graph that was exported for one image at a time takes batches, where it still agrees.

    Raises:
        ModelError: see `ce_detect.classifiers.onnx.file.read`; or ONNX Runtime cannot run the graph.
        MissingExtraError: onnx or onnxruntime is not installed.
    """
    file = read(path)
    black_box = RuntimeModule(file)
    x, expected = _probed(file, black_box)
    try:
        module = OnnxModule(file)
        with torch.no_grad():
            agreed = agree(expected.float(), module(x.to(expected.dtype)).float())
        problem = "" if agreed else "it computes something else there"
    except UnconvertibleError as error:
        problem = f"it has {error}"
    except Exception as error:  # noqa: BLE001  the black box is correct for whatever the table gets wrong
        problem = (str(error).strip() or type(error).__name__).splitlines()[0]
    if not problem:
        return module
    logger.warning(
        "%s cannot be converted to PyTorch (%s): it is a black box without gradients, run by ONNX Runtime", file.name,
        problem,
    )  # fmt: skip
    return black_box


def _probed(file: OnnxFile, black_box: RuntimeModule) -> tuple[Tensor, Tensor]:
    """Pixels that the graph takes, and its logits of them.

    Raises:
        ModelError: ONNX Runtime cannot run it on any likely size.
    """
    problem: ModelError | None = None
    for shape in file.example_shapes():
        x = torch.rand(_PROBES, *shape, generator=torch.Generator().manual_seed(0))
        try:
            return x, black_box(x)
        except ModelError as error:
            problem = problem or error
    raise ModelError(f"{file.name} runs on no likely size of image: {problem}") from problem
