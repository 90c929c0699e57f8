"""Fakeness as doubt: of mistakes, of attacks and of natural change, beside max-softmax, energy and margin.

    CE_DETECT_DATA=... python -m benchmarks.counterfactual.uncertainty --only pneumonia

Each score says how doubtful an image is. Risk-coverage: the share of mistakes among the images that are least doubtful,
for every share of them; AURC is the area under it (Geifman and El-Yaniv 2017), low is good. AUROC is for mistakes
against right decisions; attacks are PGD of 50 steps on the classifier's own decision and `OTHERS`, and natural change
is every kind that an evaluation knows, at its first strength. ECE is the expected calibration error of the label's
probability in ten bins, without and with "fake" among the classes. Intervals of 95 % by bootstrap over images. Writes
``results/uncertainty-<subject>.json`` when all seeds of it are done.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.counterfactual.subjects import SUBJECTS, Subject, classifier, pair
from benchmarks.face import MILD, Floats, auroc, fakeness, run_attack, wrap
from benchmarks.machine import environment
from benchmarks.program import parser, progress, quiet, write
from ce_detect import Attack

RESULTS = Path(__file__).parent / "results"

LEVELS = (2, 4, 8)
"""Radii of PGD, in grey levels of 255."""

OTHERS = (
    Attack.of("fgsm", eps="8/255"),
    Attack.of("apgd-ce", eps="4/255", max_iter=50),
    Attack.of("cw-l2", max_iter=30),
    Attack.of("deepfool"),
    Attack.of("square", eps="8/255", max_iter=300),
)
"""Attacks of the Adversarial Robustness Toolbox on the same decisions."""

ATTACKED, STEPS, RESAMPLED = 100, 50, 500

Scores = dict[str, Floats]


def main() -> None:
    program = parser(__doc__)
    program.add_argument("--only", nargs="+", choices=SUBJECTS, default=["pneumonia", "cifar"])
    program.add_argument("--images", type=int, default=ATTACKED, help="attacked and changed")
    program.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the trainings")
    options = program.parse_args()
    quiet()
    torch.set_num_threads(1)
    for name in options.only:
        rows = [_measured(SUBJECTS[name], options.images, seed) for seed in options.seeds]
        write(RESULTS / f"uncertainty-{name}.json", {"environment": environment(), "seeds": rows})


def _measured(subject: Subject, count: int, seed: int) -> dict[str, Any]:
    _, (x, y) = subject.images()
    plain = classifier(subject, "plain", seed=seed)
    network = pair(subject, seed=seed).network
    rows = {"K+1": _doubts(network, x), "plain": _doubts(plain, x)}
    labels = {"K+1": _logits(network, x)[:, :-1].argmax(1), "plain": _logits(plain, x).argmax(1)}
    found: dict[str, Any] = {"images": len(x), "seed": seed, "rows": []}
    for kind, scores in rows.items():
        wrong = labels[kind] != y
        for score, values in scores.items():
            found["rows"].append({"classifier": kind, "score": score, "mistakes": int(wrong.sum()),
                                  **_doubt(values, wrong)})  # fmt: skip
    found["calibration"] = {
        "K classes": _calibration(_logits(network, x)[:, :-1], y),
        "K+1 classes": _calibration(_logits(network, x), y),
        "plain": _calibration(_logits(plain, x), y),
    }
    some = x[:count]
    model = classifier(subject, "K+1", seed=seed)
    changed = {f"pgd {level}": lambda level=level: _pgd(model, some, level / 255) for level in LEVELS}
    changed |= {attack.name: lambda attack=attack: _art(model, some, attack) for attack in OTHERS}
    changed |= {corruption.name: lambda one=corruption: one(some, bounds=(0.0, 1.0), seed=seed)
                for corruption in MILD if corruption.severity == 1}  # fmt: skip
    clean, before = _doubts(network, some), _logits(model, some).argmax(1)
    found["changed"] = []
    attacks = {*(f"pgd {level}" for level in LEVELS), *(attack.name for attack in OTHERS)}
    for place, (name, make) in enumerate(changed.items()):
        moved = np.asarray(make(), np.float32)
        scores, fooled = _doubts(network, moved), _logits(model, moved).argmax(1) != before
        found["changed"].append(
            {
                "change": name, "images": len(some), "attack": name in attacks,
                "fooled": round(float(fooled.mean()), 4),
                **{score: round(auroc(clean[score], scores[score]), 4) for score in clean},
                "interval": _interval(clean["fakeness"], scores["fakeness"]),
            }
        )  # fmt: skip
        progress(f"{subject.name}: fakeness of what changed", place + 1, len(changed))
    return found


@torch.no_grad()
def _logits(model: nn.Module, x: Floats) -> Floats:
    return torch.cat([model(part) for part in torch.from_numpy(np.ascontiguousarray(x)).split(64)]).numpy()


def _doubts(model: nn.Module, x: Floats) -> Scores:
    """Scores of images, larger = more doubtful; fakeness where the model has it, as its last output."""
    z = torch.from_numpy(_logits(model, x))
    found = {}
    if hasattr(model, "fake"):
        found["fakeness"] = fakeness(z).numpy()
        z = z[:, :-1]
    first = z.sort(1, descending=True).values
    found["max-softmax"] = -z.log_softmax(1).amax(1).numpy()
    found["energy"] = -z.logsumexp(1).numpy()
    found["margin"] = (first[:, 1] - first[:, 0]).numpy()
    return found


def _doubt(scores: Floats, wrong: NDArray[np.bool_]) -> dict[str, Any]:
    """AURC, AUROC for mistakes with its interval, and the risk at some coverages."""
    rng = np.random.default_rng(0)
    draws = [rng.integers(len(wrong), size=len(wrong)) for _ in range(RESAMPLED)]
    found: dict[str, Any] = {}
    figures: dict[str, Callable[[Floats, NDArray[np.bool_]], float]] = {"aurc": aurc, "auroc": _against_mistakes}
    for name, figure in figures.items():
        ends = np.nanquantile([figure(scores[some], wrong[some]) for some in draws], (0.025, 0.975))
        found[name] = {
            "value": round(figure(scores, wrong), 4),
            "interval": [round(float(end), 4) for end in ends],
        }
    return {**found, "risk": {str(share): round(risk(scores, wrong, share), 4) for share in (0.5, 0.7, 0.8, 0.9, 1.0)}}


def _against_mistakes(scores: Floats, wrong: NDArray[np.bool_]) -> float:
    return auroc(scores[~wrong], scores[wrong])


def aurc(scores: Floats, wrong: NDArray[np.bool_]) -> float:
    """Area under the risk-coverage curve."""
    ordered = wrong[np.argsort(scores, kind="stable")]
    return float((np.cumsum(ordered) / np.arange(1, len(ordered) + 1)).mean())


def risk(scores: Floats, wrong: NDArray[np.bool_], coverage: float) -> float:
    """Share of mistakes among the least doubtful images."""
    return float(wrong[np.argsort(scores, kind="stable")[: max(1, round(coverage * len(scores)))]].mean())


def _calibration(z: Floats, y: NDArray[np.int64]) -> float:
    """Expected calibration error in ten bins of the probability of the decision among the K classes of labels."""
    p = torch.from_numpy(z).softmax(1).numpy()[:, : int(y.max()) + 1]
    top, right = p.max(1), p.argmax(1) == y
    place = np.minimum((top * 10).astype(int), 9)
    gaps = [abs(right[place == one].mean() - top[place == one].mean()) * (place == one).mean() for one in set(place)]
    return round(float(sum(gaps)), 4)


def _interval(clean: Floats, moved: Floats) -> list[float]:
    """Of AUROC, by bootstrap over images: each with what it became."""
    rng = np.random.default_rng(0)
    draws = [rng.integers(len(clean), size=len(clean)) for _ in range(RESAMPLED)]
    ends = np.quantile([auroc(clean[some], moved[some]) for some in draws], (0.025, 0.975))
    return [round(float(end), 4) for end in ends]


def _art(model: nn.Module, x: Floats, attack: Attack) -> Floats:
    channels, height, width = x.shape[1:]
    wrapped = wrap(model, input_shape=(channels, height, width), bounds=(0.0, 1.0))
    torch.manual_seed(0)
    return run_attack(attack, wrapped, x, batch_size=64)


def _pgd(model: nn.Module, x: Floats, eps: float) -> Floats:
    """Images moved away from the model's own decisions."""
    clean = torch.from_numpy(x)
    with torch.no_grad():
        labels = model(clean).argmax(1)
    moved: Tensor = clean
    for _ in range(STEPS):
        leaf = moved.detach().requires_grad_()
        (slope,) = torch.autograd.grad(cross_entropy(model(leaf), labels, reduction="sum"), leaf)
        moved = (moved + eps / 8 * slope.sign()).clamp(clean - eps, clean + eps).clamp(0, 1).detach()
    return moved.numpy()


if __name__ == "__main__":
    main()
