"""Accuracy under attack: plain, with the noise that K+1 sees, K+1, K+1 augmented, and adversarially trained.

    CE_DETECT_DATA=... python -m benchmarks.counterfactual.resilience --only pneumonia --images 40
    CE_DETECT_DATA=... python -m benchmarks.counterfactual.resilience --images 40 --equal   # at equal clean accuracy

PGD of 50 steps from 5 random starts at five radii, on the cross-entropy, the step an eighth of the radius; APGD of ART
and Square of the red team at two of them. An image counts as right where no start and no step moved it to a wrong
label. Intervals of 95 % are Wilson's. Gradients are checked as in `ce_detect.redteam.gradient_masking`: more steps
never weaken the attack, Square never beats PGD, half of the range is always enough, and each clean image has a slope.
The time of a training is that of one core. Writes ``results/resilience-<subject>.json`` after each row.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from scipy.stats import binomtest
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.counterfactual.subjects import EQUALS, KINDS, SUBJECTS, Subject, classifier
from benchmarks.counterfactual.table import FEW, RADII
from benchmarks.face import Alone, run_attack, square, wrap
from benchmarks.machine import environment
from benchmarks.program import parser, progress, quiet, read, write
from ce_detect import Attack

RESULTS = Path(__file__).parent / "results"

STEPS, STARTS, QUERIES = 50, 5, 300

ROWS = (
    "clean", "clean, attacked ones", *(f"pgd {radius}" for radius in RADII),
    *(f"{attack} {radius}" for attack in ("apgd", "square") for radius in FEW),
    "check: 5 steps at 4", "check: half of the range", "check: gradients",
)  # fmt: skip
"""What is measured of each classifier."""


def main() -> None:
    program = parser(__doc__)
    program.add_argument("--only", nargs="+", choices=SUBJECTS, default=["pneumonia", "cifar"])
    program.add_argument("--kinds", nargs="+", choices=(*KINDS, *EQUALS), default=list(KINDS))
    program.add_argument("--images", type=int, default=60)
    program.add_argument("--seed", type=int, default=0)
    program.add_argument("--equal", action="store_true", help="the kinds that are equally often right without attack")
    options = program.parse_args()
    quiet()
    torch.set_num_threads(1)
    for name in options.only:
        for kind in EQUALS if options.equal else options.kinds:
            _measured(SUBJECTS[name], kind, options.images, options.seed)


def _measured(subject: Subject, kind: str, count: int, seed: int) -> None:
    """Every row of one classifier that is not there yet."""
    path, called = RESULTS / f"resilience-{subject.name}.json", f"{kind}, seed {seed}"
    there = read(path)["rows"].get(called, {}) if path.exists() else {}
    missing = [row for row in ROWS if row not in there or (row != "clean" and there[row]["images"] != count)]
    if not missing:
        return
    _, (pixels, labels) = subject.images()
    model, seconds = _trained(subject, kind, seed)
    x, y = torch.from_numpy(pixels[:count]), torch.from_numpy(labels[:count])
    makers: dict[str, Callable[[], Any]] = {
        "clean": lambda: _share(_right(model, torch.from_numpy(pixels), torch.from_numpy(labels))),
        "clean, attacked ones": lambda: _share(_right(model, x, y)),
        **{f"pgd {radius}": _pgd(model, x, y, radius / 255) for radius in RADII},
        **{f"apgd {radius}": _art(model, x, y, f"{radius}/255") for radius in FEW},
        **{f"square {radius}": _square(model, x, y, radius / 255) for radius in FEW},
        "check: 5 steps at 4": _pgd(model, x, y, 4 / 255, steps=5),
        "check: half of the range": _pgd(model, x, y, 0.5),
        "check: gradients": lambda: _share(_gradients(model, x, y)),
    }
    for place, row in enumerate(missing):
        found = read(path) if path.exists() else {"environment": environment(), "rows": {}}
        of = found["rows"].setdefault(called, {})
        if seconds is not None:
            of["training_seconds"] = round(seconds, 1)
        of[row] = makers[row]()
        write(path, found)
        print(subject.name, kind, row, of[row], flush=True)
        progress(f"{subject.name} {kind}", place + 1, len(missing))


def _trained(subject: Subject, kind: str, seed: int) -> tuple[nn.Module, float | None]:
    """The classifier, and seconds of one core that its training took; None where it was trained before."""
    steps: list[float] = []

    def told(what: str, done: float, total: float) -> None:
        steps.append(done)
        progress(what, done, total)

    begun = time.process_time()
    model = classifier(subject, kind, seed=seed, told=told)
    return model, time.process_time() - begun if steps and steps[0] <= 1 else None


def _share(right: Tensor) -> dict[str, Any]:
    """Share that is right, and its interval."""
    found = binomtest(int(right.sum()), len(right)).proportion_ci(method="wilson")
    return {
        "value": round(float(right.float().mean()), 4),
        "interval": [round(float(end), 4) for end in (found.low, found.high)],
        "images": len(right),
    }


@torch.no_grad()
def _right(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return torch.cat([model(part).argmax(1) for part in x.split(64)]) == y


def _pgd(model: nn.Module, x: Tensor, y: Tensor, eps: float, *, steps: int = STEPS) -> Callable[[], dict[str, Any]]:
    def made() -> dict[str, Any]:
        generator = torch.Generator().manual_seed(0)
        left = torch.nonzero(_right(model, x, y))[:, 0]
        for _ in range(STARTS):
            clean, labels = x[left], y[left]
            moved = (clean + eps * (2 * torch.rand(clean.shape, generator=generator) - 1)).clamp(0, 1)
            stands = _right(model, moved, labels) if len(left) else torch.ones(0, dtype=torch.bool)
            for _ in range(steps):
                if not stands.any():
                    break
                leaf = moved.detach().requires_grad_()
                loss = cross_entropy(model(leaf), labels, reduction="sum")
                (slope,) = torch.autograd.grad(loss, leaf)
                stepped = moved + max(eps / 8, eps / steps) * slope.sign()
                moved = stepped.clamp(clean - eps, clean + eps).clamp(0, 1).detach()
                stands &= _right(model, moved, labels)
            left = left[stands]
        right = torch.zeros(len(x), dtype=torch.bool)
        right[left] = True
        return _share(right)

    return made


def _art(model: nn.Module, x: Tensor, y: Tensor, eps: str) -> Callable[[], dict[str, Any]]:
    def made() -> dict[str, Any]:
        channels, height, width = x.shape[1:]
        wrapped = wrap(model, input_shape=(channels, height, width), bounds=(0.0, 1.0))
        attack = Attack.of("apgd-ce", eps=eps, max_iter=STEPS)
        torch.manual_seed(0)
        moved = torch.from_numpy(run_attack(attack, wrapped, x.numpy(), batch_size=64))
        return _share(_right(model, x, y) & _right(model, moved, y))

    return made


def _square(model: nn.Module, x: Tensor, y: Tensor, eps: float) -> Callable[[], dict[str, Any]]:
    def made() -> dict[str, Any]:
        channels, height, width = x.shape[1:]
        wrapped = wrap(model, input_shape=(channels, height, width), bounds=(0.0, 1.0))
        right = _right(model, x, y)
        generator = torch.Generator().manual_seed(0)
        found = square.square(Alone(wrapped), x, y, torch.full((len(x),), eps), queries=QUERIES, generator=generator)
        return _share(right & ~found.fooled)

    return made


def _gradients(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Where the loss has a slope."""
    leaf = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(cross_entropy(model(leaf), y, reduction="sum"), leaf)
    size = slope.flatten(1).abs().amax(1)
    return size.isfinite() & (size > 0)


if __name__ == "__main__":
    main()
