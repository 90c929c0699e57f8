"""Artifacts of the format before, read as if they were of this one.

Format 3 did not say which heads a gate has: the names of the tensors tell. It also had other names for the consistency
of layers and for the robust copy.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from numpy.typing import NDArray

from ce_detect.core.errors import ArtifactError

OLD = 3
"""The format that can be read beside the present one."""

_TENSORS = ("signature.recovery.", "signature.layer_consistency.")
_KINDS = ('"HardenedCopy', '"RobustCopy')

Plain = dict[str, Any]


def tensors(old: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The tensors of a gate of format 3 under their present names."""
    before, after = _TENSORS
    return {after + name.removeprefix(before) if name.startswith(before) else name: x for name, x in old.items()}


def manifest(old: Plain, heads: Plain) -> Plain:
    """The manifest of format 3, from an artifact or a graph, in the present form.

    Args:
        old: what it says.
        heads: what it does not say, see the function `heads`; a manifest that says it is of the present format already.
    """
    told: Plain = json.loads(json.dumps(old).replace(*_KINDS))
    model, signature, figures = (told.get(part, {}) for part in ("model", "signature", "figures"))
    return {
        "cascade": False,
        "secret_seed": False,
        "heads": heads,
        **told,
        "model": {"multi_label": False, "label": None, **model},
        "signature": {"recovery": None, **signature},
        "figures": {"served_cost": {}, "hardening": [], **figures},
    }


def heads(names: Iterable[str]) -> Plain:
    """The heads of a gate of format 3, from the names of its tensors.

    Raises:
        ArtifactError: one of them is a head of trees, which there is no longer.
    """
    known = tuple(names)
    found = {"head": _head(known, "head.")}
    beside = "clean_only.head."
    return {**found, "clean_only": _head(known, beside)} if any(name.startswith(beside) for name in known) else found


def _head(names: tuple[str, ...], prefix: str) -> Plain:
    own = {name.removeprefix(prefix) for name in names if name.startswith(prefix)}
    if own & {"feature", "network.feature"}:
        raise ArtifactError("it has a head of decision trees, which ce-detect no longer has")
    if "inner.center" in own:
        return {"kind": "disagreement", "inner": _head(names, f"{prefix}inner.")}
    if "level" in own:
        parts = {part: _head(names, f"{prefix}{part}.") for part in ("first", "second")}
        return {"kind": "cascade", **parts}
    if "network.center" in own:
        return {"kind": "fused"}
    return {"kind": "mahalanobis" if "directions" in own else "network"}
