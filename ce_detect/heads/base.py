"""What a head is: tensors that turn a signature into a score, differentiable, a few products in an exported graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ce_detect.core.types import HeadKind as HeadKind

ROWS = 1024
"""Signatures that a head takes at a time: what it computes on the way is larger than they are."""

ABOVE_ROUNDING = 100.0
"""A feature is evidence where its range on clean images is at least so many times its rounding."""

LEFT_OUT = 1e30
"""Range of a feature that is left out."""

LEAST = 1e-8
"""Range of a feature at least, as artifacts are checked for: what varies less is rounding."""

_COLUMNS = 16  # features whose quantiles are taken at a time


class Head(nn.Module):
    """Signature to score; larger = more adversarial.

    Features are first centred and scaled by the median and the interquartile range of clean ones, then squashed by
    ``asinh``: effects have heavy tails, and a linear scale would let one of them decide alone.

    Attributes:
        center: ``(features,)``.
        scale: ``(features,)``.
        slope: scalar ``a`` of the log-likelihood ratio ``a * score + b`` (Platt scaling); NaN where no attack was seen.
        offset: scalar ``b``.
    """

    center: Tensor
    scale: Tensor
    slope: Tensor
    offset: Tensor

    def __init__(self, center: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("center", center.float())
        self.register_buffer("scale", scale.float())
        self.register_buffer("slope", torch.tensor(torch.nan))
        self.register_buffer("offset", torch.tensor(torch.nan))
        self.register_load_state_dict_post_hook(_loaded)  # type: ignore[no-untyped-call]

    def _prepare(self) -> None:
        """Work out from the state what the forward pass uses in its place, in fewer operations."""

    def squash(self, features: Tensor) -> Tensor:
        """Return squashed features, of the same shape."""
        return torch.asinh((features - self.center) / self.scale)

    def ways(self, features: Tensor, threshold: float) -> Tensor:
        """Return scores ``(ways, batch)`` of each way past a threshold: an input passes where one is at most that.

        There is one way, the score itself, unless the score is put together from several.
        """
        return torch.stack([self(features)])

    def near(self, features: Tensor, threshold: float) -> Tensor:
        """Return what is above a threshold exactly where the score is, with the gradient of the shortest way past."""
        scores: Tensor = self(features)
        return scores

    def log_likelihood_ratio(self, score: Tensor) -> Tensor:
        """Log of how much more likely a score is under attack than on clean inputs, in nats."""
        return self.slope * score + self.offset


def _loaded(head: Head, _: Any) -> None:
    """Follow a state that was loaded; no lambda, so that heads can be pickled."""
    head._prepare()


def squashing(clean: NDArray[Any], rounding: NDArray[Any] | None = None) -> tuple[Tensor, Tensor]:
    """Median and interquartile range of clean features ``(n, features)``, the latter never zero.

    A feature whose range is not well above its rounding is left out: its range is set to `LEFT_OUT`, so that it is
    zero once it is squashed. Else the head would take for evidence what another runtime or batch size changes, as of an
    intervention that a layer norm behind it undoes.

    Args:
        clean: features of clean images.
        rounding: how far each feature ``(features,)`` moves without a reason; None where that is not known.
    """
    columns = range(0, clean.shape[1], _COLUMNS)  # quantiles are taken in a copy
    centers, scales = zip(*(_squashing(clean[:, first : first + _COLUMNS]) for first in columns), strict=True)
    center, scale = np.concatenate(centers), np.concatenate(scales)
    if rounding is not None:
        scale = np.where(scale < ABOVE_ROUNDING * rounding, LEFT_OUT, scale)
    return torch.from_numpy(center), torch.from_numpy(scale)


def by_rows(function: Callable[[Tensor], Tensor], features: Tensor) -> Tensor:
    """Apply a function of signatures, such as a head, to many ``(n, features)``, some rows at a time: ``(n,)``."""
    return torch.cat([function(part) for part in features.split(ROWS)])


def _squashing(clean: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    low, middle, high = np.quantile(clean, [0.25, 0.5, 0.75], axis=0)
    spread = high - low
    fallback = np.maximum(clean.std(axis=0), 1e-6)
    return middle, np.maximum(np.where(spread > 1e-3 * fallback, spread, fallback), LEAST)
