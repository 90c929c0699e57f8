"""The number of rows that a classifier runs at a time."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import nn

from ce_detect.calibrate.cost import chunks
from ce_detect.calibrate.cost.chunks import fastest_chunk
from ce_detect.calibrate.cost.table import CostTable

CLASSIFIER = cast(Any, SimpleNamespace(logits=lambda x: x.flatten(1)))


class Known:
    """A table that knows all costs, and which of them was asked for."""

    def __init__(self, best: int, seconds: float = 1e-6) -> None:
        self.best, self.seconds = best, seconds
        self.asked: list[str] = []

    def get(self, names: list[str], measure: Any) -> dict[str, float]:
        """Costs that grow with the distance from the best size; what would be measured has as many values."""
        self.asked += names
        assert len(measure(names)) == len(names)
        if names == ["seconds of a row"]:
            return {names[0]: self.seconds}
        return {name: abs(int(name.removeprefix("chunk ")) - self.best) for name in names}


@pytest.mark.parametrize("best", [4, 32, 128])
def test_the_fastest_is_taken(best: int) -> None:
    """Of all sizes that are tried."""
    table = Known(best)
    assert fastest_chunk(CLASSIFIER, nn.Flatten(), torch.rand(3, 1, 8, 8), cast(CostTable, table)) == best
    assert table.asked == ["seconds of a row", *(f"chunk {size}" for size in chunks.CHUNKS)]


def test_large_images_are_not_tried_in_large_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """They would not fit in the cache, and take long to time."""
    monkeypatch.setattr(chunks, "MOST_VALUES", 16 * 64)
    table = Known(128)
    assert fastest_chunk(CLASSIFIER, nn.Flatten(), torch.rand(3, 1, 8, 8), cast(CostTable, table)) == 16


def test_a_slow_model_is_timed_on_few_rows() -> None:
    """More of them would take minutes, and arithmetic is all that counts there."""
    x = torch.rand(3, 1, 8, 8)
    assert fastest_chunk(CLASSIFIER, nn.Flatten(), x, cast(CostTable, Known(128, chunks.LONG / 10))) == 8
    assert fastest_chunk(CLASSIFIER, nn.Flatten(), x, cast(CostTable, Known(128, 9.0))) == 4
    for seconds, rows in ((chunks.LONG / 10, 10), (9.0, 1)):
        assert chunks.rows_in_time(nn.Flatten(), x, cast(CostTable, Known(4, seconds))) == rows


def test_other_devices_take_all_at_once() -> None:
    """There is nothing to choose."""
    x = torch.rand(2, 1, 8, 8, device="meta")
    assert fastest_chunk(CLASSIFIER, nn.Flatten(), x, cast(CostTable, Known(4))) is None
