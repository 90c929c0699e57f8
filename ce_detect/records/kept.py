"""Files of a quarantine, read: what a gate said of an input, and the input itself. Nothing in them is executed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ce_detect.core.errors import InputError
from ce_detect.records.settings import MEBIBYTE

MOST = 256 * MEBIBYTE
"""Bytes that one array of a file may unpack to."""


FAR = 1e11
"""Seconds since 1970, some thousand years ahead."""

LONGEST = {"request": 256, "client": 200}
"""Characters that a database takes."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What a file says of its input.

    Attributes:
        score: larger = more adversarial; infinite where the gate gave NaN, which it flags and SQLite cannot keep.
        p_value: see `ce_detect.verdict.result.GateResult`.
        label: that was answered.
        threshold: that the score was held against; None in files of older versions.
        flagged: the verdict.
        drawn: whether the input was drawn at random from all traffic.
        request: id of the request; None where it had none.
        client: who asked; None where nobody knows.
        time: when the request came, in seconds since 1970; None in files of older versions.
    """

    score: float
    p_value: float
    label: int
    threshold: float | None
    flagged: bool
    drawn: bool
    request: str | None
    client: str | None
    time: float | None


def verdict(path: Path) -> Kept:
    """Read what a file says of its input, but not the input.

    Raises:
        InputError: it is no file of a quarantine.
    """
    with _opened(path) as stored:
        has, score, p_value = stored.files, float(stored["score"]), float(stored["p_value"])
        label = int(stored["label"]) if "label" in has else int(np.argmax(stored["logits"]))
        if not (0 <= p_value <= 1 and 0 <= label < 1 << 31):
            raise ValueError(f"p-value {p_value} and label {label} are none")
        return Kept(
            score=math.inf if math.isnan(score) else score,
            p_value=p_value,
            label=label,
            threshold=float(stored["threshold"]) if "threshold" in has else None,
            flagged=bool(stored["flagged"]) if "flagged" in has else True,
            drawn=bool(stored["drawn"]) if "drawn" in has else False,
            request=_text(stored, "id", LONGEST["request"]),
            client=_text(stored, "client", LONGEST["client"]) if "client" in has else None,
            time=_moment(stored["time"]) if "time" in has else None,
        )


def pixels(path: Path) -> NDArray[Any]:
    """Read the input: uint8 ``(height, width, channels)`` or floats ``(channels, height, width)``, as it came.

    Raises:
        InputError: it is no file of a quarantine.
    """
    with _opened(path) as stored:
        x = np.asarray(stored["x"])
    if x.ndim != 3 or not (x.dtype == np.uint8 or np.issubdtype(x.dtype, np.floating)) or not x.size:
        raise InputError(f"{path} holds {x.dtype} of shape {x.shape}, expected one picture of the quarantine")
    return x


def _text(stored: Any, name: str, most: int) -> str | None:
    found = str(stored[name])
    if len(found) > most:
        raise ValueError(f"{name} has {len(found)} characters, at most {most} are kept")
    return found or None


def _moment(stored: NDArray[Any]) -> float:
    moment = float(stored)
    if not 0 <= moment < FAR:
        raise ValueError(f"time {moment} is none")
    return moment


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            _check_sizes(stored)
            yield stored
    except InputError:
        raise
    except Exception as error:  # NumPy, zipfile and what unpacks raise many types on broken files, also MemoryError
        raise InputError(f"{path} is no file of a quarantine: {error}") from error


def _check_sizes(stored: Any) -> None:
    large = [one.filename for one in stored.zip.infolist() if one.file_size > MOST]
    if large:
        raise ValueError(f"{large[0]} unpacks to more than {MOST // MEBIBYTE} MiB")
