"""Files of a quarantine: what a server wrote is read again, and nothing else is."""

from __future__ import annotations

import contextlib
import io
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.verdicts import judged

from ce_detect.core.errors import InputError
from ce_detect.records import kept
from ce_detect.records.quarantine import Quarantine
from ce_detect.records.settings import QuarantineSettings

OLD = {"x": np.zeros((1, 2, 2), np.float32), "logits": np.float32([0, 3]), "score": 2.0, "p_value": 0.1, "id": ""}


def test_what_a_server_wrote(tmp_path: Path) -> None:
    """Verdict and input come back."""
    quarantine = Quarantine(QuarantineSettings(folder=tmp_path))
    (job, result), *_ = judged(2)
    quarantine.keep([(job, result)])
    quarantine.close()
    first, second = sorted(tmp_path.iterdir(), key=lambda path: int(path.stem.rpartition("-")[2]))
    assert kept.verdict(second) == kept.Kept(2.0, np.float32(0.2), 1, 1.0, True, False, "mine", None, job.received)
    np.testing.assert_array_equal(kept.pixels(first), job.x[0])


def test_files_of_older_versions(tmp_path: Path) -> None:
    """They hold flagged inputs, none of them drawn at random; the label is the largest logit's."""
    np.savez(tmp_path / "old.npz", **OLD)
    assert kept.verdict(tmp_path / "old.npz") == kept.Kept(2.0, 0.1, 1, None, True, False, None, None, None)


def test_what_is_no_such_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text, a half file, another array, code in a pickle, and what unpacks to too much."""
    (tmp_path / "text").write_text("hello")
    np.savez(tmp_path / "whole.npz", **OLD)
    (tmp_path / "half").write_bytes((tmp_path / "whole.npz").read_bytes()[:300])
    np.save(tmp_path / "array.npy", np.zeros(3))
    objects: Any = {**OLD, "x": np.array([{}], object)}
    np.savez(tmp_path / "code.npz", **objects)
    np.savez(tmp_path / "flat.npz", **{**OLD, "x": np.zeros(3)})
    np.savez(tmp_path / "share.npz", **{**OLD, "p_value": np.nan})
    np.savez(tmp_path / "label.npz", **OLD, label=1 << 40)
    np.savez(tmp_path / "endless.npz", **OLD, label=np.inf)
    np.savez(tmp_path / "talker.npz", **OLD, client="a" * 201)
    for name in ("text", "half", "array.npy", "nowhere", "share.npz", "label.npz", "endless.npz", "talker.npz"):
        with pytest.raises(InputError, match="no file of a quarantine"):
            kept.verdict(tmp_path / name)
    for name in ("code.npz", "flat.npz"):
        with pytest.raises(InputError):
            kept.pixels(tmp_path / name)
    monkeypatch.setattr(kept, "MOST", 100)
    with pytest.raises(InputError, match="unpacks to more"):
        kept.pixels(tmp_path / "whole.npz")


@pytest.mark.parametrize("packed", [zipfile.ZIP_STORED, zipfile.ZIP_LZMA])
def test_damaged_files(tmp_path: Path, packed: int) -> None:
    """Whatever is wrong with a file, it is an `InputError`: another error ended the console's intake for good."""
    content, file = io.BytesIO(), tmp_path / "damaged.npz"
    np.savez(tmp_path / "whole.npz", **OLD)
    with zipfile.ZipFile(tmp_path / "whole.npz") as whole, zipfile.ZipFile(content, "w", packed) as again:
        for name in whole.namelist():
            again.writestr(name, whole.read(name))
    chance = random.Random(0)
    for _ in range(300):
        damaged = bytearray(content.getvalue())
        damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        file.write_bytes(damaged)
        for read in (kept.verdict, kept.pixels):
            with contextlib.suppress(InputError):
                read(file)


def test_a_header_of_too_much(tmp_path: Path) -> None:
    """A few bytes that say they are 36 TiB."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**13,)})
    np.savez(tmp_path / "whole.npz", **OLD)
    with zipfile.ZipFile(tmp_path / "whole.npz") as whole, zipfile.ZipFile(tmp_path / "huge.npz", "w") as huge:
        for name in whole.namelist():
            huge.writestr(name, header.getvalue() if name in ("x.npy", "score.npy") else whole.read(name))
    for read in (kept.verdict, kept.pixels):
        with pytest.raises(InputError, match="no file of a quarantine"):
            read(tmp_path / "huge.npz")
