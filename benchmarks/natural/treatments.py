"""What happens to an attacked image on its way: saved, scaled, touched up, at fixed strengths."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.face import Change, Floats, codecs, generator_for, geometry, light, optics
from benchmarks.face import as_bytes as rounded
from benchmarks.subjects.settings import SEED


@dataclass(frozen=True)
class Treatment:
    """One treatment.

    Attributes:
        name: for tables.
        change: what is done to an image in [0, 1].
        strength: as `change` takes it.
        served: whether the default recipe calibrates with this kind.
    """

    name: str
    change: Change
    strength: float
    served: bool

    def __call__(self, x: Floats) -> Floats:
        """Treat images ``(n, channels, height, width)`` in [0, 1]; the outcome is what an 8-bit file holds."""
        changed = [self.change(image, self.strength, generator_for(SEED, self.name, image)) for image in x]
        return rounded(np.stack(changed)).astype(np.float32) / np.float32(255)


def _as_it_is(pixels: Floats, strength: float, drawn: np.random.Generator) -> Floats:
    return pixels


TREATMENTS = (
    Treatment("PNG", _as_it_is, 0, True),
    Treatment("JPEG 95", codecs.jpeg, 95, True),
    Treatment("JPEG 85", codecs.jpeg, 85, True),
    Treatment("JPEG 75", codecs.jpeg, 75, True),
    Treatment("JPEG 60", codecs.jpeg, 60, True),
    Treatment("WebP 80", codecs.webp, 80, True),
    Treatment("shrink 7/8", geometry.shrink, 0.875, True),
    Treatment("crop 0.92", geometry.crop, 0.92, True),
    Treatment("blur 0.5", optics.gaussian, 0.5, True),
    Treatment("flip", geometry.flip, 1, True),
    Treatment("brightness 0.08", light.brightness, 0.08, True),
    Treatment("64 levels", codecs.posterise, 64, True),
    Treatment("AVIF 75", codecs.avif, 75, False),
    Treatment("shrink 7/8, sharp", geometry.shrink_sharply, 0.875, False),
    Treatment("enlarge 5/4", geometry.enlarge, 1.25, False),
    Treatment("median 3", optics.median, 1, False),
    Treatment("shift", geometry.shift, 0.04, False),
    Treatment("perspective 0.05", geometry.perspective, 0.05, False),
    Treatment("defocus 0.6", optics.defocus, 0.6, False),
    Treatment("gamma 1.2", light.gamma, 1.2, False),
    Treatment("white balance", light.white_balance, 0.08, False),
    Treatment("vignette 0.3", light.vignette, 0.3, False),
)
"""Half of them, about, never serve calibration."""
