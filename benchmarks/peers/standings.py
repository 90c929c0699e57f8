"""From scores to figures and a table: what `compare.py` writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from benchmarks.face import Scores, auroc, conformal, intervals, share_above, tpr_at
from benchmarks.peers.judged import Judged
from benchmarks.peers.protocol import Floats, Peer
from benchmarks.subjects.settings import FPR, SEED
from ce_detect import TooFewSamplesError

DRAWS = 200
"""Bootstrap draws of an interval."""


def figures(judged: Judged, seen: Sequence[str]) -> dict[str, Any]:
    """Detection, false alarms and their means."""
    level = threshold(judged.calibrate)
    attacks = {name: _attack(judged, name, level) for name in judged.successes()}
    found: dict[str, Any] = {"threshold": level, "summary": summary(judged, seen), "attacks": attacks}
    found["clean"] = {
        "false_positive_rate": _above(judged.clean, level),
        "false_positive_rate_correct": _above(judged.clean[judged.correct], level),
        "false_positive_rate_misclassified": _above(judged.clean[~judged.correct], level),
    }
    found["corruptions"] = {name: _above(scores, level) for name, scores in judged.corrupted.items()}
    rates = [rate for rate in found["corruptions"].values() if rate is not None]
    found["summary"]["false_positive_rate_under_corruption"] = round(float(np.mean(rates)), 4) if rates else None
    return found


def threshold(calibrate: Floats) -> float | None:
    """Order statistic of the *calibrate* split that promises 5 % (`conformal`); None with too few images."""
    try:
        return conformal.threshold(calibrate, FPR)
    except TooFewSamplesError:
        return None


def summary(judged: Judged, seen: Sequence[str]) -> dict[str, Any]:
    """Means over seen, unseen and all attacks, the worst attack, and a bootstrap interval of the mean."""
    hits = judged.successes()
    areas = {name: auroc(judged.clean, scores) for name, scores in hits.items()}
    groups = {
        "seen": [name for name in areas if name in seen],
        "unseen": [name for name in areas if name not in seen],
        "all": list(areas),
    }
    found: dict[str, Any] = {"worst": min(areas, key=lambda name: areas[name])}
    found["auroc_worst"] = round(areas[found["worst"]], 4)
    for group, names in groups.items():
        if names:
            found[f"auroc_{group}"] = round(float(np.mean([areas[name] for name in names])), 4)
            for percent in (1, 5):
                rates = [tpr_at(judged.clean, hits[name], percent / 100) for name in names]
                found[f"tpr_at_{percent}_{group}"] = round(float(np.mean(rates)), 4)
    twins = {name: judged.index[name][judged.success[name]] for name in hits}
    paired = Scores(judged.clean, {name: (hits[name], twins[name]) for name in hits})

    def mean(drawn: Scores) -> float:
        return float(np.mean([auroc(drawn.clean, scores) for scores, _ in drawn.attacked.values()]))

    ends = intervals(paired, {"mean": mean}, draws=DRAWS, seed=SEED)["mean"]
    found["auroc_all_95"] = [round(end, 4) for end in ends]
    return found


def _attack(judged: Judged, name: str, level: float | None) -> dict[str, Any]:
    tries, success = judged.attacked[name], judged.success[name]
    hits = tries[success]
    return {
        "n": len(tries),
        "success_rate": round(float(success.mean()), 4),
        "auroc": round(auroc(judged.clean, tries), 4),
        "auroc_successes": round(auroc(judged.clean, hits), 4),
        "tpr_at_1": round(tpr_at(judged.clean, hits, 0.01), 4),
        "tpr_at_5": round(tpr_at(judged.clean, hits, 0.05), 4),
        "detection_rate": _above(tries, level),
        "detection_rate_successes": _above(hits, level),
    }


def _above(scores: Floats, level: float | None) -> float | None:
    return None if level is None or not len(scores) else round(share_above(scores, level), 4)


def reproduced(peer: Peer, judged: Judged, subject: str) -> list[dict[str, Any]]:
    """Published figures and ours, side by side, on the subject that is most like theirs."""
    hits, rows = judged.successes(), []
    for published in peer.published:
        names = [name for name in published.attacks or hits if name in hits]
        if published.subject == subject and names:
            measure = {
                "auroc": lambda name: auroc(judged.clean, hits[name]),
                "tpr": lambda name, fpr=published.fpr: tpr_at(judged.clean, hits[name], fpr),
            }[published.metric]
            ours = round(float(np.mean([measure(name) for name in names])), 4)
            rows.append({**asdict(published), "published": published.value, "measured": ours})
    return rows


def better(peer: dict[str, Any], gates: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """At which budgets we are cheaper and better than a peer, on its images: on the mean and on the worst attack."""
    wins = [
        name
        for name, gate in gates.items()
        if gate["cost"] <= peer["cost"]
        and all(gate["summary"][key] > peer["summary"][key] for key in ("auroc_all", "auroc_worst"))
    ]
    attacks = {
        name: sorted(gates, key=lambda gate: -gates[gate]["attacks"][name])[0]
        for name, figure in peer["attacks"].items()
        if gates and figure["auroc_successes"] > max(gate["attacks"][name] for gate in gates.values())
    }
    return {"cheaper_and_better_at": wins, "peer_wins_on": sorted(attacks)}


def table(outcomes: Sequence[dict[str, Any]]) -> str:
    """A row a method, best first."""
    lines = [
        "| method | cost | AUROC seen / unseen / worst | TPR at 5 % seen / unseen | clean FPR | under corruption "
        "| we are cheaper and better at | peer wins on |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for outcome in sorted(outcomes, key=lambda outcome: -outcome["summary"]["auroc_all"]):
        s, against = outcome["summary"], outcome.get("against_ours", {})
        cells = [
            outcome["title"],
            f"{outcome['cost']:.2f}",
            f"{s.get('auroc_seen', '')} / {s.get('auroc_unseen', '')} / {s['auroc_worst']} ({s['worst']})",
            f"{s.get('tpr_at_5_seen', '')} / {s.get('tpr_at_5_unseen', '')}",
            outcome["clean"]["false_positive_rate"],
            s["false_positive_rate_under_corruption"],
            ", ".join(against.get("cheaper_and_better_at", [])),
            ", ".join(against.get("peer_wins_on", [])),
        ]
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(lines)
