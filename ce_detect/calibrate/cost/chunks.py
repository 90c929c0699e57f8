"""How many rows the classifier runs fastest at a time, so that what it keeps of them stays in the processor's cache."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from ce_detect.calibrate.cost.table import CostTable
from ce_detect.calibrate.cost.timing import ratios, seconds_of
from ce_detect.classifiers.base import Classifier

CHUNKS = (4, 8, 16, 32, 64, 128)
"""Numbers of rows that are tried."""

MOST_VALUES = 1_250_000
"""Pixel values at most in the batches on which items and chunks are timed; whole gates are timed on all batch sizes."""

LONG = 0.2
"""Seconds that the model may take for the rows that are timed at once: of a slow one, more rows say nothing new."""

SECONDS = 0.7
"""Time that each function may take in a comparison, about, where it is slow."""


def rows_in_time(bare: nn.Module, x: Tensor, table: CostTable) -> int:
    """How many rows a model runs within `LONG`, about, and at least one; measured once.

    Args:
        bare: the model as the user runs it.
        x: images ``(batch, channels, height, width)`` to time on; a few are enough.
        table: where the time of a row is kept.
    """
    name = "seconds of a row"

    def measure(_: list[str]) -> list[float]:
        rows = x[: CHUNKS[0]]
        with torch.inference_mode():
            bare(rows)
            return [seconds_of(partial(bare, rows), x.device) / len(rows)]

    return max(1, int(LONG / table.get([name], measure)[name]))


def fastest_chunk(classifier: Classifier, bare: nn.Module, x: Tensor, table: CostTable) -> int | None:
    """Number of rows that are fastest to run at a time; None where the device takes all at once.

    Args:
        classifier: what is wrapped.
        bare: the model as the user runs it.
        x: images ``(batch, channels, height, width)`` to time on, repeated as often as it takes.
        table: where costs are kept.
    """
    if x.device.type != "cpu":
        return None
    most = min(MOST_VALUES // x[0].numel(), rows_in_time(bare, x, table))
    sizes = [size for size in CHUNKS if size <= max(most, min(CHUNKS))]

    def measure(_: list[str]) -> list[float]:
        rows = x.repeat(-(-max(sizes) // len(x)), 1, 1, 1)[: max(sizes)]

        def in_chunks(size: int) -> None:
            for part in rows.split(size):
                classifier.logits(part)

        tried = [partial(in_chunks, size) for size in sizes]
        with torch.inference_mode():
            found = ratios(lambda: bare(rows), tried, rounds=11, seconds=SECONDS * len(sizes))
        return [round(cost, 3) for cost in found]

    costs = table.get([f"chunk {size}" for size in sizes], measure)
    return min(sizes, key=lambda size: costs[f"chunk {size}"])
