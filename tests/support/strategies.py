"""What hypothesis draws: logits, scores, and images of which some are equal."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

_LOGITS = st.floats(-30, 30, width=32)
_SCORES = st.integers(-8, 8).map(float)  # few values, so that ties are common


@st.composite
def logits_before_and_after(draw: st.DrawFn) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Logits ``(batch, classes)`` with a clear winner, and ``(draws, batch, classes)`` after an intervention."""
    batch, classes, draws = draw(st.integers(1, 3)), draw(st.integers(2, 6)), draw(st.integers(1, 3))
    z = draw(hnp.arrays(np.float32, (batch, classes), elements=_LOGITS))
    winner = draw(hnp.arrays(np.int64, batch, elements=st.integers(0, classes - 1)))
    z[np.arange(batch), winner] = z.max(axis=1) + np.float32(0.125)
    return z, draw(hnp.arrays(np.float32, (draws, batch, classes), elements=_LOGITS))


def scores(least: int = 1, most: int = 40) -> st.SearchStrategy[NDArray[np.float64]]:
    """Scores ``(n,)`` with ties."""
    return hnp.arrays(np.float64, st.integers(least, most), elements=_SCORES)


def rates() -> st.SearchStrategy[float]:
    """False-positive rates, round ones among them."""
    return st.one_of(st.sampled_from([0.01, 0.05, 0.1, 0.2, 0.25, 0.5]), st.floats(0.005, 0.9))


def images_with_twins() -> st.SearchStrategy[NDArray[np.float32]]:
    """Images ``(n, 1, 1, 2)`` of which many are equal, some of them in value but not in bits (0.0 and -0.0)."""
    return hnp.arrays(np.float32, st.tuples(st.integers(1, 30), st.just(1), st.just(1), st.just(2)),
                      elements=st.sampled_from([0.0, -0.0, 0.5, 1.0]))  # fmt: skip
