"""The page of the demo: images before and after natural change and an attack, and what each figure means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np

from ce_detect.artifacts.manifest import Manifest
from ce_detect.core.types import Floats
from ce_detect.detector.gate import GateModule
from ce_detect.evaluate.curves import curves
from ce_detect.evaluate.report import Report, without_nan
from ce_detect.explain.explanation import explain
from ce_detect.reporting import plots
from ce_detect.reporting.document import Document, Headline, Verdict, rounded
from ce_detect.reporting.gallery import Entry, entries
from ce_detect.reporting.model_card import model_card
from ce_detect.reporting.page import rendered
from ce_detect.reporting.words import exact_percent, mean_detection, percent

Plain = Mapping[str, Any]

NAME = "demo"
"""What the page calls the detector."""


@dataclass(frozen=True, slots=True)
class Example:
    """One image and the gate's word on it.

    Attributes:
        kind: ``"clean"``, ``"natural"`` or ``"attacked"``.
        change: what was done to it; empty for a clean image.
        image: its number among the held-out images.
        true_class: what the image shows.
        decision: what the classifier says.
        score: larger = more adversarial.
        p_value: share of clean inputs that look at least as adversarial.
        is_adversarial: the verdict.
        pixels: ``(channels, height, width)``; not in plain data.
    """

    kind: Literal["clean", "natural", "attacked"]
    change: str
    image: int
    true_class: str
    decision: str
    score: float
    p_value: float
    is_adversarial: bool
    pixels: Floats = field(repr=False, compare=False)

    def plain(self) -> dict[str, Any]:
        """All but the pixels."""
        found = asdict(self)
        del found["pixels"]
        return found


class Line(NamedTuple):
    """A figure, and what it means."""

    name: str
    value: str
    meaning: str


def lines(figures: Plain, manifest: Manifest, unseen: Sequence[str], cost: float) -> list[Line]:
    """The figures of a demo, each with a line that explains it.

    Args:
        figures: plain `ce_detect.evaluate.report.Report`.
        manifest: of the detector.
        unseen: names of the attacks that calibration did not contain.
        cost: time of a gated forward relative to the model alone.
    """
    clean, attacks, natural = figures["clean"], figures["attacks"], figures["corruptions"]
    rates = {name: one["false_positive_rate"] for name, one in natural.items()}
    most = max(rates, key=lambda name: rates[name])
    found = [
        Line(
            "clean images flagged",
            percent(clean["false_positive_rate"]),
            f"Of {clean['n']} held-out images. Each is a false alarm; at most {exact_percent(manifest.fpr)} was asked "
            "for.",
        ),
        Line(
            "changed images flagged",
            percent(float(np.mean(list(rates.values())))),
            f"Mean over {len(rates)} mild natural changes: light, noise, codecs. Also false alarms. Most: "
            f"{percent(rates[most])}, {most}.",
        ),
        Line(
            "attacks flagged",
            percent(mean_detection(figures)),
            f"Of attacked images that fool the classifier, mean over {len(attacks)} attacks.",
        ),
    ]
    found += [
        Line(
            f"{name} flagged",
            percent(attacks[name]["detection_rate_successes"]),
            f"Of the {round(attacks[name]['success_rate'] * attacks[name]['n'])} images that this attack fools the "
            "classifier with. The detector never saw this attack.",
        )
        for name in unseen
    ]
    accuracy, passed = clean["accuracy"], clean["passed_accuracy"]
    return [
        *found,
        Line(
            "accuracy of what passes",
            percent(passed),
            f"Share of passed clean images that the classifier gets right. Of all: {percent(accuracy)}.",
        ),
        Line(
            "cost",
            f"{cost:.2f}",
            f"Time of the classifier with its gate over that of the classifier alone. {_allowed(manifest)}",
        ),
    ]


def document(
    report: Report,
    manifest: Manifest,
    gate: GateModule,
    examples: Sequence[Example],
    *,
    unseen: Sequence[str],
    cost: float,
) -> Document:
    """Make the page of a demo.

    Args:
        report: on held-out images.
        manifest: of the detector.
        gate: explains the examples, some hundred forward passes each.
        examples: what is shown, in this order.
        unseen: names of the attacks that calibration did not contain.
        cost: time of a gated forward relative to the model alone.

    Raises:
        MissingExtraError: Captum, Matplotlib or Jinja is not installed.
    """
    figures = report.to_dict()
    listed = lines(figures, manifest, unseen, cost)
    found = {
        "manifest": manifest.plain(),
        "threshold": report.threshold,
        "report": figures,
        "unseen": list(unseen),
        "verdict": asdict(_verdict(figures, listed, examples, unseen)),
        "figures": [line._asdict() for line in listed],
        "curves": rounded(without_nan(asdict(curves(report)))),
        "judged": [one.plain() for one in examples],
        "model_card": model_card(manifest, artifact=NAME, data="held-out images of the demo", report=figures),
    }
    return Document(found, lambda: _page(found, gate, examples))


def _verdict(figures: Plain, listed: Sequence[Line], examples: Sequence[Example], unseen: Sequence[str]) -> Verdict:
    clean, attacked = figures["clean"]["false_positive_rate"], [one for one in examples if one.kind == "attacked"]
    caught = sum(one.is_adversarial for one in attacked)
    return Verdict(
        state="measured",
        label="A small classifier of clothes, and its gate",
        headline=f"It flags {percent(mean_detection(figures))} of successful attacks and {percent(clean)} of clean "
        "images.",
        details=(
            f"Below: the first {len(attacked)} images that {_listed(unseen)} fools the classifier with, not chosen "
            f"ones. {caught} of these {len(attacked)} attacks are flagged.",
            "A flag means: attacked, or the classifier is unsure here.",
            "None of these figures holds against an attacker who knows the gate.",
        ),
        figures=tuple(Headline(line.value, line.name, line.meaning) for line in listed),
    )


def _allowed(manifest: Manifest) -> str:
    return "No limit was set." if manifest.budget is None else f"At most {manifest.budget:g} was asked for."


def _listed(names: Sequence[str]) -> str:
    return " and ".join(names)


def _page(found: dict[str, Any], gate: GateModule, examples: Sequence[Example]) -> str:
    threshold, shown = found["threshold"], found["curves"]
    natural = {name: one for name, one in shown["false_alarms"].items() if name != "clean"}
    groups: dict[int, list[tuple[Example, Entry]]] = {}
    for example, entry in zip(examples, _explained(gate, examples), strict=True):
        groups.setdefault(example.image, []).append((example, entry))
    return rendered(
        "demonstration.html.j2",
        title="ce-detect demo",
        found=found,
        groups=groups,
        detection=plots.rates(
            "detection", "Successful attacks flagged", "Dots are measured, lines are 95 % intervals.",
            shown["detection"], kind="attacked", head="attack",
        ),
        natural=plots.rates(
            "natural", "Naturally changed images flagged",
            "Each flag is a false alarm. Lines are 95 % intervals, the dashed one is the promise for plain images.",
            natural, kind="natural", head="change", promised=found["report"]["target"],
        ),
        histogram=plots.histogram(shown["histogram"], threshold),
    )  # fmt: skip


def _explained(gate: GateModule, examples: Sequence[Example]) -> list[Entry]:
    if not examples:
        return []
    found = explain(gate, np.stack([one.pixels for one in examples]))
    names = [f"{one.true_class}, {one.change or 'as it is'}" for one in examples]
    return entries(found, names, gate.signature.classifier.bounds)
