"""How far a graph is from PyTorch, in words; needs neither."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def pairs(found: Mapping[str, Any]) -> dict[str, str]:
    """Differences by name, see `ce_detect.export.parity.Differences`."""
    return {
        "inputs": str(found["inputs"]),
        "precision": found["precision"],
        "verdicts that flip": str(found["verdict_flips"]),
        "labels that flip": str(found["label_flips"]),
        **{f"largest difference of {name}": f"{found[name]:.2g}" for name in ("score", "p_value", "probability")},
        "largest relative difference of logits": f"{found['logits']:.2g}",
        "closest score to the threshold": f"{found['margin']:.2g}",
        **({"inputs at the level of the cascade": str(found["either"])} if found["either"] else {}),
    }
