"""What ships with the demo so that nobody waits for it: attacked images, and the interventions that a search chose.

``python -m benchmarks.subjects.attack_demo`` makes both. The images are kept as 8-bit files would hold them, by their
difference from the clean ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ce_detect.attacks import Attack, chunks
from ce_detect.attacks.generation import ROOM
from ce_detect.classifiers.base import Classifier
from ce_detect.data import Pixels
from ce_detect.data.splits import Identities, identities
from ce_detect.storage.cache import Cache

Differences = NDArray[np.uint8]

Packed = dict[str, tuple[Identities, Differences]]
"""By name of an attack: identities ``(n,)`` of clean images, and ``(n, channels, height, width)``."""

INTERVENTIONS: tuple[dict[str, Any], ...] = (
    {"kind": "Flip"},
    {"kind": "Shift", "dx": 1, "dy": 0, "site": "stage3.2"},
    {"kind": "Shift", "dx": 1, "dy": 0, "site": "stage2.8"},
)
"""What a search chose for the packaged classifier, from which the demo's was trained on; named, so that each run of the
demo gives the same gate on any machine."""

_FILE = "fashion_attacks.npz"


def packed(attacked: dict[str, tuple[Pixels, Pixels]]) -> Packed:
    """Clean images and their attacked twins, with pixels in [0, 1], in the form in which they ship."""
    return {
        name: (identities(clean), _levels(twins) - _levels(clean))  # modulo 256
        for name, (clean, twins) in attacked.items()
    }


def arrays(images: Packed) -> dict[str, NDArray[Any]]:
    """The arrays of the file that ships."""
    made: dict[str, NDArray[Any]] = {}
    for name, (known, differences) in images.items():
        made |= {f"images: {name}": known, f"differences: {name}": differences}
    return made


def load() -> Packed:
    """What ships."""
    with (files("ce_detect.demo") / "assets" / _FILE).open("rb") as file, np.load(file) as found:
        names = [name.removeprefix("images: ") for name in found.files if name.startswith("images: ")]
        return {name: (found[f"images: {name}"], found[f"differences: {name}"]) for name in names}


def unpack(
    images: Packed, classifier: Classifier, x: Pixels, attacks: Sequence[Attack], *, seed: int, cache: Path
) -> int:
    """Put attacked images where `ce_detect.attacks.generation.attack_all` looks for them.

    Args:
        images: what ships.
        classifier: the classifier that they fool.
        x: clean images, those that will be attacked.
        attacks: what will be done to them.
        seed: of the attacks.
        cache: folder; what is in it already stays.

    Returns:
        How many attacked images are missing, and will be made.
    """
    kept, missing = Cache(cache, ROOM, content="attacked images"), 0
    rows = {name: dict(zip(known.tolist(), found, strict=True)) for name, (known, found) in images.items()}
    for chunk in chunks.planned(classifier, x, tuple(attacks), seed):
        if kept.holds(chunk.key, chunk.shapes):
            continue
        clean, known = np.asarray(chunk.pixels), rows.get(chunk.attack.name, {})
        differences = [known.get(identity) for identity in identities(clean).tolist()]
        if any(one is None for one in differences):
            missing += len(clean)
            continue
        levels = _levels(clean) + np.stack([one for one in differences if one is not None])
        kept.write(chunk.key, {"x": np.divide(levels, 255, dtype=np.float32)})
    return missing


def _levels(x: Pixels) -> NDArray[np.uint8]:
    return np.round(np.asarray(x) * 255).astype(np.uint8)
