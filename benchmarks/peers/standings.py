"""From scores to figures, tables and a picture: what `compare.py` writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from peers.protocol import Floats, Peer
from safetensors.numpy import load, save

from ce_detect.core.errors import TooFewSamplesError
from ce_detect.evaluate.intervals import Scores, intervals
from ce_detect.evaluate.metrics import auroc, share_above, tpr_at
from ce_detect.storage import atomic
from ce_detect.verdict import conformal

FPR = 0.05
DRAWS = 200
_GROUPS = ("attacked", "success", "index", "corrupted")
SEED = 0


@dataclass(frozen=True)
class Judged:
    """Scores of one method on one subject.

    Attributes:
        calibrate: ``(n,)`` of the clean images that set the threshold.
        clean: ``(n,)`` of the judged clean images.
        attacked: ``(m,)`` of all attempts, by attack; the first judged images are attacked.
        success: ``(m,)`` whether the attempt changed the decision.
        index: ``(m,)`` positions of the clean twins in ``clean``.
        correct: ``(n,)`` whether a judged clean image is classified correctly.
        corrupted: ``(k,)`` of the first judged images, by corruption.
    """

    calibrate: Floats
    clean: Floats
    attacked: dict[str, Floats]
    success: dict[str, NDArray[np.bool_]]
    index: dict[str, NDArray[np.int64]]
    correct: NDArray[np.bool_]
    corrupted: dict[str, Floats]

    def write(self, path: Path) -> None:
        """Keep the scores."""
        arrays = {"calibrate": self.calibrate, "clean": self.clean, "correct": self.correct}
        for group in _GROUPS:
            arrays |= {f"{group}:{name}": values for name, values in getattr(self, group).items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write(path, save({key: np.ascontiguousarray(value) for key, value in arrays.items()}))

    @classmethod
    def read(cls, path: Path) -> Judged:
        """What `write` kept."""
        arrays = load(path.read_bytes())
        groups: dict[str, dict[str, Any]] = {group: {} for group in _GROUPS}
        for key in [key for key in arrays if ":" in key]:
            group, name = key.split(":", 1)
            groups[group][name] = arrays.pop(key)
        return cls(**arrays, **groups)

    def first(self, counts: Mapping[str, int]) -> Judged:
        """These scores on the first judged images, so many ``clean`` ones and so many attempts of each attack."""
        clean = counts["clean"]
        sizes = {name: counts[name] for name in self.attacked if name in counts}
        return Judged(
            self.calibrate,
            self.clean[:clean],
            {name: self.attacked[name][:size] for name, size in sizes.items()},
            {name: self.success[name][:size] for name, size in sizes.items()},
            {name: self.index[name][:size] for name, size in sizes.items()},
            self.correct[:clean],
            self.corrupted,
        )

    def successes(self) -> dict[str, Floats]:
        """Scores of successful attempts, of attacks that have some."""
        return {name: values[self.success[name]] for name, values in self.attacked.items() if self.success[name].any()}


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


def picture(outcomes: Sequence[dict[str, Any]], target: Path) -> None:
    """Cost against mean AUROC, a panel a subject, with every method on it."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    subjects = list(dict.fromkeys(outcome["subject_title"] for outcome in outcomes))
    figure, panels = pyplot.subplots(1, len(subjects), figsize=(6 * len(subjects), 5), squeeze=False)
    for axes, subject in zip(panels[0], subjects, strict=True):
        rows = [outcome for outcome in outcomes if outcome["subject_title"] == subject]
        mine = sorted((row for row in rows if row["peer"].startswith("ours")), key=lambda row: row["cost"])
        axes.plot([r["cost"] for r in mine], [r["summary"]["auroc_all"] for r in mine], "o-", label="ce-detect")
        for row in rows:
            if row not in mine:
                axes.plot(row["cost"], row["summary"]["auroc_all"], "x", color="black")
            label = row["peer"].removeprefix("ours-")
            axes.annotate(
                label, (row["cost"], row["summary"]["auroc_all"]), fontsize=7, xytext=(3, 3), textcoords="offset points"
            )
        axes.set_xscale("log")
        axes.set_title(subject, fontsize=10)
        axes.set_xlabel("time of a judged forward / model alone")
        axes.grid(alpha=0.3)
    panels[0][0].set_ylabel("mean AUROC over attacks, successes against all clean images")
    figure.tight_layout()
    figure.savefig(target, dpi=110, metadata={"Software": None})
