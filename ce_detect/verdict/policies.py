"""What happens to the inputs that a gate flags; importing this imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ce_detect.core.errors import AbstainedError, UsageError
from ce_detect.verdict.result import GateResult

ABSTAINED = -1
"""Label of an input on which the gate abstains."""


@dataclass(frozen=True, slots=True)
class Flag:
    """Leave the labels as they are; the caller looks at ``is_adversarial``."""

    def apply(self, result: GateResult, x: Any) -> GateResult:
        """Return the result as it is."""
        return result


@dataclass(frozen=True, slots=True)
class Abstain:
    """Set the label of an adversarial input to −1, or raise.

    Attributes:
        raise_error: raise `AbstainedError` instead of returning.
    """

    raise_error: bool = False

    def apply(self, result: GateResult, x: Any) -> GateResult:
        """Replace labels by −1 where the verdict is adversarial.

        Raises:
            AbstainedError: an input is adversarial and ``raise_error`` is set.
        """
        flagged = _positions(result)
        if self.raise_error and flagged:
            raise AbstainedError(f"adversarial inputs at positions {list(flagged)}", indices=flagged)
        return _relabelled(result, flagged, ABSTAINED)


@dataclass(frozen=True, slots=True)
class FallBack:
    """Ask somebody else about adversarial inputs.

    Attributes:
        to: takes the adversarial inputs ``(m, channels, height, width)`` and returns labels ``(m,)`` or logits
            ``(m, classes)``: a slower, sturdier model, or a queue for people.
    """

    to: Callable[[Any], Any]

    def apply(self, result: GateResult, x: Any) -> GateResult:
        """Replace labels by the answers of ``to`` where the verdict is adversarial."""
        flagged = _positions(result)
        if not flagged:
            return result
        answer = self.to(x[list(flagged)])
        return _relabelled(result, flagged, answer.argmax(-1) if answer.ndim == 2 else answer)


Policy = Flag | Abstain | FallBack


def as_policy(policy: Policy | str | Callable[[Any], Any]) -> Policy:
    """Read ``"flag"``, ``"abstain"`` or a callable as a policy.

    Raises:
        UsageError: none of these.
    """
    if isinstance(policy, Flag | Abstain | FallBack):
        return policy
    if policy == "flag":
        return Flag()
    if policy == "abstain":
        return Abstain()
    if callable(policy):
        return FallBack(policy)
    raise UsageError(f"policy {policy!r} is none of 'flag', 'abstain' or a callable")


def _positions(result: GateResult) -> tuple[int, ...]:
    return tuple(
        int(i) for i in result.is_adversarial.nonzero()[0 if isinstance(result.score, np.ndarray) else slice(None)]
    )


def _relabelled(result: GateResult, positions: tuple[int, ...], label: Any) -> GateResult:
    labels = result.label.copy() if isinstance(result.label, np.ndarray) else result.label.clone()
    if positions:
        labels[list(positions)] = _of_kind(label, labels)
    return replace(result, label=labels)


def _of_kind(label: Any, labels: Any) -> Any:
    """The label in the kind of array, the type and the place of those it joins."""
    if isinstance(labels, np.ndarray):
        return label
    return label.to(labels) if hasattr(label, "to") else labels.new_tensor(label)
