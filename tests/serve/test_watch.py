"""The monitor behind the server: who asks is known, alarms arrive, and nothing waits for it."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import fused
from support.scans import png
from support.serving import PATIENCE, binary, client, sample, serving
from support.verdicts import judged

from ce_detect.core.errors import ArtifactError, UsageError
from ce_detect.monitor import Alarm
from ce_detect.records.record import Job
from ce_detect.records.settings import AuditSettings
from ce_detect.serve import watch as watch_module
from ce_detect.serve.settings import WatchSettings
from ce_detect.serve.watch import Watch, Watched

MANIFEST = {**fused.MANIFEST, "data": {"splits": {"calibrate": 600}}}


def READ(files: object) -> Any:  # noqa: N802  a constant
    """Inputs of image files that there are none of."""
    raise AssertionError(files)


WATCHED = Watched("a" * 64, MANIFEST, 60, (0.0, 1.0), READ)
BRIGHT, DARK = 0.999, 0.3
CAMPAIGN = 'ce_detect_alarms_total{kind="campaign",scope="client"}'
QUERIES = 'ce_detect_alarms_total{kind="queries",scope="client"}'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a gate that says what it was calibrated on."""
    (tmp_path / "guard.onnx").write_bytes(fused.graph(said=fused.metadata(MANIFEST)))
    return tmp_path


def ask(http: Any, name: str, brightness: float, count: int = 1, seed: int = 0) -> None:
    """Images of one brightness, under a client's name."""
    noise = np.random.default_rng(seed).uniform(-0.05, 0.05, (count, *fused.SHAPE)) * (1 - brightness)
    body, headers = binary((brightness + noise).astype(np.float32))
    answer = http.post("/v2/models/guard/infer", content=body, headers={**headers, "X-Client": name})
    assert answer.status_code == 200, answer.text


def until(http: Any, name: str) -> float:
    """Wait for a figure at ``/metrics``."""
    end = time.monotonic() + PATIENCE
    while not sample(http, name) and time.monotonic() < end:
        time.sleep(0.01)
    return sample(http, name)


