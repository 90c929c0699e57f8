"""What becomes of the labels of flagged inputs, in arrays of either kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from ce_detect.core.errors import AbstainedError, UsageError
from ce_detect.verdict.policies import Abstain, FallBack, Flag, as_policy
from ce_detect.verdict.result import GateResult

FLAGGED = [False, True, False, True]


@pytest.fixture(params=[np.array, torch.tensor], ids=["numpy", "torch"])
def array(request: pytest.FixtureRequest) -> Any:
    """What makes an array of a list."""
    return request.param


def result(array: Any) -> GateResult:
    """Verdicts on four inputs."""
    score = array([0.0, 2.0, 0.5, 3.0])
    return GateResult(array([[0.0, 1.0]] * 4), array([1, 2, 3, 4]), score, score, score, array(FLAGGED), 1.0)


def test_flagging_changes_nothing(array: Any) -> None:
    """The result is handed on."""
    given = result(array)
    assert Flag().apply(given, array([0, 1, 2, 3])) is given


def test_abstaining_hides_labels_or_raises(array: Any) -> None:
    """Only the labels of flagged inputs are lost, those of the given result not; an error names the positions."""
    given = result(array)
    assert Abstain().apply(given, None).label.tolist() == [1, -1, 3, -1]
    assert given.label.tolist() == [1, 2, 3, 4]
    with pytest.raises(AbstainedError, match=r"positions \[1, 3\]") as caught:
        Abstain(raise_error=True).apply(given, None)
    assert caught.value.indices == (1, 3)


@pytest.mark.parametrize(
    "answer", [lambda part: part * 10, lambda part: (part[:, None] == 3) * 1], ids=["labels", "logits"]
)
def test_somebody_else_answers_for_flagged_inputs(array: Any, answer: Any) -> None:
    """It is asked about those inputs alone, and may give labels or logits."""
    asked: list[Any] = []

    def noted(part: Any) -> Any:
        asked.extend(part.tolist())
        return answer(part)

    given = result(array)
    labels = FallBack(noted).apply(given, array([0, 1, 2, 3])).label
    assert asked == [1, 3]
    assert type(labels) is type(given.label)
    assert labels.tolist()[::2] == [1, 3]
    assert labels.tolist()[1::2] in ([10, 30], [0, 0])


def test_nobody_is_asked_where_nothing_is_flagged(array: Any) -> None:
    """A fallback may be slow, and an error would be wrong."""
    given = result(array)
    clean = GateResult(
        given.logits, given.label, given.score, given.p_value, given.probability, array([False] * 4), 1.0
    )
    assert FallBack(pytest.fail).apply(clean, array([0, 1, 2, 3])) is clean
    assert Abstain(raise_error=True).apply(clean, None).label.tolist() == [1, 2, 3, 4]


def test_policies_by_name() -> None:
    """A name, a callable or a policy object; what is none of them is refused."""
    assert (as_policy("flag"), as_policy("abstain"), as_policy(len)) == (Flag(), Abstain(), FallBack(len))
    assert as_policy(Abstain(raise_error=True)).raise_error  # type: ignore[union-attr]
    with pytest.raises(UsageError, match="'panic' is none of 'flag', 'abstain' or a callable"):
        as_policy("panic")
