"""Files of streams: whole, for their owner, and refused where a number cannot be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from msgspec import Struct

from ce_detect.core.errors import ArtifactError
from ce_detect.monitor.evidence import Bets
from ce_detect.monitor.state_file import columns, read, streams, write
from ce_detect.monitor.streams import Counts, Stream

BETS = Bets(np.array([0.02, 0.1]))
LIMIT = 1e6


class State(Struct):
    """Of these tests."""

    streams: list[Counts]


class Other(Struct):
    """Of something else."""

    salt: bytes


def kept(path: Path) -> tuple[list[Counts], dict[str, np.ndarray]]:
    """Three streams in a file."""
    found = []
    for scope, name, inputs in (("overall", "", 9), ("client", "a", 5), ("client", "b", 4)):
        stream = Stream.of(BETS, LIMIT)
        list(stream.feed(np.random.default_rng(inputs).random((inputs, 2)) < 0.5))
        found.append((scope, name, stream))
    counts, arrays = columns(found)
    write(path, State(counts), arrays)
    return counts, arrays


def test_streams_are_as_they_were(tmp_path: Path) -> None:
    """Counts, money and hits, in their order; a stream that nothing is bet on any more is left out."""
    counts, arrays = kept(tmp_path / "state")
    found = read(tmp_path / "state", State)
    assert found is not None
    state, again = found
    assert state.streams == counts
    of = list(streams(tmp_path, state.streams, again, lambda scope, name: None if name == "a" else BETS, LIMIT))
    assert [(scope, name, stream.seen) for scope, name, stream in of] == [("overall", "", 9), ("client", "b", 4)]
    np.testing.assert_array_equal(of[1][2].evidence.money, arrays["client money"][1])
    np.testing.assert_array_equal(of[1][2].hits, arrays["client hits"][1])
    assert (tmp_path / "state").stat().st_mode & 0o077 == 0
    assert read(tmp_path / "no such file", State) is None


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("client money", np.full((2, 2, 8), np.nan)),
        ("client money", np.full((2, 2, 8), -1.0)),
        ("client hits", np.zeros((1, 2), np.int64)),
        ("overall money", np.zeros((1, 3, 8))),
    ],
)
def test_numbers_that_cannot_be_are_refused(tmp_path: Path, name: str, wrong: np.ndarray) -> None:
    """With what to do."""
    counts, arrays = kept(tmp_path / "state")
    with pytest.raises(ArtifactError, match="remove it to begin anew"):
        list(streams(tmp_path, counts, {**arrays, name: wrong}, lambda *_: BETS, LIMIT))


def test_other_files_are_refused(tmp_path: Path) -> None:
    """Of another kind, and with fewer inputs than none."""
    path = tmp_path / "state"
    kept(path)
    with pytest.raises(ArtifactError, match="no state of this kind"):
        read(path, Other)
    write(path, State([Counts("client", "a", -1, 0, 0, None)]), {})
    with pytest.raises(ArtifactError, match="no state of this kind"):
        read(path, State)