def lines(path: Path) -> list[dict[str, Any]]:
    """Of the audit log."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_campaign_is_in_the_metrics_and_in_the_audit_log(folder: Path) -> None:
    """One client sends bright images, which no clean one is; lines name client, model and policy."""
    watch = WatchSettings(client_header="X-Client", queries=False)
    audit = AuditSettings(path=folder / "audit")
    with serving(folder, watch=watch, audit=audit, policy="abstain") as server, client(server) as http:
        for seed in range(30):
            ask(http, "people", DARK, 4, seed)
            ask(http, "attacker", BRIGHT, 1, seed)
        assert until(http, CAMPAIGN) == 1
        assert sample(http, "ce_detect_campaign_clients") == 1
        assert sample(http, "ce_detect_monitor_lost") == 0
    found = lines(folder / "audit")
    verdicts = [line for line in found if "score" in line]
    alarms = [line["alarm"] for line in found if "alarm" in line]
    assert len(verdicts) == 150
    assert {(line["client"], line["model"], line["policy"]) for line in verdicts} == {
        ("people", "guard", "abstain"), ("attacker", "guard", "abstain"),
    }  # fmt: skip
    assert {(alarm["scope"], alarm["name"]) for alarm in alarms} >= {("client", "attacker")}
    assert "people" not in {alarm["name"] for alarm in alarms}


def test_query_attacks_are_seen_by_the_address(folder: Path) -> None:
    """Without a header the connection names the client; near-copies of a clean image are no campaign."""
    with serving(folder, watch=WatchSettings()) as server, client(server) as http:
        for seed in range(30):
            ask(http, "", DARK, 1, seed)
        assert until(http, QUERIES) == 1
        assert sample(http, CAMPAIGN) == 0


def test_a_restart_forgets_nothing(folder: Path) -> None:
    """Three bright images raise no alarm in one process; three more in the next one do."""
    state = folder / "state"
    state.mkdir()
    watch = WatchSettings(client_header="X-Client", state=state, queries=True)
    alarms = []
    for _ in range(2):
        with serving(folder, watch=watch) as server, client(server) as http:
            for seed in range(3):
                ask(http, "attacker", BRIGHT, 1, seed)
        assert server.service.watch is not None
        assert server.service.watch.monitor is not None
        alarms.append(server.service.watch.monitor.status()["clients_in_campaign"])
    assert alarms == [[], ["attacker"]]
    assert (state / "queries").stat().st_mode & 0o077 == 0


def test_a_gate_that_says_too_little_is_refused(tmp_path: Path) -> None:
    """Without the number of clean scores there is nothing to promise: the server says so and does not start."""
    with (
        pytest.raises(AssertionError, match=r"Reference\.measured"),
        serving(tmp_path, settle=True, watch=WatchSettings()),
    ):
        raise AssertionError("it started")


def held_up(settings: WatchSettings) -> tuple[Watch, threading.Event]:
    """A watch that hangs in its first alarm, with five more batches of five inputs to take; and what lets it go on."""
    stuck, go_on = threading.Event(), threading.Event()

    def told(alarm: Alarm, artifact: str, job: Job) -> None:
        stuck.set()
        assert go_on.wait(PATIENCE)

    watch = Watch(settings, told)
    watch.begin(WATCHED)
    bright = judged(200)
    bright[0][1].p_value[:] = 1 / 601
    watch.take(bright, "a" * 64)
    assert stuck.wait(PATIENCE)
    for _ in range(5):
        watch.take(judged(5), "a" * 64)
    return watch, go_on


def test_what_it_cannot_take_is_counted() -> None:
    """A monitor that is stuck holds up nobody; its queue is bounded."""
    watch, go_on = held_up(WatchSettings(queries=False, waiting=10))
    assert watch.lost == 15
    assert not watch.close(0.1)  # as where Redis takes its time: the server's own time to stop is bounded
    assert watch.lost == 25
    go_on.set()
    assert watch.close()


def test_inputs_that_wait_for_others_fill_no_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue that is half full is looked at at once, however long inputs may wait for others."""
    monkeypatch.setattr("ce_detect.serve.watch.GATHERED", PATIENCE)
    watch = Watch(WatchSettings(queries=False, waiting=64), lambda *told: None)
    watch.begin(WATCHED)
    for number in range(1, 5):
        watch.take(judged(32), "a" * 64)
        end = time.monotonic() + PATIENCE / 2
        while watch.status()["inputs"] < 32 * number and time.monotonic() < end:
            time.sleep(0.01)
        assert watch.status()["inputs"] == 32 * number
    assert watch.lost == 0
    assert watch.close()


def test_what_waits_has_a_size() -> None:
    """Large images that wait would fill the memory long before their number is too large."""
    watch, go_on = held_up(WatchSettings(queries=False, waiting_bytes=2 * judged(5)[0][0].x.nbytes))
    assert watch.lost == 15
    go_on.set()
    assert watch.close()
    watched = watch.monitor
    assert watched is not None
    assert watched.overall.seen + watch.lost == 225


def test_what_a_client_judged_by_its_own_threshold_is_no_evidence() -> None:
    """The promise is that of the calibrated one; and what came before a reload is of another gate."""
    alarms: list[Alarm] = []
    watch = Watch(WatchSettings(queries=False), lambda alarm, *_: alarms.append(alarm))
    watch.begin(WATCHED)
    for artifact, threshold in (("a" * 64, 0.1), ("b" * 64, None)):
        bright = judged(200)
        bright[0][0].threshold = threshold
        bright[0][1].p_value[:] = 1 / 601
        watch.take(bright, artifact)
    watch.close()
    assert alarms == []
    assert watch.monitor is not None
    assert watch.monitor.overall.seen == 0


