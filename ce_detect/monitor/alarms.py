"""Alarms: what they say, in the terms of MITRE ATLAS and NIST AI 100-2 E2025."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Kind = Literal["campaign", "drift", "queries"]
Scope = Literal["overall", "label", "client"]

TECHNIQUES: dict[Kind, tuple[str, ...]] = {
    "campaign": ("AML.T0015 Evade AI Model", "AML.T0043 Craft Adversarial Data"),
    "drift": (),
    "queries": ("AML.T0043.001 Craft Adversarial Data: Black-Box Optimization", "AML.T0015 Evade AI Model"),
}
"""What an attacker does, as MITRE ATLAS names it."""

MITIGATIONS: dict[Kind, tuple[str, ...]] = {
    "campaign": ("AML.M0015 Adversarial Input Detection",),
    "drift": (),
    "queries": ("AML.M0004 Restrict Number of AI Model Queries", "AML.M0015 Adversarial Input Detection"),
}
"""What is done about it, as MITRE ATLAS names it."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that an operator should look at.

    Attributes:
        kind: ``"campaign"``: too many suspicious inputs, as in an evasion attack; ``"drift"``: clean inputs are no
            longer what they were; ``"queries"``: somebody sends many near-copies, as a query-based black-box attack
            does.
        scope: whether it is about all inputs, those with one predicted label, or those of one client.
        name: the label or the client; empty for all.
        seen: inputs of that scope so far.
        text: what happened and what to do, for people.
    """

    kind: Kind
    scope: Scope
    name: str
    seen: int
    text: str

    @property
    def techniques(self) -> tuple[str, ...]:
        """See `TECHNIQUES`."""
        return TECHNIQUES[self.kind]

    @property
    def mitigations(self) -> tuple[str, ...]:
        """See `MITIGATIONS`."""
        return MITIGATIONS[self.kind]

    def plain(self) -> dict[str, Any]:
        """Plain data, for logs and webhooks."""
        return {**asdict(self), "techniques": list(self.techniques), "mitigations": list(self.mitigations)}


def of_whom(scope: Scope, name: str) -> str:
    """Which inputs an alarm is about."""
    return {"overall": "all clients", "label": f"label {name}", "client": f"client {name}"}[scope]
