"""Which column holds the images and which the labels."""

from __future__ import annotations

from pathlib import Path

from support.tables import Y, encoded, same, table

from ce_detect.data import load_data


def test_described_columns_win(tmp_path: Path) -> None:
    """A column that Hugging Face describes as classes holds the labels, whatever its name; −1 stands for none."""
    features = {"kind": {"_type": "ClassLabel"}, "image": {"_type": "Image"}}
    same(load_data(table(tmp_path / "a.parquet", features=features, image=encoded(), kind=Y)))
    hidden = table(tmp_path / "b.parquet", image=encoded(), label=[-1] * 6)
    same(load_data(hidden), y=None)
