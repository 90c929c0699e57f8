"""The stateful detector against real attacks, people, copies and floods."""

from __future__ import annotations

import numpy as np
import pytest
from support.queries import SALT, detector, walk, zeros

from ce_detect.core.errors import InputError, UsageError
from ce_detect.data import Images, load_data
from ce_detect.monitor.queries import QueryDetector, QuerySettings


def test_people_raise_no_alarm(demo_images: Images) -> None:
    """Five hundred images of clothes from one client, some of them sent again as they are."""
    found = detector()
    x = np.concatenate([demo_images.x, demo_images.x[:200]])
    assert found.observe(x, zeros(len(x)), "one") == []


def test_near_copies_are_an_attack(demo_images: Images) -> None:
    """Forty steps around one image: the alarm names the client, what he sent, and ATLAS's mitigation."""
    found = detector()
    found.observe(demo_images.x[:200], zeros(200), "other")
    alarms = found.observe(walk(demo_images.x[300], 40), zeros(40), "attacker")
    assert {(alarm.scope, alarm.name) for alarm in alarms} == {("client", "attacker"), ("overall", "")}
    (alarm,) = [alarm for alarm in alarms if alarm.scope == "client"]
    assert alarm.kind == "queries"
    assert "near-copies of earlier ones" in alarm.text
    assert any(term.startswith("AML.M0004") for term in alarm.mitigations)


def test_many_names_of_one_attacker_are_seen_over_all(demo_images: Images) -> None:
    """A new name for every query: no client has evidence against him, all together have."""
    found = detector()
    names = [f"name {number}" for number in range(60)]
    alarms = found.observe(walk(demo_images.x[0], 60), zeros(60), names)
    assert {alarm.scope for alarm in alarms} == {"overall"}


def test_a_flood_between_two_queries_hides_nothing(demo_images: Images) -> None:
    """Four images of others after each step, in an index that holds thirty: found all the same."""
    found = detector(inputs=30)
    steps, others = walk(demo_images.x[0], 60), demo_images.x[1:241].reshape(60, 4, 1, 28, 28)
    alarms = []
    for step, flood in zip(steps, others, strict=True):
        alarms += found.observe(np.concatenate([step[None], flood]), zeros(5), "attacker")
    assert "attacker" in {alarm.name for alarm in alarms}


def test_video_is_told_from_an_attack_by_the_label(demo_images: Images) -> None:
    """Where near-copies are normal, a still camera raises no alarm, and a walk along the boundary does."""
    frames = walk(demo_images.x[0], 300)
    assert detector(near_duplicates=0.99).observe(frames, zeros(300), "camera") == []
    labels = np.random.default_rng(0).integers(0, 2, 300)
    alarms = detector(near_duplicates=0.99).observe(frames, labels, "attacker")
    assert "attacker" in {alarm.name for alarm in alarms}


@pytest.mark.parametrize("habits", [False, True])
def test_who_repeats_each_query_is_found_by_as_many_steps(demo_images: Images, habits: bool) -> None:
    """Exact copies say nothing for an attacker: not of a step, nor of one image that he sends between them."""
    steps, alarms = walk(demo_images.x[300], 40), []
    for copies in (0, 1, 9):
        found = detector()
        if habits:
            found.learn_habits(demo_images.x[:200])
        found.observe(demo_images.x[:1], zeros(1), "attacker")
        for number, step in enumerate(steps, 1):
            sent = np.concatenate([step[None], *[step[None], demo_images.x[:1]] * copies])
            if any(alarm.scope == "client" for alarm in found.observe(sent, zeros(len(sent)), "attacker")):
                alarms.append(number)
                break
    assert len(alarms) == 3
    assert len(set(alarms)) == 1


def test_copies_stay_copies_after_one_near_copy(demo_images: Images) -> None:
    """A client that sends one image again and again, once saved anew: one near-copy in four hundred inputs.

    All copies after it were taken for near-copies, and an alarm told of a query attack.
    """
    x = demo_images.x[np.arange(400) % 200].copy()
    x[1::2] = demo_images.x[200]
    x[7:8] = walk(demo_images.x[200], 1, step=0.004)
    assert detector().observe(x, zeros(400), "app") == []


