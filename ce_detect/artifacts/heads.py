"""Which head a detector has, as its manifest says: the kind, and for one made of others their kinds."""

from __future__ import annotations

from msgspec import Struct


class Network(Struct, frozen=True, tag_field="kind", tag="network"):
    """A linear model, and beside it perhaps an ensemble of networks; see `ce_detect.heads.network`."""


class Mahalanobis(Struct, frozen=True, tag_field="kind", tag="mahalanobis"):
    """The distance from clean signatures; see `ce_detect.heads.mahalanobis`."""


class Fused(Struct, frozen=True, tag_field="kind", tag="fused"):
    """A network and a distance in one score; see `ce_detect.heads.fusion`."""


class Disagreement(Struct, frozen=True, tag_field="kind", tag="disagreement"):
    """Another head, or the doubt of a robust copy; see `ce_detect.heads.disagreement`.

    Attributes:
        inner: the other head.
    """

    inner: HeadPart


class Cascade(Struct, frozen=True, tag_field="kind", tag="cascade"):
    """A head that clears inputs, and one that scores the others; see `ce_detect.heads.cascade`.

    Attributes:
        first: it clears.
        second: it scores.
    """

    first: HeadPart
    second: HeadPart


HeadPart = Network | Mahalanobis | Fused | Disagreement | Cascade


class HeadsPart(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The heads of a gate.

    Attributes:
        head: of the detector itself.
        clean_only: of the detector beside it that no attack taught; None where there is none.
    """

    head: HeadPart
    clean_only: HeadPart | None = None
