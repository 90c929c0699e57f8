"""The seam between ce-detect and any classifier."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, TypeGuard

import torch
from torch import Tensor, nn

INPUT = "input"
"""Name of the site that is the input itself."""

PENULTIMATE = "penultimate"
"""Name of the site that feeds a linear last layer."""


class Trace(NamedTuple):
    """What one forward pass leaves behind.

    Attributes:
        logits: ``(batch, classes)``, float32.
        latents: one hidden tensor a site, float32, in the order in which the classifier computes them.
    """

    logits: Tensor
    latents: dict[str, Tensor]


Do = Callable[[Tensor], Tensor]
"""What makes intervened rows from a latent."""


class Classifier(Protocol):
    """A classifier as ce-detect sees it: logits, hidden tensors at named sites, and a way to go on from one of them.

    Attributes:
        num_classes: number of logits.
        input_shape: ``(channels, height, width)`` of one input.
        bounds: smallest and largest valid pixel value; preprocessing is inside the model.
        sites: names of the hidden tensors where one may intervene, in the order of computation.
        elastic: whether inputs of another height and width than ``input_shape`` are accepted.
        multi_label: whether each logit is the log-odds of a label of its own, so that several labels may hold at once;
            the decision is the top label.
        label: the one label of a multi-label model that is watched, as a decision between two classes; else None.
        output: which part of what the model returns was asked for as the logits, or None.
        head_weight: ``(classes, features)`` of a linear last layer that reads the site ``"penultimate"``, or None.
        differentiable: whether logits have gradients with respect to the pixels and to what is resumed from.
        captured: whether it is a graph of tensor operations, without any code of the model.
        portable: whether another process can run it without the code of the model.
        dtype: type of the model's weights; pixels, latents and logits are float32 whatever it is.
    """

    num_classes: int
    input_shape: tuple[int, ...]
    bounds: tuple[float, float]
    sites: tuple[str, ...]
    elastic: bool
    multi_label: bool
    label: int | None
    output: str | int | None
    head_weight: Tensor | None
    differentiable: bool
    captured: bool
    portable: bool
    dtype: torch.dtype

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        ...

    @property
    def tolerance(self) -> float:
        """Relative difference of logits that is rounding, not another model."""
        ...

    def probe(self, count: int = 1) -> Tensor:
        """Return fixed inputs ``(count, channels, height, width)``, that tell whether two classifiers are the same."""
        ...

    def logits(self, x: Tensor) -> Tensor:
        """Return logits ``(batch, classes)`` of inputs ``(batch, channels, height, width)``."""
        ...

    def trace(self, x: Tensor, sites: tuple[str, ...] | None = None) -> Trace:
        """Return logits and the latents at ``sites`` (all by default) from one forward pass."""
        ...

    def resume(self, site: str, latent: Tensor, x: Tensor) -> Tensor:
        """Return the logits that follow when the tensor at ``site`` is ``latent``.

        Args:
            site: one of ``sites``, or ``"input"``.
            latent: ``(draws * batch, ...)``, draw-major: the first ``batch`` rows are draw 0.
            x: the ``(batch, channels, height, width)`` inputs that gave the original latent. A classifier that
                truly skips the prefix does not look at it.
        """
        ...

    def trace_and_resume(
        self, x: Tensor, sites: tuple[str, ...], do: Mapping[str, Do]
    ) -> tuple[Trace, dict[str, Tensor]]:
        """Trace, and run intervened rows in the same batch: each joins it at its site.

        Gives what `trace` and `resume` give, in as many operations as one forward pass takes.

        Args:
            x: see `trace`.
            sites: see `trace`.
            do: for each site, or ``"input"``, what makes ``(draws * batch, ...)`` further rows of the same shape from
                the ``(batch, ...)`` latent there.

        Returns:
            The trace of ``x``, and for each site of ``do`` the logits ``(draws * batch, classes)`` of its rows.
        """
        ...

    def copied(self, site: str) -> nn.Module | None:
        """A copy, with weights of its own, of what leads from inputs to a site; None where it cannot be cut out."""
        ...

    def fingerprint(self) -> str:
        """Return a digest of parameters and buffers: equal digests mean the same weights, not the same code."""
        ...


def is_classifier(model: Any) -> TypeGuard[Classifier]:
    """Whether a model is wrapped already.

    ``isinstance`` cannot tell: from Python 3.12 on it does not see what a module keeps as parameters and buffers.
    """
    return all(hasattr(model, name) for name in ("sites", "logits", "trace", "resume"))


def positions(h: Tensor) -> tuple[int, ...]:
    """Dimensions of ``h`` that are positions: height and width of a feature map, the tokens of a sequence."""
    return (2, 3) if h.ndim == 4 else (1,)


def site_shapes(classifier: Classifier) -> dict[str, tuple[int, ...]]:
    """Shape of the latent at each site, without the batch."""
    with torch.no_grad():
        latents = classifier.trace(classifier.probe()).latents
    return {site: tuple(latent.shape[1:]) for site, latent in latents.items()}


def movable(shapes: dict[str, tuple[int, ...]]) -> list[str]:
    """Feature maps where moving or blurring shows: all but one that is pooled to the penultimate layer at once."""
    maps = [site for site, shape in shapes.items() if len(shape) == 3 and min(shape[1:]) > 1]
    before = [site for site, shape in shapes.items() if len(shape) > 1]
    return maps[:-1] if PENULTIMATE in shapes and len(maps) > 1 and maps[-1] == before[-1] else maps
