"""The monitor as users meet it: verdicts in, alarms out, and its promise kept on real finite calibrations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support import manifests
from support.streams import FPR, Source

from ce_detect.core.errors import InputError, UsageError
from ce_detect.monitor import Monitor, MonitorSettings, Reference
from ce_detect.monitor.evidence import Bets
from ce_detect.monitor.streams import Stream
from ce_detect.verdict.policies import Abstain
from ce_detect.verdict.result import GateResult


def false_alarms(monitor: Monitor, source: Source, inputs: int, size: int = 2000) -> int:
    """Alarms over a clean stream of one client."""
    return sum(len(monitor.observe(source.verdicts(size), "one")) for _ in range(inputs // size))


def promised(inputs: int, calibrations: int) -> None:
    """Ten alarms per million are allowed, and no more come, over calibrations of 600 scores each."""
    settings = MonitorSettings(false_alarms=10.0)
    alarms = 0
    for seed in range(calibrations):
        source = Source(seed)
        alarms += false_alarms(Monitor(source.reference, settings), source, inputs // calibrations)
    assert alarms <= 10.0 * inputs / 1e6


def test_the_promise_holds_on_finite_calibrations() -> None:
    """A short form of the test below."""
    promised(200_000, 4)


@pytest.mark.slow
def test_the_promise_holds_over_ten_million_clean_inputs() -> None:
    """Whatever luck each of 50 calibrations had, and however long one looks."""
    promised(10_000_000, 50)


def test_rates_taken_for_true_would_alarm_on_clean_traffic() -> None:
    """What the bounds are for: with the rates that p-values claim, an unlucky calibration alarms again and again."""
    unlucky = max((Source(seed) for seed in range(20)), key=lambda source: 1 - source.threshold)
    claimed = Reference.of_scores(600, 3, promise=FPR)
    bets = Bets(np.append(4 / 601, claimed.levels))
    plain = Stream.of(bets, 1e5)
    assert len(list(plain.feed(unlucky.reference.hits(unlucky.verdicts(200_000))))) > 2
    assert false_alarms(Monitor(unlucky.reference, MonitorSettings(false_alarms=10.0)), unlucky, 200_000) == 0


def test_one_by_one_is_as_good_as_in_batches() -> None:
    """Verdicts arrive as they arrive: the alarms and the evidence are the same."""
    source = Source(1)
    result = source.verdicts(800, attacked=0.2)
    names = np.random.default_rng(0).choice(["a", "b"], 800)
    whole, single = Monitor(source.reference), Monitor(source.reference)
    together = whole.observe(result, names)
    one_by_one = []
    for i in range(800):
        row = {name: getattr(result, name)[i : i + 1] for name in ("logits", "label", "score", "p_value")}
        flag = result.is_adversarial[i : i + 1]
        one_by_one += single.observe(replace(result, **row, is_adversarial=flag), str(names[i]))
    key = [(alarm.scope, alarm.name, alarm.text) for alarm in together]
    assert key
    assert sorted(key) == sorted((alarm.scope, alarm.name, alarm.text) for alarm in one_by_one)
    assert whole.status()["evidence"] == pytest.approx(single.status()["evidence"])


def test_a_campaign_of_one_client_is_told_of_him() -> None:
    """One client attacks among forty: the alarm names him, what was seen, and ATLAS's terms."""
    source = Source(2)
    monitor = Monitor(source.reference)
    alarms = []
    for _ in range(30):
        for client in range(40):
            bad = client == 7
            alarms += monitor.observe(source.verdicts(5, attacked=0.5 if bad else 0.0), f"client {client}")
    of_clients = [alarm for alarm in alarms if alarm.scope == "client"]
    assert {alarm.name for alarm in of_clients} == {"client 7"}
    alarm = of_clients[0]
    assert alarm.kind == "campaign"
    assert "client client 7" in alarm.text
    assert "of clean inputs are" in alarm.text
    assert any(term.startswith("AML.T0015") for term in alarm.plain()["techniques"])
    assert any(term.startswith("AML.M0015") for term in alarm.plain()["mitigations"])
    assert monitor.status()["clients_in_campaign"] == ["client 7"]


