"""A graph that resizes does what Pillow does, and is told from one that does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from support import fused
from support.scans import png

from ce_detect import Resizing
from ce_detect.artifacts import graph_digest
from ce_detect.core.errors import ArtifactError, ExportError, InputError, ModelError, UsageError
from ce_detect.data.resizing import resized, waves
from ce_detect.export import resizing as exported
from ce_detect.runtime import Gate
from ce_detect.serve.model import Model
from ce_detect.serve.settings import Settings

TALL, WIDE = fused.SHAPE[1:]


def graph(folder: Path, resizing: Resizing) -> Gate:
    """The gate of the tests, whose score is the mean of the pixels, behind a resize."""
    model = onnx.load_from_string(fused.graph(uint8=True))
    del model.metadata_props[-1]  # the checksum, which is that of the graph before
    model.opset_import[0].version = exported.OPSET
    path = folder / "any.onnx"
    path.write_bytes(graph_digest.sealed(exported.resizing_first(model, resizing).SerializeToString()))
    return Gate(path)


@pytest.mark.parametrize(
    "resizing",
    [
        Resizing((TALL, WIDE)),
        Resizing((TALL, WIDE), None, "bicubic"),
        Resizing((9, 11), (TALL, WIDE)),
        Resizing(8, (TALL, WIDE), "bicubic"),
        Resizing(None, (TALL, WIDE)),
    ],
)
@pytest.mark.parametrize("size", [(40, 31), (9, 60), (12, 13), (100, 257)])
def test_images_of_any_size_are_judged_as_their_resized_pixels(
    resizing: Resizing, size: tuple[int, int], tmp_path: Path
) -> None:
    """Two of one size, as arrays: crops lie where Pillow's do, and edges are smoothed alike."""
    gate = graph(tmp_path, resizing)
    assert gate.any_size
    x = np.stack([waves(*size), waves(*size)[::-1]])
    expected = [resized(image, resizing, "x").mean() / 255 for image in x]
    np.testing.assert_allclose(gate(x).score, expected, atol=0.1 / 255)
    exported.check(resizing, 3)


def test_a_graph_that_resizes_says_what_it_takes(tmp_path: Path) -> None:
    """Grey levels alone, and no files: those come in many sizes."""
    gate = graph(tmp_path, Resizing((TALL, WIDE)))
    with pytest.raises(InputError, match="got shape"):
        gate(np.zeros((1, 40, 30, 1), np.uint8))
    with pytest.raises(UsageError, match="export without any size"):
        gate.read([png(waves(9, 9))])
    with pytest.raises(ArtifactError, match="export without any size"):
        Model(Settings(artifact=gate.path), record=lambda *_: None)
    assert not Gate(fused.write_graph(tmp_path, uint8=True)).any_size


def test_what_a_graph_cannot_do_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Filters that ONNX has not, and a runtime that rounds otherwise."""
    with pytest.raises(ModelError, match="a graph cannot resize by 'lanczos'"):
        exported.check(Resizing(32, 32, "lanczos"), 3)
    monkeypatch.setattr(exported, "ROUNDING", -1)
    with pytest.raises(ExportError, match="resizes otherwise than Pillow"):
        exported.check(Resizing(32, 32), 3)
