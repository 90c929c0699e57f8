"""Tables of the docs: masks of cracks, accuracy under attack, fakeness as doubt, and what both add to a signature."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.explain.table import TITLES
from benchmarks.program import read

RESULTS = Path(__file__).parent / "results"

SUBJECTS = {"pneumonia": "PneumoniaMNIST", "cifar": "CIFAR-10, three classes"}

RADII = (1, 2, 4, 8, 16)
"""Of PGD, in grey levels of 255."""

FEW = (4, 8)
"""Of the other attacks."""

COVERED = ("0.5", "0.7", "0.8", "0.9", "1.0")
"""Shares of the images that are least doubtful, of which the risk is shown: the risk-coverage curve."""

SIGNATURES = {
    "chosen": "what the search chose",
    "chosen, fakeness": "that, and fakeness",
    "chosen, fakeness, counterfactual": "that, fakeness and the counterfactual's effect",
    "fakeness, counterfactual": "fakeness and the counterfactual's effect alone, beside free statistics",
}
"""Signatures in words."""

SLACK = 0.02
"""Share of the images by which a check may fail."""

ORDER = ("counterfactual", "grad-cam", "effect-map", "robust-perturbation", "integrated-gradients", "supervised")


def masks() -> list[list[str]]:
    """A line a method, with intervals of 95 % in brackets."""
    rows = [["mask", "learns from", "patches", "IoU", "F1", "average precision"]]
    found = _read("masks-cracks")
    methods = found["methods"] if found else {}
    for name in sorted(methods, key=lambda one: [one.startswith(start) for start in ORDER].index(True)):
        of = methods[name]
        learns = "marked pixels" if name.startswith("supervised") else "labels of patches"
        rows.append(
            [TITLES.get(name, name), learns, str(of["images"]), _interval(of["iou"]), _interval(of["f1"]),
             f"{of['average_precision']:.2f}"]
        )  # fmt: skip
    return rows


def resilience() -> list[list[str]]:
    """A line a kind of classifier: accuracy without and with attacks, and whether its gradients look sound."""
    attacks = [f"pgd {radius}" for radius in RADII] + [f"{name} {r}" for name in ("apgd", "square") for r in FEW]
    attacked = [f"{name}/255" for name in attacks]
    rows = [["images", "training", "seeds", "seconds to train", "clean, all", "clean", *attacked, "gradients"]]
    for subject, title in SUBJECTS.items():
        for kind, seeds in of_kinds(subject).items():
            figures = [_over(seeds, name) for name in ("clean", "clean, attacked ones", *attacks)]
            taken = [of["training_seconds"] for of in seeds if "training_seconds" in of]
            seconds = f"{sum(taken) / len(taken):.0f}" if taken else "-"
            sound = sorted({_soundness(of) for of in seeds})
            rows.append([title, kind, str(len(seeds)), seconds, *figures, "; ".join(sound)])
    return rows


def of_kinds(subject: str) -> dict[str, list[dict[str, Any]]]:
    """Rows of resilience: those of each seed, by the kind of the training."""
    found, kinds = _read(f"resilience-{subject}"), dict[str, list[dict[str, Any]]]()
    for name, of in (found["rows"] if found else {}).items():
        kinds.setdefault(name.rpartition(", seed ")[0], []).append(of)
    return kinds


def _over(seeds: list[dict[str, Any]], name: str) -> str:
    """Mean over the seeds, and the least and the most; with one seed its interval of 95 %."""
    values = [of[name]["value"] for of in seeds]
    if len(values) == 1:
        return _interval(seeds[0][name])
    return _ends(values)


def doubt() -> list[list[str]]:
    """A line a score: how well it tells mistakes, mean over the seeds with the least and the most."""
    head = ["images", "classifier", "score", "mistakes", "AURC (low)", "AUROC of mistakes (high)"]
    rows = [[*head, f"risk at {' / '.join(f'{100 * float(share):g}' for share in COVERED)} %"]]
    for subject, title in SUBJECTS.items():
        found = _seeds(subject)
        for several in zip(*(seed["rows"] for seed in found), strict=True):
            first = several[0]
            risks = [_mean(of["risk"][share] for of in several) for share in COVERED]
            rows.append(
                [title, first["classifier"], first["score"],
                 f"{_mean(of['mistakes'] for of in several):.0f} of {found[0]['images']}",
                 _ends([of["aurc"]["value"] for of in several], 3), _ends([of["auroc"]["value"] for of in several]),
                 " / ".join(f"{risk:.3f}" for risk in risks)]
            )  # fmt: skip
    return rows


def changed() -> list[list[str]]:
    """A line a change: AUROC of each score of the K+1 network against clean images, mean over the seeds."""
    scores = ("fakeness", "max-softmax", "energy", "margin")
    rows = [["images", "change", "other label", *scores]]
    for subject, title in SUBJECTS.items():
        lines = [_line(several) for several in zip(*(seed["changed"] for seed in _seeds(subject)), strict=True)]
        shown = [line for line in lines if line["attack"]]
        natural = [line for line in lines if not line["attack"]]
        if natural:
            worst = max(natural, key=lambda line: _mean(line["fakeness"]))
            mean = {name: [_mean(_mean(line[name]) for line in natural)] for name in (*scores, "fooled")}
            shown += [{"change": f"mean of {len(natural)} natural changes", **mean},
                      {**worst, "change": f"the natural change that looks most fake: {worst['change']}"}]  # fmt: skip
        rows += [
            [title, re.sub("^pgd", "PGD of grey levels", line["change"]), f"{_mean(line['fooled']):.0%}",
             _ends(line["fakeness"]), *(f"{_mean(line[score]):.2f}" for score in scores[1:])]
            for line in shown
        ]  # fmt: skip
    return rows


def _line(several: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    """One change with the figures of all seeds."""
    first = several[0]
    figures = {name: [of[name] for of in several] for name in first if isinstance(first[name], float)}
    return {"change": first["change"], "attack": first["attack"], **figures}


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)


def _ends(values: list[float], digits: int = 2) -> str:
    """Mean, and the least and the most where there are several."""
    mean = f"{_mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def _seeds(subject: str) -> list[dict[str, Any]]:
    found = _read(f"uncertainty-{subject}")
    return found["seeds"] if found else []


def signature() -> list[list[str]]:
    """A line an item of the search that was offered the counterfactual, the most telling first."""
    rows = [
        ["images", "item", "cost in passes", "gain over the free statistics", "adds beside what was chosen", "chosen"]
    ]
    for subject, title in SUBJECTS.items():
        found = _read(f"signature-{subject}")
        of = found["with"]["considered"] if found else []
        rows += [
            [title, f"{one['family']}: {one['name'].partition('(')[0]}", f"{one['cost']:.2f}", f"{one['gain']:+.3f}",
             f"{one['adds']:+.4f}", "yes" if one["chosen"] else "no"]
            for one in sorted(of, key=lambda one: -one["gain"])
        ]  # fmt: skip
    return rows


def adaptive() -> list[list[str]]:
    """A line a signature: what it does on ordinary attacks, and what it costs an attacker who knows it."""
    found = _read("adaptive-pneumonia")
    rows = found["signatures"] if found else {}
    bounds = [f"{255 * eps:g}/255" for eps in found["settings"]["within"]] if found else []
    head = ["signature", "images", "AUROC, ordinary attacks", "radius ratio (95 %)"]
    lines = [[*head, *(f"AUROC within {eps}" for eps in bounds)]]
    for name, of in rows.items():
        ratio, areas = of["ratio"], [within["auroc"] for within in of["within"]]
        shown = ["-" if area is None else "{:.2f} ({:.2f}-{:.2f})".format(*area) for area in areas]
        radius = f"{ratio['value']:.2f} ({ratio['low']:.2f}-{ratio['high']:.2f})"
        lines.append([SIGNATURES[name], str(found["settings"]["images"]), f"{of['auroc']:.3f}", radius, *shown])
    return lines


def _soundness(rows: dict[str, Any]) -> str:
    """Which checks of gradients fail; nothing where they were not made."""
    if "check: gradients" not in rows:
        return ""
    failed = [name for name, passed in checks(rows).items() if not passed]
    return f"not so: {', '.join(failed)}" if failed else "sound"


def checks(rows: dict[str, Any]) -> dict[str, bool]:
    """Whether gradients look sound, by the rows of one classifier."""
    value = {name: row["value"] for name, row in rows.items() if isinstance(row, dict)}
    return {
        "more steps never weaken the attack": value["pgd 4"] <= value["check: 5 steps at 4"] + SLACK,
        "Square never beats PGD": all(value[f"square {r}"] >= value[f"pgd {r}"] - SLACK for r in FEW),
        "half of the range is always enough": value["check: half of the range"] <= SLACK,
        "a gradient on each clean image": value["check: gradients"] >= 1 - SLACK,
    }


def _interval(figure: dict[str, Any], digits: int = 2) -> str:
    low, high = figure["interval"]
    return f"{figure['value']:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _read(name: str) -> Any:
    path = RESULTS / f"{name}.json"
    return read(path) if path.exists() else None


TABLES = {
    "counterfactual-masks": masks,
    "counterfactual-resilience": resilience,
    "counterfactual-doubt": doubt,
    "counterfactual-changed": changed,
    "counterfactual-signature": signature,
    "counterfactual-adaptive": adaptive,
}
