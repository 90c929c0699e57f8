"""Encoded images in tables, and single examples in datasets."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image
from pyarrow import parquet
from torch.utils.data import Dataset

from ce_detect.data import Images

X = np.random.default_rng(0).integers(0, 256, (6, 4, 5, 3), np.uint8)

Y = [0, 1, 2, 0, 1, 2]


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode one image."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def same(images: Images, x: NDArray[np.uint8] = X, y: list[int] | None = Y) -> None:
    """Check pixels, labels and bounds against channels-last grey levels."""
    np.testing.assert_array_equal(images.x, np.float32(x.transpose(0, 3, 1, 2)) / np.float32(255))
    assert (None if images.y is None else images.y.tolist()) == y
    assert images.bounds == (0.0, 1.0)


def table(path: Path, *, features: dict[str, Any] | None = None, **columns: Any) -> Path:
    """Write a table, with the description that Hugging Face adds where there is one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = pa.table(columns)
    if features is not None:
        made = made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    parquet.write_table(made, path)
    return path


def encoded(rows: slice = slice(None)) -> list[dict[str, Any]]:
    """Images as the hub stores them."""
    return [{"bytes": png(pixels), "path": f"{number}.png"} for number, pixels in enumerate(X[rows])]


class Examples(Dataset[Any]):
    """Single examples by number, without an end of their own."""

    def __init__(self, examples: list[Any]) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Any:
        return self.examples[index % len(self.examples)]
