"""Model cards, as plain data and as a file that others read."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from support.manifests import manifest
from support.pages import evaluated, red_teamed

from ce_detect.reporting.model_card import markdown, model_card

DESCRIPTION = 5000
"""Letters that MLflow keeps of the description of a model."""


def test_the_hub_reads_the_card() -> None:
    """The front matter has the library, the task, and each figure as a result; what follows is the text."""
    data = evaluated().data
    card = ModelCard(markdown(data["model_card"]))
    assert card.data.library_name == "ce-detect"
    assert card.data.pipeline_tag == "image-classification"
    assert card.data.model_name == "guard <1>.safetensors"
    results = {one.metric_name: one for one in card.data.eval_results}
    assert len(results) == len(data["model_card"]["figures"]) == 9
    flagged = results["clean images flagged"]
    assert flagged.metric_value == pytest.approx(data["report"]["clean"]["false_positive_rate"])
    assert (flagged.metric_type, flagged.dataset_name) == ("false_positive_rate", "fresh.npz")
    assert results["fgsm 8/255: AUROC when successful"].metric_value == pytest.approx(
        data["report"]["attacks"]["fgsm 8/255"]["auroc_successes"], rel=1e-3
    )
    assert card.text.strip().startswith("# guard <1>.safetensors")


def test_mlflow_can_keep_the_text_as_a_description() -> None:
    """It is short enough, with every attack and every kind of natural change of an evaluation."""
    assert len(ModelCard(markdown(evaluated().data["model_card"])).text) < DESCRIPTION


def test_the_file_says_what_the_data_say() -> None:
    """Each sentence, each figure and each detail."""
    for found in (evaluated(), red_teamed()):
        card = found.data["model_card"]
        file = markdown(card)
        for sentence in (*card["intended_use"], *card["limits"]):
            assert f"- {sentence}\n" in file
        for one in card["figures"]:
            assert f"| {one['name']} | {one['value']} |\n" in file
        for name, value in card["details"].items():
            assert f"| {name} | {value} |\n" in file


def test_names_break_neither_yaml_nor_tables() -> None:
    """Quotes, colons, hashes and pipes."""
    awkward = 'a: "b" # | c.safetensors'
    report: dict[str, Any] = {
        "clean": {
            "false_positive_rate": 0.01, "accuracy": None, "passed_accuracy": None,
            "false_positive_rate_correct": None, "false_positive_rate_misclassified": None,
        },
        "corruptions": {},
        "attacks": {awkward: {"detection_rate_successes": 0.5, "auroc_successes": None}},
    }  # fmt: skip
    file = markdown(model_card(manifest(), artifact=awkward, data="x|y: z.npz", report=report))
    front = yaml.safe_load(file.split("---\n")[1])
    (index,) = front["model-index"]
    assert index["name"] == awkward
    (result,) = index["results"]
    assert result["dataset"]["name"] == "x|y: z.npz"
    assert [metric["value"] for metric in result["metrics"]] == [0.01, 0.5, 0.5]
    rows = [line for line in file.splitlines() if line.startswith("| a: ")]
    assert [row.count("|") for row in rows] == [3]


def test_limits_say_what_was_and_what_was_not_measured() -> None:
    """Whether an attacker who knows the detector was tried, and how the misclassified fare."""
    assert "is not measured here" in " ".join(evaluated().data["model_card"]["limits"])
    ratio = red_teamed().data["report"]["ratio"]["value"]
    (limit,) = [one for one in red_teamed().data["model_card"]["limits"] if "An attacker who knows" in one]
    assert f"{ratio:.2f} times the perturbation" in limit
    wrong = evaluated().data["report"]["clean"]["false_positive_rate_misclassified"]
    assert any(f"gets wrong {100 * wrong:.1f} % are flagged" in one for one in evaluated().data["model_card"]["limits"])


def test_without_figures_it_says_so() -> None:
    """A calibration without a test split measured none; one with a split has those of the split."""
    card = model_card(manifest(), artifact="guard.safetensors")
    assert card["figures"] == []
    assert "None were measured." in markdown(card)
    assert "model-index" not in markdown(card)
    assert card["measured_on"] == "test split of the calibration"


def test_secret_seeds_stay_secret() -> None:
    """A card is there to be shown."""
    names = {"names": ["GaussianNoise(seed=987654)@input"]}
    assert "987654" in markdown(model_card(manifest(signature=names), artifact="a"))
    assert "987654" not in markdown(model_card(manifest(signature=names, secret_seed=True), artifact="a"))
