"""Expectation over transformations: attack a gate whose random interventions have a secret seed."""

from __future__ import annotations

import torch
from torch import Tensor

from ce_detect.detector.gate import GateModule
from ce_detect.interventions import Intervention, from_spec
from ce_detect.redteam.target import Gated, Joint


def random_interventions(gate: GateModule) -> tuple[str, ...]:
    """Names of the interventions that draw from a seed."""
    return tuple(str(module.name) for module in gate.signature.interventions if not module.deterministic)


def reseeded(gate: GateModule, seed: int) -> GateModule:
    """The same gate with other draws in its random interventions: what an attacker has who does not know the seed."""
    signature = gate.signature
    made = [_redrawn(module, seed + place) for place, module in enumerate(signature.interventions)]  # type: ignore[arg-type]
    gated = GateModule(
        signature.intervening(made),
        gate.head,
        clean_scores=gate.clean_scores,
        threshold=float(gate.threshold),
        prevalence=0.5,
    )
    return gated.eval().to(gate.threshold.device)


def _redrawn(module: Intervention, seed: int) -> Intervention:
    return module if module.deterministic else from_spec({**module.spec(), "seed": seed})


class Expectation(Gated):
    """Several gates with seeds of the attacker's own in the place of the one that is attacked.

    The score of each way past is the mean over the gates plus one standard deviation: an input that only half of the
    draws let through is no good to the attacker, who has one try at the draw that counts.

    Args:
        gate: what is attacked.
        draws: number of gates.
        seed: the attacker's seed.
    """

    def __init__(self, gate: GateModule, *, draws: int = 4, seed: int = 1_000_003) -> None:
        super().__init__(gate)
        self.gates = [reseeded(gate, seed + 101 * draw) for draw in range(draws)]

    def joint(self, x: Tensor) -> Joint:
        """Judge inputs, see `ce_detect.redteam.target.Target.joint`."""
        inputs = x.to(self.gate.threshold.device)
        seen = [gate.signature(inputs) for gate in self.gates]
        logits, _ = seen[0]
        scores = torch.stack([self.gate.head.ways(features, self.threshold) for _, features in seen])
        deviation = (scores.var(0, correction=0) + 1e-12).sqrt()
        return Joint(logits.to(x.device), (scores.mean(0) + deviation).amin(0).to(x.device))
