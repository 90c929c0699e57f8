"""What a manifest says of features that have tensors of their own."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from ce_detect.artifacts.ranges import Sites, Size


class LayerConsistencyPart(Struct, frozen=True, kw_only=True):
    """Arguments of `ce_detect.features.layer_consistency.LayerConsistency`."""

    sites: Sites
    widths: tuple[Size, ...]

    def __post_init__(self) -> None:
        """Refuse what compares nothing."""
        if len(self.sites) < 2 or len(self.sites) != len(self.widths):
            raise ValueError(f"{len(self.sites)} sites and {len(self.widths)} widths, expected as many, two at least")


class ShapleyPart(Struct, frozen=True, kw_only=True):
    """Arguments of `ce_detect.features.shapley.ShapleyValues` beside the classifier."""

    width: Size


class FakenessPart(Struct, frozen=True, kw_only=True):
    """Arguments of `ce_detect.features.fakeness.Fakeness` beside the classifier."""

    classes: Size
    width: Annotated[int, Meta(ge=1, le=1024)]
    depth: Annotated[int, Meta(ge=1, le=8)]
    own: bool
