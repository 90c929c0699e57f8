"""The format of exported graphs: names of outputs, keys of metadata."""

from __future__ import annotations

FORMAT = "1"
"""Version of the fused graph that this code reads."""


OUTPUTS = ("logits", "label", "score", "p_value", "probability", "is_adversarial")
"""Outputs of the graph, in the order of `ce_detect.verdict.result.GateResult`."""
