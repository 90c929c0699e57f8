"""The table of measured costs on disk."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import save

from ce_detect.calibrate.cost.table import CostTable


def table(folder: Path, **changes: object) -> CostTable:
    """A table of one model on one machine."""
    described = {"fingerprint": "abc", "input_shape": (3, 32, 32), "sites": ("a",), "device": "cpu", **changes}
    batches = described.pop("batches", (1, 32))
    digest = described.pop("fingerprint")
    return CostTable(folder, SimpleNamespace(fingerprint=lambda: digest, **described), batches=batches)


def test_known_costs_are_not_measured_again(tmp_path: Path) -> None:
    """Only what is not known is measured, also by a later table in the same folder."""
    asked: list[list[str]] = []

    def measure(names: list[str]) -> list[float]:
        asked.append(names)
        return [float(len(name)) for name in names]

    assert table(tmp_path).get(["a", "bb"], measure) == {"a": 1.0, "bb": 2.0}
    assert table(tmp_path).get(["bb", "ccc"], measure) == {"bb": 2.0, "ccc": 3.0}
    assert table(tmp_path).get(["ccc", "a"], measure) == {"ccc": 3.0, "a": 1.0}
    assert asked == [["a", "bb"], ["ccc"]]


@pytest.mark.parametrize(
    "change",
    [{"fingerprint": "abd"}, {"batches": (1,)}, {"device": "cuda"}, {"input_shape": (3, 64, 64)}, {"sites": ()}],
)
def test_another_model_batch_or_device_is_measured_anew(tmp_path: Path, change: dict[str, object]) -> None:
    """Costs of one environment say nothing about another."""
    table(tmp_path).get(["a"], lambda _: [1.0])
    assert table(tmp_path, **change).get(["a"], lambda _: [2.0]) == {"a": 2.0}
    assert table(tmp_path).get(["a"], lambda _: [3.0]) == {"a": 1.0}


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe", save({"cost": np.ones(2)}), save({"price": np.ones(())})], ids=range(5)
)
def test_damaged_cost_is_measured_anew(tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """What cannot be read is only a cache: it is made again, and the log says so."""
    table(tmp_path).get(["a"], lambda _: [1.0])
    (path,) = (tmp_path / "costs").iterdir()
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert table(tmp_path).get(["a"], lambda _: [2.0]) == {"a": 2.0}
    assert path.name in caplog.text
    assert table(tmp_path).get(["a"], lambda _: [3.0]) == {"a": 2.0}
