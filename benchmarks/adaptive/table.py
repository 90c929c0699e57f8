"""Tables of the docs: what an attacker pays who knows the detector, and what is left of its AUROC."""

from __future__ import annotations

from pathlib import Path

from benchmarks.program import read

RESULT = Path(__file__).parent / "results" / "adaptive-cifar10-resnet20.json"
UNDER_ATTACK = RESULT.with_name("under-attack-cifar10-resnet20.json")
TITLES = {"cifar10-resnet20": "CIFAR-10", "cifar10-resnet32": "CIFAR-10, ResNet-32", "pneumonia": "PneumoniaMNIST"}
"""Subjects that were attacked."""

LOSSES = ("1", "2", "4")
"""Bounds, of 255, within which the loss is shown."""

UNDER_ATTACK_ROWS = {
    "budget 2": "ce-detect, budget 2.0", "budget 2, hardened": "2.0, hardened in 1 round",
    "budget 3, hardened": "3.0, hardened in 1 round", "budget 4.5, hardened": "4.5, hardened in 1 round",
    "disagreement": "PID, with the copy of the hardened gate at 3.0",
}  # fmt: skip
"""Detectors in words."""

ROWS = {
    "unhardened": "ce-detect, budget 2.0",
    "before": "ce-detect, budget 2.0, the recipe of before", "larger": "ce-detect, budget 4.5",
    "cascade": "ce-detect, budget 1.5, cascade",
    "smaller-1": "2.0, hardened in 1 round",
    "hardened-1": "3.0, hardened in 1 round", "hardened-3": "3.0, hardened in 3 rounds",
    "larger-1": "4.5, hardened in 1 round", "larger-1-longer": "the same, four times the steps",
    "larger-3": "4.5, hardened in 3 rounds",
    "known-seed": "random interventions, seed known",
    "secret-seed": "random interventions, seed secret", "ensemble": "three disjoint sets of interventions",
}  # fmt: skip
"""Rows of ours in words."""


def adaptive() -> list[list[str]]:
    """The radius ratio of each detector, ours first."""
    found = read(RESULT)["rows"]
    rows = [
        [
            "detector",
            "images",
            "radius ratio (95 %)",
            "evaded within 0.5 / 1 / 2 of 255",
            "mean AUROC, ordinary attacks",
        ]
    ]
    for name in [*(name for name in ROWS if name in found), *sorted(found.keys() - ROWS.keys())]:
        row = found[name]
        ratio, share = row["ratio"], row["evaded_within"]
        rows.append(
            [
                ROWS.get(name, name),
                str(row["images"]),
                f"{ratio['value']:.2f} ({ratio['low']:.2f}-{ratio['high']:.2f})",
                " / ".join(f"{share[f'{e}/255']:.2f}" for e in ("0.5", "1", "2")),
                f"{row['mean_auroc']:.4f}" if "mean_auroc" in row else "",
            ]
        )
    return rows


def under_attack() -> list[list[str]]:
    """AUROC of each detector when scores are made as low as can be."""
    bounds = [f"{255 * row['eps']:g}/255" for row in next(iter(read(UNDER_ATTACK)["detectors"].values()))["within"]]
    head = ["images of", "detector", "images", *(f"AUROC within {eps}" for eps in bounds)]
    rows = [[*head, "flagged, " + " / ".join(bounds)]]
    for path in _of_subjects("under-attack"):
        for name, row in read(path)["detectors"].items():
            areas = [one["auroc"] for one in row["within"]]
            shown = [f"{one['value']:.3f} ({one['low']:.3f}-{one['high']:.3f})" if one else "-" for one in areas]
            flagged = " / ".join("-" if one["flagged"] is None else f"{one['flagged']:.0%}" for one in row["within"])
            rows.append([_subject(path), _named(name), str(row["images"]), *shown, flagged])
    return rows


def rejection() -> list[list[str]]:
    """Radius ratio on many images, and the loss that charges for rejecting, for each detector."""
    shares = [f"loss within {eps}/255, rejecting costs up to 0 / 1/4 / 1 of it" for eps in LOSSES]
    rows = [["images of", "detector", "images", "clean flagged", "radius ratio (95 %)", *shares]]
    for path in _of_subjects("rejection"):
        every = read(path)["detectors"]
        alone = next(iter(every.values()))
        losses = [f"{alone['loss_alone'][eps]['value']:.2f}" for eps in LOSSES]
        rows.append([_subject(path), "no detector", str(alone["images"]), "", "1.00", *losses])
        for name, row in every.items():
            ratio, at_least = row["ratio"], "at least " if row["ratio"]["is_bound"] else ""
            losses = [
                " / ".join(f"{row['loss'][eps][f'step {share}']['value']:.2f}" for share in ("0", "0.25", "1"))
                for eps in LOSSES
            ]
            found = f"{at_least}{ratio['value']:.2f} ({ratio['low']:.2f}-{ratio['high']:.2f})"
            flagged = f"{row['flagged_clean']:.0%}"
            rows.append([_subject(path), _named(name), str(row["images"]), flagged, found, *losses])
    return rows


def _of_subjects(kind: str) -> list[Path]:
    """Results of one kind, CIFAR-10 first."""
    return [path for name in TITLES if (path := RESULT.with_name(f"{kind}-{name}.json")).is_file()]


def _subject(path: Path) -> str:
    return next(title for name, title in TITLES.items() if path.stem.endswith(name))


def _named(detector: str) -> str:
    """A detector in words, with what happens to images before it and the seed of its calibration."""
    name, comma, more = detector.partition(", then ")
    if not comma:
        name, comma, more = detector.partition(", seed ")
    return UNDER_ATTACK_ROWS.get(name, name) + comma + more


TABLES = {"adaptive": adaptive, "under-attack": under_attack, "rejection": rejection}