def test_a_campaign_against_one_label_is_told_where_labels_were_measured() -> None:
    """Inputs that get the label 3 are all suspicious; they are a fiftieth of the traffic."""
    source, random = Source(4), np.random.default_rng(0)
    clean = replace(source.verdicts(20_000), label=random.integers(0, 50, 20_000))
    monitor = Monitor(Reference.measured(clean, len(source.clean), promise=FPR))
    labels = random.integers(0, 50, 2000)
    scores = np.where(labels == 3, 2.0, random.random(2000))
    alarms = monitor.observe(source.judged(scores, labels))
    assert "3" in {alarm.name for alarm in alarms if alarm.scope == "label"}
    assert {alarm.name for alarm in alarms if alarm.scope == "label"} == {"3"}
    assert monitor.status()["labels_in_campaign"] == ["3"]


def test_a_gate_that_abstains_tells_of_labels_all_the_same() -> None:
    """It takes the label from each flagged input, and with it went all evidence."""
    source, random = Source(1), np.random.default_rng(1)

    def abstained(scores: np.ndarray, labels: np.ndarray) -> GateResult:
        result = replace(source.judged(scores, labels), logits=np.eye(5)[labels])
        return Abstain().apply(result, None)

    clean = abstained(random.random(20_000), random.integers(0, 5, 20_000))
    reference = Reference.measured(clean, 600, promise=0.01)
    assert sorted(reference.by_label) == [0, 1, 2, 3, 4]
    labels = random.integers(0, 5, 400)
    alarms = Monitor(reference).observe(abstained(np.where(labels == 3, 2.0, random.random(400)), labels))
    assert "3" in {alarm.name for alarm in alarms if alarm.scope == "label"}


def test_moved_scores_are_told_as_drift() -> None:
    """A lamp that ages moves all scores: drift is told, with what to do, and alarms that follow name it as well."""
    source = Source(5)
    monitor = Monitor(source.reference)
    alarms = [alarm for _ in range(20) for alarm in monitor.observe(source.verdicts(1000, shift=0.15))]
    told = [alarm.kind for alarm in alarms].index("drift")
    assert told <= 1  # a jump that sudden may look like a campaign in its first few inputs
    assert {alarm.kind for alarm in alarms[told:]} == {"drift"}
    assert any("alibrate again" in alarm.text for alarm in alarms)


def test_reviews_say_when_the_promise_is_over() -> None:
    """Forty of a thousand clean inputs were flagged where one percent was promised: said once, with the interval."""
    monitor = Monitor(Source(0).reference)
    assert monitor.reviewed(5, 500) == []
    (alarm,) = monitor.reviewed(35, 400)
    assert alarm.kind == "drift"
    assert "The promise of 1.00% false alarms no longer holds: now between" in alarm.text
    assert monitor.reviewed(2, 50) == []
    assert monitor.status()["false_alarm_rate_interval"][0] > 0.01


def test_over_an_endless_stream_an_alarm_is_unlikely_at_all() -> None:
    """The form "ever" promises a probability; a campaign is found none the less, if later."""
    settings = MonitorSettings(form="ever", false_alarms=0.05)
    source = Source(6)
    monitor = Monitor(source.reference, settings)
    assert false_alarms(monitor, source, 60_000) == 0
    assert monitor.observe(source.verdicts(500, attacked=0.3))


def test_it_is_made_from_a_manifest() -> None:
    """What a gate says of itself is enough."""
    monitor = Monitor.of(manifests.plain(data={"splits": {"calibrate": 600}}))
    assert monitor.status()["promise"] == 0.01
    assert monitor.status()["limit"] == 4e6


@pytest.mark.parametrize(
    "wrong", [{"false_alarms": 0.0}, {"form": "ever", "false_alarms": 2.0}, {"error": 1.0}, {"clients": 0}]
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    """The message says what is possible."""
    with pytest.raises(UsageError, match="expected"):
        MonitorSettings(**wrong)


def test_one_client_for_each_input() -> None:
    """Another number of names is an error."""
    source = Source(0)
    with pytest.raises(InputError, match="2 clients for 3 inputs"):
        Monitor(source.reference).observe(source.verdicts(3), ["a", "b"])
