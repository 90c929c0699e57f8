"""One kind of natural change, mild enough that an image still shows what it showed.

Kinds that CIFAR-C and ImageNet-C have (Hendrycks and Dietterich 2019, arXiv 1903.12261) are defined as there, with
strengths up to their second of five; the others are ours, on Pillow and SciPy. As there, the outcome is what an 8-bit
image file would hold.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ce_detect.core.errors import CalibrationError, UsageError
from ce_detect.core.types import Bounds, Floats
from ce_detect.data.corruptions import codecs, geometry, light, marks, noise, optics
from ce_detect.data.corruptions.pictures import as_bytes, stored
from ce_detect.storage.importing import find

SMALL = 64
"""Longer side, in pixels, up to which the first two strengths apply; beyond it the others."""

SEVERITIES = (1, 2)

LEAST, MOST = 0.5, 2.5
"""Severities between which one is drawn where none is given: a bit beyond those that are judged, at both ends."""

Change = Callable[[Floats, float, np.random.Generator], NDArray[Any]]
"""From an image ``(channels, height, width)`` in [0, 1] to another, which may leave the range."""


class _Kind(NamedTuple):
    change: Change
    small: tuple[float, float]
    large: tuple[float, float]
    taught: bool  # whether calibrations with the default recipe know it: half of the kinds


# fmt: off
_KINDS: dict[str, _Kind] = {
    "gaussian-noise": _Kind(noise.gaussian, (0.02, 0.04), (0.03, 0.06), True),
    "shot-noise": _Kind(noise.shot, (500, 250), (250, 120), False),
    "uniform-noise": _Kind(noise.uniform, (1, 2), (1, 2), True),
    "dead-pixels": _Kind(noise.dead, (0.001, 0.003), (0.0002, 0.0005), False),
    "jpeg": _Kind(codecs.jpeg, (85, 60), (85, 60), True),
    "webp": _Kind(codecs.webp, (85, 60), (85, 60), True),
    "avif": _Kind(codecs.avif, (85, 60), (85, 60), False),
    "posterise": _Kind(codecs.posterise, (64, 32), (64, 32), True),
    "shrink": _Kind(geometry.shrink, (0.9, 0.8), (0.8, 0.6), True),
    "shrink-sharply": _Kind(geometry.shrink_sharply, (0.9, 0.8), (0.8, 0.6), False),
    "enlarge": _Kind(geometry.enlarge, (1.2, 1.5), (1.2, 1.5), False),
    "crop": _Kind(geometry.crop, (0.95, 0.9), (0.95, 0.9), True),
    "shift": _Kind(geometry.shift, (0.03, 0.06), (0.03, 0.06), False),
    "flip": _Kind(geometry.flip, (1, 1), (1, 1), True),
    "rotation": _Kind(geometry.rotation, (3, 6), (3, 6), True),
    "perspective": _Kind(geometry.perspective, (0.04, 0.08), (0.04, 0.08), False),
    "gaussian-blur": _Kind(optics.gaussian, (0.4, 0.6), (1, 2), True),
    "defocus": _Kind(optics.defocus, (0.8, 1.1), (1.5, 2.5), False),
    "motion-blur": _Kind(optics.motion, (1.5, 2.5), (4, 8), False),
    "sharpening": _Kind(optics.sharpening, (0.4, 0.8), (0.5, 1), True),
    "median": _Kind(optics.median, (0.6, 1), (0.6, 1), False),
    "brightness": _Kind(light.brightness, (0.05, 0.1), (0.1, 0.2), True),
    "contrast": _Kind(light.contrast, (0.8, 0.6), (0.7, 0.5), True),
    "gamma": _Kind(light.gamma, (1.2, 1.4), (1.2, 1.4), False),
    "saturation": _Kind(light.saturation, (0.25, 0.5), (0.25, 0.5), True),
    "white-balance": _Kind(light.white_balance, (0.06, 0.12), (0.06, 0.12), False),
    "grey": _Kind(light.grey, (0.6, 1), (0.6, 1), False),
    "vignette": _Kind(light.vignette, (0.2, 0.4), (0.2, 0.4), False),
    "dust": _Kind(marks.dust, (0.04, 0.08), (0.02, 0.04), True),
    "text": _Kind(marks.text, (0.15, 0.2), (0.05, 0.08), False),
    "screen": _Kind(marks.screen, (0.02, 0.04), (0.02, 0.04), False),
}
# fmt: on

KINDS = tuple(_KINDS)
"""Names of all kinds."""

TAUGHT = tuple(name for name, kind in _KINDS.items() if kind.taught)
"""Those that the default recipe counts as clean; the others show whether that carries over."""


@dataclass(frozen=True, slots=True)
class Corruption:
    """One kind of natural change, at one severity or at any.

    Attributes:
        kind: one of `KINDS`; or a function of yours, ``"package.module:function"`` or ``"path/to/file.py:function"``,
            that is called with an image ``(height, width, channels)`` in uint8 and a ``numpy.random.Generator``, and
            returns an image of the same shape in uint8.
        severity: 1 or 2; None draws one for each image, from `LEAST` to `MOST`. A function of yours has none.

    Raises:
        CalibrationError: no such kind, function or severity.
    """

    kind: str
    severity: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.kind, str):
            raise CalibrationError(f"no corruption {self.kind!r}; there are: {', '.join(KINDS)}")
        if ":" in self.kind:
            self._check_function()
            return
        if self.kind not in _KINDS:
            raise CalibrationError(f"no corruption {self.kind!r}; there are: {', '.join(KINDS)}")
        if self.severity is None:
            return
        if isinstance(self.severity, bool) or self.severity not in SEVERITIES:
            raise CalibrationError(
                f"severity = {self.severity!r} of corruption {self.kind!r} is not 1 or 2; stronger ones are not natural"
            )

    @property
    def name(self) -> str:
        """Kind and severity, for example ``"jpeg 2"``."""
        return self.kind if self.severity is None else f"{self.kind} {self.severity}"

    @property
    def taught(self) -> bool:
        """Whether the default recipe counts its outcome as clean when it calibrates."""
        return self.kind in TAUGHT

    def spec(self) -> dict[str, Any]:
        """Kind and severity, where one is given, as plain data."""
        return {"kind": self.kind} | ({} if self.severity is None else {"severity": self.severity})

    def __call__(self, x: Floats, *, bounds: Bounds, seed: int) -> Floats:
        """Change images.

        Args:
            x: ``(n, channels, height, width)``, pixels within the bounds.
            bounds: smallest and largest valid pixel value.
            seed: what is drawn at random comes from it and from the image alone, whatever else is in ``x``.

        Returns:
            Of the same shape, within the bounds.
        """
        low, high = bounds
        corrupted = np.empty(x.shape, dtype=np.float32)
        for position, image in enumerate(x):
            pixels = (image - low) / (high - low)
            changed = self._changed(pixels, generator_for(seed, self.name, image))
            corrupted[position] = stored(changed, bounds)
        return corrupted

    def _changed(self, pixels: Floats, drawn: np.random.Generator) -> NDArray[Any]:
        if ":" in self.kind:
            return self._by_function(pixels, drawn)
        kind = _KINDS[self.kind]
        weaker, stronger = kind.small if max(pixels.shape[1:]) <= SMALL else kind.large
        severity = drawn.uniform(LEAST, MOST) if self.severity is None else self.severity
        return kind.change(pixels, weaker + (severity - 1) * (stronger - weaker), drawn)

    def _check_function(self) -> None:
        if self.severity is not None:
            raise CalibrationError(f"severity = {self.severity!r} of {self.kind!r}: a function of yours has none")
        try:
            _function(self.kind)
        except UsageError as error:
            raise CalibrationError(f"corruption {self.kind!r} cannot be found: {error}") from error

    def _by_function(self, pixels: Floats, drawn: np.random.Generator) -> NDArray[Any]:
        image = np.ascontiguousarray(as_bytes(pixels).transpose(1, 2, 0))
        changed = np.asarray(_function(self.kind)(image.copy(), drawn))
        if changed.shape != image.shape or changed.dtype != np.uint8:
            raise CalibrationError(
                f"corruption {self.kind!r} returned {changed.dtype} {changed.shape} for uint8 {image.shape}; expected "
                "an image of the same shape in uint8"
            )
        return changed.transpose(2, 0, 1) / 255


@functools.cache
def _function(kind: str) -> Callable[..., Any]:
    """A function of the user's; its file is run once."""
    return find(kind)


MILD = tuple(Corruption(kind, severity) for kind in KINDS for severity in SEVERITIES)
"""Every corruption at every severity."""


def generator_for(seed: int, purpose: str, image: Floats) -> np.random.Generator:
    """What draws for one image: by the seed, by what it is for, and by the image alone."""
    digest = hashlib.sha256(f"{seed} {purpose} ".encode() + (image + 0.0).tobytes()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))
