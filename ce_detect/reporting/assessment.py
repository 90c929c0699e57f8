"""The page of an assessment: a model alone, and what a gate would do for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ce_detect.artifacts.manifest import Manifest
from ce_detect.evaluate.assessment import TERMS, Borne, Choice, Fooled, plain
from ce_detect.evaluate.curves import rate
from ce_detect.evaluate.report import Report, without_nan
from ce_detect.reporting import plots
from ce_detect.reporting.document import Document, Headline, Verdict, rounded
from ce_detect.reporting.model_card import model_card
from ce_detect.reporting.page import rendered
from ce_detect.reporting.words import exact_percent, percent

NOT_COVERED = (
    "Attackers who know the gate and adapt to it. A gate makes evasion dearer, not impossible; ce-detect redteam "
    "measures how much.",
    "Poisoning, backdoors, model extraction and membership inference: other parts of NIST AI 100-2, other tools.",
    "Patches and other changes that anybody can see.",
    "Images unlike those that were given. Measure again where they change.",
)
"""What the page says that it does not say."""


def document(
    model: Mapping[str, Any],
    fooled: Mapping[str, Fooled],
    borne: Mapping[str, Borne],
    choices: list[Choice],
    *,
    report: Report | None,
    manifest: Manifest | None,
    why_not: str,
    name: str,
    data: str,
    seed: int,
) -> Document:
    """Make the report of an assessment.

    Args:
        model: plain facts: ``classes``, ``input_shape``, ``bounds``, ``differentiable``, ``images``, ``accuracy``.
        fooled: the model alone under attack.
        borne: the model alone under natural change.
        choices: what the gate would catch at which false-alarm rate.
        report: of the gate; None without one.
        manifest: of the gate; None without one.
        why_not: why there is no gate.
        name: what the report calls the model.
        data: what it calls the images.
        seed: of the assessment.
    """
    gate = None
    if report is not None and manifest is not None:
        gate = {
            "promise": {"fpr": manifest.fpr, "guarantee": manifest.guarantee},
            "cost": {"pytorch": manifest.figures.cost, "onnxruntime": manifest.figures.onnxruntime_cost},
            "budget": manifest.budget,
            "choices": [asdict(choice) for choice in choices],
            "report": report.to_dict(),
            "model_card": model_card(manifest, artifact=name, data=data, report=report.to_dict()),
        }
    found = rounded(
        without_nan(
            {
                "model": {"name": name, **model},
                "data": data,
                "seed": seed,
                "fooled": {attack: {**one, **_terms(one)} for attack, one in plain(fooled).items()},
                "borne": plain(borne),
                "gate": gate,
                "why_not": why_not,
                "not_covered": list(NOT_COVERED),
            }
        )
    )
    found["verdict"] = asdict(_verdict(found))
    return Document(found, lambda: _page(found))


def _terms(one: Mapping[str, Any]) -> dict[str, str]:
    return TERMS[one["access"]]._asdict()


def easiest(fooled: Mapping[str, Mapping[str, Any]]) -> str:
    """The attack with the smallest bound that fools the model on at least half of the images; else the strongest."""
    bounded = sorted((n for n, one in fooled.items() if one["eps"] is not None), key=lambda n: _size(fooled[n]["eps"]))
    half = [name for name in bounded if fooled[name]["fresh"] >= 0.5]
    return half[0] if half else max(fooled, key=lambda name: fooled[name]["fresh"])


def _size(eps: str) -> float:
    above, _, below = eps.partition("/")
    return float(above) / float(below or 1)


def _verdict(found: Mapping[str, Any]) -> Verdict:
    fooled, borne, gate = found["fooled"], found["borne"], found["gate"]
    name = easiest(fooled)
    one = fooled[name]
    most = max(borne, key=lambda change: borne[change]["changed"])
    figures = [
        Headline(percent(one["fresh"]), f"fooled by {name}", f"saved as JPEG: {percent(one['saved'])}"),
        Headline(percent(borne[most]["changed"]), "decisions moved by nature, at most", most),
    ]
    if found["model"]["accuracy"] is not None:
        figures.insert(
            0, Headline(percent(found["model"]["accuracy"]), "accuracy", f"{found['model']['images']} images")
        )
    details = [f"Of {one['n']} images. An attack succeeds where it moves the model's decision."]
    if gate is None:
        details.append(f"No gate could be made: {found['why_not']}")
    else:
        choice = _nearest(gate)
        if choice is not None:
            figures.append(
                Headline(
                    percent(choice["fresh"]),
                    "of successful attacks a gate would flag",
                    f"at {exact_percent(choice['asked'])} false alarms asked for, measured {percent(choice['clean'])}",
                )
            )
        figures.append(
            Headline(f"{gate['cost']['pytorch']:.2f}", "times the model's time, with the gate", "in PyTorch")
        )
        details.append("The gate comes from a quick recipe; a whole calibration has more images and stronger attacks.")
    return Verdict(
        state="measured",
        label="Assessment",
        headline=f"{name} fools the model on {percent(one['fresh'])} of images.",
        details=tuple(details),
        figures=tuple(figures),
    )


def _nearest(gate: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What the gate does at about the rate that it promises."""
    choices: list[Mapping[str, Any]] = gate["choices"]
    return min(choices, key=lambda one: abs(one["asked"] - gate["promise"]["fpr"]), default=None)


def _rates(shares: Mapping[str, Mapping[str, Any]], key: str) -> dict[str, dict[str, Any]]:
    return {
        name: asdict(rate([i < round(one[key] * one["n"]) for i in range(one["n"])])) for name, one in shares.items()
    }


def _page(found: dict[str, Any]) -> str:
    return rendered(
        "assessment.html.j2",
        title=f"Assessment of {found['model']['name']}",
        found=found,
        fooled=plots.rates(
            "fooled", "Images that fool the model", "Dots are measured, lines are 95 % intervals. Without any gate.",
            _rates(found["fooled"], "fresh"), kind="attacked", head="attack",
        ),
        borne=plots.rates(
            "borne", "Decisions that natural change moves", "Mild ones: what cameras, codecs and lamps do.",
            _rates(found["borne"], "changed"), kind="natural", head="change",
        ),
    )  # fmt: skip
