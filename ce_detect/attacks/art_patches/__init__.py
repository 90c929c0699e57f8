"""Attacks of ART 1.20.1, patched where they break, leak or crawl; each stands in for ART's class of the same name.

They work on estimators with pixels within known bounds and outputs for two classes or more.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ce_detect.attacks.art_patches.autoattack import AutoAttack
from ce_detect.attacks.art_patches.boundary import BoundaryAttack
from ce_detect.attacks.art_patches.carlini import CarliniL2Method
from ce_detect.attacks.art_patches.geoda import GeoDA
from ce_detect.attacks.art_patches.hopskipjump import HopSkipJump
from ce_detect.attacks.art_patches.patch import AdversarialPatchNumpy
from ce_detect.attacks.art_patches.spatial import SpatialTransformation
from ce_detect.attacks.art_patches.square import SquareAttack

PATCHED: Mapping[str, type[Any]] = MappingProxyType(
    {
        each.__name__: each
        for each in (
            AdversarialPatchNumpy, AutoAttack, BoundaryAttack, CarliniL2Method, GeoDA, HopSkipJump,
            SpatialTransformation, SquareAttack,
        )
    }
)  # fmt: skip
"""The classes by the names that they have in ART."""

__all__ = ["PATCHED"]
