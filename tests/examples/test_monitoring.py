"""The dashboard and the alert rules in ``examples/`` ask for figures that the server has."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from ce_detect.serve.metrics import Metrics
from ce_detect.serve.settings import WatchSettings
from ce_detect.serve.watch import Watch

EXAMPLES = Path(__file__).parents[2] / "examples"
RULES = EXAMPLES / "prometheus" / "ce-detect.rules.yml"


def names() -> set[str]:
    """Of every figure that a server with a monitor shows."""
    metrics = Metrics(waiting=lambda: 0, artifact=dict, threshold=lambda: 0.0)
    watch = Watch(WatchSettings(), lambda alarm, artifact: None)
    metrics.watch(watch)
    metrics.alarms.labels("campaign", "client")
    metrics.requests.labels("200")
    watch.close()
    return set(re.findall(r"^(ce_detect_\w+)", metrics.text().decode(), re.MULTILINE))


def asked(text: str) -> set[str]:
    """Figures in a query."""
    return set(re.findall(r"ce_detect_\w+", text))


def test_the_dashboard_asks_for_what_there_is() -> None:
    """Every query of every panel, and no two panels on one place."""
    panels = json.loads((EXAMPLES / "grafana-dashboard.json").read_text())["panels"]
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    assert len(queries) > 10
    assert asked(" ".join(queries)) <= names()
    assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}) == len(panels)


def test_the_rules_ask_for_what_there_is() -> None:
    """Every alarm of the monitor has one, in ATLAS's terms where it is an attack."""
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    assert asked(" ".join(rule["expr"] for rule in rules)) <= names()
    text = RULES.read_text()
    assert all(f'kind="{kind}"' in text for kind in ("campaign", "drift", "queries"))
    assert all(term in text for term in ("AML.T0015", "AML.T0043", "AML.M0004"))


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool: apt-get install prometheus")
def test_promtool_agrees() -> None:
    """The rules are rules, and do what their own tests say."""
    for command in (["check", "rules", RULES.name], ["test", "rules", "ce-detect.test.yml"]):
        done = subprocess.run(["promtool", *command], cwd=RULES.parent, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
