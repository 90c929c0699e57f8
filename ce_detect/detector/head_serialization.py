"""A head as its kind and tensors, and the other way round."""

from __future__ import annotations

from torch import Tensor

from ce_detect.artifacts import heads as kinds
from ce_detect.heads.base import Head
from ce_detect.heads.cascade import CascadedHead
from ce_detect.heads.disagreement import DisagreementHead
from ce_detect.heads.fusion import FusedHead
from ce_detect.heads.mahalanobis import DistanceHead
from ce_detect.heads.network import NetworkHead

Tensors = dict[str, Tensor]


def kind(head: Head) -> kinds.HeadPart:
    """What the manifest says about a head; its tensors are its state.

    Raises:
        TypeError: a head that no artifact holds.
    """
    match head:
        case NetworkHead():
            return kinds.Network()
        case DistanceHead():
            return kinds.Mahalanobis()
        case FusedHead():
            return kinds.Fused()
        case DisagreementHead():
            return kinds.Disagreement(kind(head.inner))
        case CascadedHead():
            return kinds.Cascade(kind(head.first), kind(head.second))
    raise TypeError(f"no artifact holds a {type(head).__name__}")


def head(described: kinds.HeadPart, tensors: Tensors, prefix: str) -> Head:
    """Make a head again.

    Args:
        described: its kind.
        tensors: those whose names start with the prefix are its state.
        prefix: such as ``"head."``.

    Raises:
        KeyError: a tensor is missing.
    """
    own = _part(tensors, prefix)
    match described:
        case kinds.Network():
            return _network(own)
        case kinds.Mahalanobis():
            return _distance(own)
        case kinds.Fused():
            network, clean = _network(_part(own, "network.")), _distance(_part(own, "clean."))
            return FusedHead(network, clean, **_numbers(own, "location", "spread", "middle", "width"))
        case kinds.Disagreement():
            inner, effect, odds = head(described.inner, own, "inner."), int(own["effect"]), int(own["odds"])
            numbers = _numbers(own, "middle", "width", "meeting")
            return DisagreementHead(inner, effect=effect, odds=odds, **numbers)
        case kinds.Cascade():
            first, second = head(described.first, own, "first."), head(described.second, own, "second.")
            return CascadedHead(first, second, **_numbers(own, "level"))


def _network(own: Tensors) -> NetworkHead:
    depth = sum(name.startswith("weight") for name in own) - 1
    layers = [(own[f"weight{i}"], own[f"bias{i}"]) for i in range(depth)]
    return NetworkHead(own["center"], own["scale"], own["weight"], own["bias"], layers)


def _distance(own: Tensors) -> DistanceHead:
    return DistanceHead(own["center"], own["scale"], own["mean"], own["precision"], own["directions"])


def _part(own: Tensors, prefix: str) -> Tensors:
    return {name.removeprefix(prefix): value for name, value in own.items() if name.startswith(prefix)}


def _numbers(own: Tensors, *names: str) -> dict[str, float]:
    return {name: float(own[name]) for name in names}
