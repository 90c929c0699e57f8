"""Benign change: mild corruptions that clean inputs meet in use, and that a detector should not flag.

Definitions and constants are those of CIFAR-C for images of up to 64 pixels a side and of ImageNet-C for larger ones
(Hendrycks and Dietterich 2019, arXiv 1903.12261), at severities 1 and 2 of their 5; rotations are ours. As there, the
outcome is what an 8-bit image file would hold.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ce_detect.core.errors import CalibrationError
from ce_detect.core.extras import module
from ce_detect.core.types import Bounds, Floats

SMALL = 64
"""Longer side, in pixels, up to which the constants of CIFAR-C apply."""

SEVERITIES = (1, 2)

_CONSTANTS: dict[str, tuple[tuple[float, float], tuple[float, float]]] = {
    "gaussian-noise": ((0.04, 0.06), (0.08, 0.12)),  # standard deviation, of the pixel range
    "shot-noise": ((500, 250), (60, 25)),  # photons at full brightness
    "gaussian-blur": ((0.4, 0.6), (1, 2)),  # standard deviation, in pixels
    "jpeg": ((80, 65), (25, 18)),  # quality
    "brightness": ((0.05, 0.1), (0.1, 0.2)),  # added to the value of HSV, of the pixel range
    "contrast": ((0.75, 0.5), (0.4, 0.3)),  # factor on the distance from each channel's mean
    "rotation": ((3, 6), (3, 6)),  # degrees, to a side drawn at random
}

KINDS = tuple(_CONSTANTS)


@dataclass(frozen=True, slots=True)
class Corruption:
    """One kind of benign change at one severity.

    Attributes:
        kind: one of `KINDS`.
        severity: 1 or 2.

    Raises:
        CalibrationError: no such kind or severity.
    """

    kind: str
    severity: int = 1

    def __post_init__(self) -> None:
        if self.kind not in _CONSTANTS:
            raise CalibrationError(f"no corruption {self.kind!r}; there are: {', '.join(KINDS)}")
        if isinstance(self.severity, bool) or self.severity not in SEVERITIES:
            raise CalibrationError(
                f"severity = {self.severity!r} of corruption {self.kind!r} is not 1 or 2; stronger ones are not benign"
            )

    @property
    def name(self) -> str:
        """Kind and severity, for example ``"jpeg 2"``."""
        return f"{self.kind} {self.severity}"

    def spec(self) -> dict[str, Any]:
        """Kind and severity as plain data."""
        return {"kind": self.kind, "severity": self.severity}

    def __call__(self, x: Floats, *, bounds: Bounds, seed: int) -> Floats:
        """Corrupt images.

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
            changed = self._changed(pixels, _generator(seed, self.name, image))
            corrupted[position] = low + (high - low) * _as_bytes(changed).astype(np.float32) / 255
        return corrupted.clip(low, high)

    def _changed(self, pixels: Floats, generator: np.random.Generator) -> NDArray[Any]:
        """One image ``(channels, height, width)`` in [0, 1], changed; may leave [0, 1]."""
        constant = _CONSTANTS[self.kind][max(pixels.shape[1:]) > SMALL][self.severity - 1]
        match self.kind:
            case "gaussian-noise":
                return pixels + generator.normal(scale=constant, size=pixels.shape)
            case "shot-noise":
                return np.asarray(generator.poisson(pixels.clip(0, 1) * constant) / constant)
            case "gaussian-blur":
                return np.asarray(_ndimage().gaussian_filter(pixels, sigma=(0, constant, constant), mode="nearest"))
            case "jpeg":
                return _through_jpeg(_as_bytes(pixels), int(constant)) / 255
            case "brightness":
                return _brighter(pixels, constant)
            case "contrast":
                mean = pixels.mean(axis=(1, 2), keepdims=True)
                return np.asarray(mean + constant * (pixels - mean))
            case _:
                degrees = constant * generator.choice([-1, 1])
                turned = _ndimage().rotate(pixels, degrees, axes=(2, 1), reshape=False, order=1, mode="nearest")
                return np.asarray(turned)


MILD = tuple(Corruption(kind, severity) for kind in KINDS for severity in SEVERITIES)
"""Every corruption at every severity."""


def mixture(x: Floats, corruptions: tuple[Corruption, ...], *, share: float, bounds: Bounds, seed: int) -> Floats:
    """Images each in one variant, plain or under one corruption, drawn independently of each other.

    Args:
        x: ``(n, channels, height, width)``.
        corruptions: what may happen, each as often as the others; at least one.
        share: chance that an image is corrupted, in [0, 1].
        bounds: smallest and largest valid pixel value.
        seed: seed of the draws and of the corruptions.

    Returns:
        Of the same shape and order.
    """
    drawn = np.array([_drawn(len(corruptions), share, _generator(seed, "mixture", image)) for image in x], dtype=int)
    mixed = x.copy()
    for position, corruption in enumerate(corruptions):
        chosen = drawn == position
        mixed[chosen] = corruption(x[chosen], bounds=bounds, seed=seed)
    return mixed


def _drawn(count: int, share: float, generator: np.random.Generator) -> int:
    """Number of a corruption, or −1 for none."""
    return int(generator.integers(count)) if generator.random() < share else -1


def _generator(seed: int, purpose: str, image: Floats) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed} {purpose} ".encode() + (image + 0.0).tobytes()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))


def _as_bytes(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    return np.round(pixels.clip(0, 1) * 255).astype(np.uint8)


def _brighter(pixels: Floats, amount: float) -> NDArray[Any]:
    """Add to the value of HSV; hue and saturation stay, and black becomes grey."""
    value = pixels.max(axis=0, keepdims=True)
    raised = (value + amount).clip(0, 1)
    return np.asarray(np.where(value > 0, pixels * (raised / np.maximum(value, 1e-12)), raised))


def _through_jpeg(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Encode and decode: three channels as colour, any other number as grey images of their own."""
    if len(pixels) == 3:
        return _decoded(pixels.transpose(1, 2, 0), quality).transpose(2, 0, 1)
    return np.stack([_decoded(channel, quality) for channel in pixels])


def _decoded(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    image = module("PIL.Image", "JPEG compression")
    buffer = io.BytesIO()
    image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "JPEG", quality=quality)
    return np.asarray(image.open(buffer))


def _ndimage() -> Any:
    return module("scipy.ndimage", "Corrupting images")
