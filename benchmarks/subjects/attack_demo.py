"""Make what ships with the demo: attacked images, and the interventions that a search chooses.

Both come from a demo that makes everything anew, with the seed 0. The images go into the assets; the interventions are
printed, for ``INTERVENTIONS`` in ``ce_detect/guard/shipped.py``. Some minutes on one core; finished work is kept::

    python -m benchmarks.subjects.attack_demo
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

import ce_detect
from benchmarks.face import Concatenated, Sizes, atomic, attack_all, cache_folder, demonstrate, divided, shipped
from benchmarks.program import parser
from ce_detect import Attack, CalibrationSettings

ASSET = Path(ce_detect.__path__[0]) / "demo" / "assets" / "fashion_attacks.npz"
UNSEEN = Attack.of("apgd-dlr")


def main() -> None:
    parser(__doc__).parse_args()
    settings = CalibrationSettings.of(recipe="quick", fpr=0.05, budget=3.0, cache=cache_folder())
    found = demonstrate(settings, unseen=UNSEEN, fresh=True)
    for item in found.manifest.signature.interventions:
        print(item)
    for line in found.document.data["figures"]:
        print(" ".join((line["name"], line["value"], line["meaning"])))

    images = ce_detect.load_data("demo", limit=Sizes().calibration + Sizes().held_out)
    splits = divided(images.subset(slice(Sizes().calibration)), settings)
    held_out = images.subset(slice(Sizes().calibration, None)).x[: Sizes().attacked]
    everything = [
        *((splits.clean(split), settings.recipe.attacks, 0) for split in ("fit", "select", "test")),
        (held_out, tuple({a.name: a for a in (*settings.recipe.attacks, UNSEEN)}.values()), 1),
    ]
    sets: dict[str, list] = {}
    for clean, attacks, seed in everything:
        for name, twins in attack_all(found.guard.classifier, clean, attacks, seed=seed, cache=settings.cache).items():
            sets.setdefault(name, []).append((clean, twins.x))
    ready = shipped.packed(
        {name: tuple(Concatenated(part) for part in zip(*pairs, strict=True)) for name, pairs in sets.items()}
    )
    file = io.BytesIO()
    np.savez_compressed(file, **shipped.arrays(ready))
    atomic.write(ASSET, file.getvalue())
    for name, (clean, twins) in {n: p[0] for n, p in sets.items()}.items():
        before = found.guard(np.asarray(clean)).label
        fooled = found.guard(twins).label != before
        kept = found.guard(np.round(twins * 255).astype(np.float32) / 255).label != before
        print(f"{name}: {fooled.mean():.1%} fool the classifier on fit, {kept.mean():.1%} as 8-bit files")
    print(f"{ASSET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
