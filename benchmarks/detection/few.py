"""Few images: how many attacks are flagged with how many clean images, the threshold from a split or from folds.

    CE_DETECT_DATA=... python -m benchmarks.detection.few

Fashion-MNIST, recipe quick, two interventions that are named, not searched. Draws some of 2,000 images again and again,
learns heads from them and their attacked twins, sets thresholds, and judges what was not drawn. Writes
``results/few.json``. The forms, with what each promises on average over calibrations (``marginal``):

- `split`: a head learns from the 55 % of *fit* and *select*, clean scores of the 30 % of *calibrate* set its threshold,
  *test* is not used: what a calibration does. The chance of a false alarm is at most the rate, as it is for
- `no test, set`: the images of *test* also set the threshold, and
- `no test, learned`: they are also learned from.
- `folds`: `K` heads, each learned without one fold of all images, and for each a p-value from the clean scores of its
  own fold. Twice their mean is a p-value (Vovk 2015; Vovk and Wang 2020, arXiv 1212.4966), and so is twice the smallest
  mean of the first one, two, three ... of them (Gasparin and Ramdas 2025, arXiv 2503.01495), which is never larger. An
  input is flagged where that is at most the rate: the chance of a false alarm is at most the rate. The factor of 2 is
  also in CV+ (Barber et al. 2021, arXiv 1905.02928) and in Gupta et al. 2022 (arXiv 1910.10562).
- `folds, loose`: flagged where ``(1 + #{score of an image by the head without its fold >= score of the input by that
  head}) / (n + 1)`` is at most the rate ``a``, the p-value of CV+. The chance of a false alarm is at most
  ``2 a + 2 (1 - a)(K - 1) / (n + K)``: more than twice the rate.
- `one left out`: jackknife+ (Barber et al. 2021): as many folds as images, with linear heads, or it would take too
  long. Flagged where twice that p-value is at most the rate: the chance of a false alarm is at most the rate. Beside it
  the splits with linear heads.

For *this* gate (``pac``) folds promise next to nothing. For `K` folds, Bian and Barber 2023 (arXiv 2205.03647) bound
the rate of CV+ by ``2 a + sqrt(2 K log(K / delta) / n)``, above 18 % with 1,400 images, and show that jackknife+ has no
such bound. To flag where all of several heads flag, each with a threshold from its own fold, keeps ``pac``; but so does
any one of these heads alone, which flags more. So the split alone is measured for ``pac``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.face import (
    Sets,
    Signature,
    Table,
    attack_all,
    by_rows,
    conformal,
    decisions,
    feature_tables,
    features,
    from_spec,
    fused_head,
    successes,
)
from benchmarks.machine import environment
from benchmarks.program import parser, progress, write
from benchmarks.subjects.settings import SEED
from benchmarks.subjects.subjects import SUBJECTS
from ce_detect import Recipe

Guarantee = Literal["marginal", "pac"]
Kind = Literal["mlp", "logistic"]
Index = NDArray[np.int64]
Flags = NDArray[np.bool_]

RESULT = Path(__file__).parent / "results" / "few.json"
POOL, OTHERS = 2000, 4000
"""Images that are drawn from, all of them attacked, and further clean ones that are judged."""

DRAWS = {100: 50, 200: 50, 400: 50, 800: 10, 1400: 10}
"""Draws of so many images."""

MOST_LEFT_OUT, LEFT_OUT_DRAWS = 200, 10
"""Images up to which a head for each is affordable, and draws of them."""

LEARN, SET = 0.55, 0.30
"""Shares of the images that a split learns from, and that set its threshold."""

INTERVENTIONS = ({"kind": "Flip", "scale": 0.75}, {"kind": "BitDepth", "bits": 4, "scale": 0.75})
K = 5
RATES = (0.05, 0.01)
GUARANTEES: tuple[Guarantee, ...] = ("marginal", "pac")


@dataclass(frozen=True)
class Pool:
    """Signatures of everything: of the images that are drawn from, of the others, and of the attacked twins.

    Attributes:
        signature: what made them.
        table: of the images that are drawn from and of their twins.
        rows: all of them.
        image: number of the image that each row is made from; those that are drawn from come first.
        attack: number of the attack, 0 for clean rows.
    """

    signature: Signature
    table: Table
    rows: torch.Tensor
    image: Index
    attack: Index

    @classmethod
    def made(cls) -> Pool:
        """Attack the images and take all signatures."""
        subject = SUBJECTS["fashion"]
        pixels, _ = subject.images()
        classifier = subject.guard(pixels.shape[1:]).classifier
        signature = Signature(classifier, [from_spec(spec) for spec in INTERVENTIONS], sites=())
        x, others = pixels[:POOL], pixels[POOL : POOL + OTHERS]
        attacked = attack_all(classifier, x, Recipe.load("quick").attacks, seed=SEED, progress=progress)
        twins = successes(classifier, attacked, decisions(classifier, x))
        table = feature_tables.table(signature, Sets(x, twins))
        parts = [table.clean, features(signature, others), *table.attacked.values()]
        image = np.concatenate([np.arange(POOL + OTHERS), *table.twins.values()])
        attack = np.repeat([0, 0, *range(1, len(twins) + 1)], [len(part) for part in parts])
        return cls(signature, table, torch.from_numpy(np.concatenate(parts)), image, attack)

    def scores(self, images: Index, kind: Kind) -> NDArray[np.float32]:
        """Scores of all rows by a head that learned from some images and their twins."""
        table, own = self.table, np.isin(np.arange(POOL), images)
        attacked = {name: rows[own[table.twins[name]]] for name, rows in table.attacked.items()}
        some = Table(table.clean[own], attacked, rounding=table.rounding)
        head = fused_head(self.signature, (some,), kind, SEED)
        with torch.inference_mode():
            return np.asarray(by_rows(head, self.rows))

    def judged(self, flagged: Flags, drawn: Index) -> tuple[float, float]:
        """Shares that are flagged of what was not drawn: of clean images, and of attacks, the mean over their kinds."""
        fresh = ~np.isin(self.image, drawn)
        shares = [float(flagged[fresh & (self.attack == kind)].mean()) for kind in range(self.attack.max() + 1)]
        return shares[0], float(np.mean(shares[1:]))


def splits(pool: Pool, drawn: Index, kind: Kind) -> dict[str, Flags | None]:
    """What the forms flag that have one head, see `forms`."""
    learn, end = round(LEARN * len(drawn)), round((LEARN + SET) * len(drawn))
    scores = pool.scores(drawn[:learn], kind)
    more = pool.scores(np.concatenate([drawn[:learn], drawn[end:]]), kind)
    each = {
        "split": (scores, drawn[learn:end]),
        "no test, set": (scores, drawn[learn:]),
        "no test, learned": (more, drawn[learn:end]),
    }
    return {
        f"{form}, {guarantee} {rate}": split(*given, rate, guarantee)
        for form, given in each.items()
        for guarantee in GUARANTEES
        for rate in RATES
    }


def split(scores: NDArray[np.float32], setting: Index, rate: float, guarantee: Guarantee) -> Flags | None:
    """What is flagged by a threshold from the clean scores of some images; None where they are too few."""
    if len(setting) < conformal.needed_samples(rate, guarantee=guarantee):
        return None
    return scores > conformal.threshold(scores[setting], rate, guarantee=guarantee)


def at_least(own: NDArray[np.float32], scores: NDArray[np.float32]) -> Index:
    """How many of the scores of a fold are at least those of all rows."""
    return len(own) - np.searchsorted(np.sort(own), scores, side="left")


def forms(pool: Pool, drawn: Index, *, linear: bool) -> dict[str, Flags | None]:
    """What each form flags, by form, promise and rate, from images in random order; None where they are too few.

    Args:
        pool: all signatures.
        drawn: the images ``(n,)``.
        linear: whether to leave out one image at a time, with linear heads.
    """
    found = splits(pool, drawn, "mlp")
    folds = np.array_split(drawn, K)
    out = [pool.scores(np.setdiff1d(drawn, fold), "mlp") for fold in folds]
    above = np.array([at_least(own[fold], own) for own, fold in zip(out, folds, strict=True)])
    p = (1 + above) / np.array([len(fold) + 1 for fold in folds])[:, None]
    means = np.cumsum(p, axis=0) / np.arange(1, K + 1)[:, None]
    for rate in RATES:
        found[f"folds, marginal {rate}"] = 2 * means.min(0) <= rate
        found[f"folds, loose, marginal {rate}"] = (1 + above.sum(0)) / (len(drawn) + 1) <= rate
    if linear:
        found |= {f"linear {name}": flagged for name, flagged in splits(pool, drawn, "logistic").items()}
        count = np.ones(len(pool.rows))
        for one in drawn:
            own = pool.scores(drawn[drawn != one], "logistic")
            count += own[one] >= own
        found |= {f"linear one left out, marginal {rate}": 2 * count / (len(drawn) + 1) <= rate for rate in RATES}
    return found


def measured(pool: Pool, n: int) -> dict[str, Any]:
    """Figures of each form over the draws of ``n`` images."""
    shares: dict[str, list[tuple[float, float]]] = {}
    for draw in range(DRAWS[n]):
        drawn = np.random.default_rng(draw).permutation(POOL)[:n]
        linear = n <= MOST_LEFT_OUT and draw < LEFT_OUT_DRAWS
        for name, flagged in forms(pool, drawn, linear=linear).items():
            if flagged is not None:
                shares.setdefault(name, []).append(pool.judged(flagged, drawn))
        progress(f"{n} images", draw + 1, DRAWS[n])
    return {name: figures(np.array(pairs), float(name.split()[-1])) for name, pairs in shares.items()}


def figures(pairs: NDArray[np.float64], rate: float) -> dict[str, Any]:
    """Means and standard deviations over the draws, of shares ``(draws, 2)`` of clean images and of attacks."""
    (clean, attacked), (of_clean, of_attacked) = pairs.mean(0), pairs.std(0)
    return {
        "draws": len(pairs),
        "false_positive_rate": round(float(clean), 4),
        "false_positive_rate_deviation": round(float(of_clean), 4),
        "within": round(float(np.mean(pairs[:, 0] <= rate)), 2),
        "detection_rate": round(float(attacked), 4),
        "detection_rate_deviation": round(float(of_attacked), 4),
    }


def main() -> None:
    parser(__doc__).parse_args()
    pool, rows = Pool.made(), []
    for n in DRAWS:
        rows.append({"images": n, "forms": measured(pool, n)})
        write(RESULT, {"what": "Fashion-MNIST, plain CNN; recipe quick", "environment": environment(), "rows": rows})


if __name__ == "__main__":
    main()