def test_together_or_one_by_one_makes_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits is looked at together: evidence and alarms are those of one after the other."""
    random = np.random.default_rng(0)
    batches = [judged(3) for _ in range(40)]
    for number, ((job, result),) in enumerate(batches):
        job.client = None if number % 7 == 0 else f"client {number % 3}"
        job.x = random.random(job.x.shape, np.float32) if number % 3 else job.x + np.float32(1e-4 * number)
        result.p_value[:] = random.random(3) ** (4 if number % 3 == 1 else 1)
        result.score[:] = 1 - result.p_value
    found = []
    for together in (1, 1000):
        monkeypatch.setattr(watch_module, "TOGETHER", together)
        alarms: list[tuple[str, str | None]] = []
        watch = Watch(WatchSettings(), lambda alarm, _, job, told=alarms: told.append((alarm.text, job.client)))
        watch.begin(WATCHED)
        with watch._changed:  # until all wait
            for batch in batches:
                watch._jobs.append((batch, "a" * 64))
                watch._waiting += 3
            watch._changed.notify()
        watch.close()
        assert watch.monitor is not None
        assert watch.queries is not None
        found.append((
            sorted(text for text, _ in alarms), {client for text, client in alarms if "client 0" in text},
            [watch.monitor.status()[name] for name in ("inputs", "evidence", "drift_evidence")],
            watch.queries.overall.evidence.value,
        ))  # fmt: skip
    assert found[0][0]
    assert found[0][1] == found[1][1] == {"client 0"}
    assert found[0][0] == found[1][0]
    assert found[0][2] == pytest.approx(found[1][2])
    assert found[0][3] == pytest.approx(found[1][3])


def test_it_can_be_asked_while_it_works() -> None:
    """Metrics are read in another thread, while new clients come and old ones move."""
    watch = Watch(WatchSettings(queries=False, waiting=10**6), lambda *told: None)
    watch.begin(WATCHED)
    for number in range(3000):
        batch = judged(1)
        batch[0][0].client = f"client {number}"
        watch.take(batch, "a" * 64)
    clients = []
    while not clients or clients[-1] < 3000:
        clients.append(watch.status()["clients"])
    watch.close()
    assert len(set(clients)) > 2


def test_a_reload_of_another_gate_begins_anew() -> None:
    """The same manifest goes on, another one does not; one that says too little changes nothing."""
    watch = Watch(WatchSettings(), lambda *told: None)
    watch.begin(WATCHED)
    before = watch.monitor
    watch.begin(Watched("b" * 64, dict(MANIFEST), 60, (0.0, 1.0), READ))
    assert watch.monitor is before
    with pytest.raises(ArtifactError):
        watch.begin(Watched("c" * 64, dict(fused.MANIFEST), 60, (0.0, 1.0), READ))
    assert watch.monitor is before
    watch.begin(Watched("d" * 64, {**MANIFEST, "fpr": 0.1}, 60, (0.0, 1.0), READ))
    assert watch.monitor is not before
    watch.close()


def test_habits_are_learned_from_a_folder(folder: Path) -> None:
    """Natural images of the size of the inputs; with too few it does not start."""
    images = folder / "natural"
    images.mkdir()
    for number, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (120, 4, 5, 3), np.uint8)):
        (images / f"{number}.png").write_bytes(png(pixels))
    with serving(folder, watch=WatchSettings(habits=images)) as server:
        assert server.service.watch is not None
        queries = server.service.watch.queries
        assert queries is not None
        assert len(queries.client_bets.rates) > len(queries.bets.rates)


def test_natural_images_are_read_a_few_at_a_time(folder: Path) -> None:
    """Three thousand photographs in floats are more than a server's memory."""
    images = folder / "natural"
    images.mkdir()
    for number in range(150):
        (images / f"{number}.png").touch()
    seen: list[int] = []

    def read(files: Any) -> Any:
        seen.append(len(files))
        return np.random.default_rng(len(seen)).random((len(files), 60), np.float32)

    watch = Watch(WatchSettings(habits=images), lambda *told: None)
    watch.begin(replace(WATCHED, read=read))
    watch.close()
    assert (sum(seen), max(seen)) == (150, 64)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"state": Path("/no such folder")}, "make it, or name another"),
        ({"webhook": "http://127.0.0.1:1/"}, "needs a secret"),
        ({"webhook": "http://127.0.0.1:1/", "webhook_secret": Path("/no such file")}, "cannot be read"),
        ({"habits": Path("/no such folder")}, "natural images"),
        ({"redis": "nonsense"}, "no address of a Redis server"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(settings: dict[str, Any], message: str) -> None:
    """Before the server listens."""
    with pytest.raises(UsageError, match=message):
        Watch(WatchSettings(**settings), lambda *told: None)


def test_a_state_that_cannot_be_kept_stops_nothing(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The folder is gone: answers go on, and the log says it."""
    state = folder / "state"
    state.mkdir()
    watch = Watch(WatchSettings(state=state), lambda *told: None)
    watch.begin(WATCHED)
    state.rmdir()
    watch.save()
    watch.close()
    assert "cannot be kept" in caplog.text