def test_a_search_pixel_by_pixel_in_large_images_is_found() -> None:
    """Sketches look at one pixel in 37 of these: what changes another pixel is a near-copy all the same."""
    found = QueryDetector(3 * 224 * 224, (0.0, 1.0), salt=SALT)
    random = np.random.default_rng(0)
    x = np.repeat(random.random((1, 3, 224, 224), np.float32), 30, axis=0)
    x.reshape(30, -1)[np.arange(30), random.permutation(150_000)[:30]] = 0.5
    assert "attacker" in {alarm.name for alarm in found.observe(x, zeros(30), "attacker")}


def test_habits_tell_a_search_with_steps_that_are_not_near() -> None:
    """Directions around one image, so large that no two inputs are near: their differences give it away."""
    x = load_data("demo", limit=1500).x
    found = detector()
    found.learn_habits(x[:1000])
    assert found.observe(x[1000:], zeros(500), "people") == []
    far = walk(x[0], 120, step=0.3)
    alarms = found.observe(far, zeros(120), "attacker")
    assert found.overall.evidence.value < 1e4  # near-copies alone would say nothing
    assert {alarm.name for alarm in alarms} == {"attacker"}
    assert "as steps of a search do" in alarms[0].text


def test_habits_are_learned_in_parts(demo_images: Images) -> None:
    """As from all at once, which may need gibibytes."""
    whole, parts = detector(), detector()
    whole.learn_habits(demo_images.x)
    parts.learn_habits(demo_images.x[i : i + 64] for i in range(0, len(demo_images.x), 64))
    np.testing.assert_allclose(parts.client_bets.rates, whole.client_bets.rates, rtol=0.05)


def test_one_by_one_is_as_good_as_in_batches(demo_images: Images) -> None:
    """However requests are put together."""
    x = np.concatenate([demo_images.x[:50], walk(demo_images.x[60], 30)])
    whole, single = detector(), detector()
    for found in (whole, single):
        found.learn_habits(demo_images.x[100:500])
    together = whole.observe(x, zeros(80), "c")
    apart = [alarm for i in range(80) for alarm in single.observe(x[i : i + 1], zeros(1), "c")]
    assert together == apart != []


def test_the_memory_for_clients_is_bounded(demo_images: Images) -> None:
    """Evidence and steps alike."""
    found = detector(clients=20)
    found.learn_habits(demo_images.x[:200])
    found.observe(demo_images.x[:300], zeros(300), [f"c {number}" for number in range(300)])
    assert len(found.clients) == 20
    assert len(found._last) == 20


def test_a_flood_of_names_does_not_flush_the_last_steps() -> None:
    """A search with large steps whose client hides behind fresh names, more than there are places: found all the same.

    They come once he has evidence against him, and then after each of his steps.
    """
    x = load_data("demo", limit=1200).x
    found = detector(clients=20)
    found.learn_habits(x[:1000])
    alarms = []
    for number, step in enumerate(walk(x[0], 120, step=0.3)):
        alarms += found.observe(step[None], zeros(1), "attacker")
        if number > 15:
            alarms += found.observe(x[1000:1030], zeros(30), [f"{number}, {other}" for other in range(30)])
    assert {alarm.name for alarm in alarms} == {"attacker"}


@pytest.mark.parametrize(
    "wrong", [{"near_duplicates": 0.0}, {"flips": 1.0}, {"radius": -1}, {"inputs": 1}, {"false_alarms": 0}]
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    """With what is expected."""
    with pytest.raises(UsageError, match="expected"):
        QuerySettings(**wrong)  # type: ignore[arg-type]


def test_labels_and_clients_are_one_for_each_input(demo_images: Images) -> None:
    """Otherwise nothing is taken; no inputs are fine."""
    found = detector()
    for labels, clients in ((zeros(1), "a"), (zeros(2), ["a"])):
        with pytest.raises(InputError, match="for 2 inputs, expected one for each"):
            found.observe(demo_images.x[:2], labels, clients)
    assert found.observe(demo_images.x[:0], zeros(0), "a") == []
    assert found.overall.seen == 0


def test_salts_and_habits_are_checked(demo_images: Images) -> None:
    """An empty salt protects nothing, and few images have no habits."""
    with pytest.raises(UsageError, match="expected 1 to 64"):
        QueryDetector(784, (0, 1), salt=b"")
    with pytest.raises(UsageError, match="a hundred at least"):
        detector().learn_habits(demo_images.x[:50])
