"""What the review store holds: inputs, decisions and alarms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Verdict = Literal["attack", "benign", "unsure"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An input as the store keeps it.

    Attributes:
        source: what tells it from all others, such as the name of its file.
        time: seconds since 1970.
        score: larger = more adversarial.
        p_value: see `ce_detect.verdict.result.GateResult`.
        flagged: the gate's verdict.
        drawn: whether it was drawn at random from all traffic, before its verdict was looked at.
        label: that was answered; None where nobody knows.
        threshold: that the score was held against; None where nobody knows.
        client: who asked; None where nobody knows.
        request: its id; None where there is none.
        file: in the quarantine; None where there is no picture.
    """

    source: str
    time: float
    score: float
    p_value: float
    flagged: bool
    drawn: bool = False
    label: int | None = None
    threshold: float | None = None
    client: str | None = None
    request: str | None = None
    file: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Item(Row):
    """An input with its number and what people made of it.

    Attributes:
        id: its number.
        outcome: what as many reviewers as asked for agree on; None while they do not.
        votes: reviewers whose decision stands.
    """

    id: int
    outcome: Verdict | None
    votes: int


@dataclass(frozen=True, slots=True)
class Decision:
    """What a reviewer decided; see the table `ce_detect.records.schema.DECISIONS`."""

    id: int
    input: int
    reviewer: str
    verdict: Verdict
    note: str
    time: float
    undone: float | None


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that the monitor raised.

    Attributes:
        id: its number.
        kind: such as ``"campaign"``.
        scope: ``"overall"``, ``"client"`` or ``"label"``.
        name: of the client or label; empty for all.
        time: seconds since 1970.
        text: what happened and what to do, for people.
    """

    id: int
    kind: str
    scope: str
    name: str
    time: float
    text: str


@dataclass(frozen=True, slots=True)
class Drawn:
    """Scores of inputs that were drawn at random, as arrays ``(n,)``.

    Attributes:
        score: larger = more adversarial.
        p_value: that the gate gave.
        threshold: that scores were held against; NaN where nobody knows.
        outcome: texts, empty where nothing is settled.
        flagged: the gate's verdict.
    """

    score: NDArray[np.float64]
    p_value: NDArray[np.float64]
    threshold: NDArray[np.float64]
    outcome: NDArray[np.str_]
    flagged: NDArray[np.bool_]
