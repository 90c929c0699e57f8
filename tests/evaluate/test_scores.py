"""Scores that a report keeps, and the inputs that it shows."""

from __future__ import annotations

import numpy as np

from ce_detect.evaluate.scores import Changed, Flagged, Kind, Scores, scores

X = np.arange(5, dtype=np.float32)[:, None, None, None] * np.ones((1, 1, 2, 2), np.float32)

CLEAN = np.float32([0.1, 0.9, 0.2, 0.3, 0.8])

LABEL = np.int64([3, 1, 4, 1, 5])


def changed(kind: Kind, name: str, score: list[float], counts: list[bool] | None = None) -> Changed:
    """All images after a change, with these scores."""
    every = np.ones(5, np.bool_) if counts is None else np.array(counts)
    return Changed(kind, name, X + 100, np.arange(5), np.float32(score), every)


def kept(*found: Changed, examples: int = 2) -> Scores:
    """What is kept of them at a threshold of one half: clean images 1 and 4 are flagged."""
    return scores(X, CLEAN, LABEL, np.ones(5), list(found), threshold=0.5, examples=examples)


def named(found: Scores) -> list[tuple[str, str, int]]:
    """Kind, change and image of what is shown."""
    return [(one.kind, one.change, one.image) for one in found.flagged]


def test_only_successes_are_attacked() -> None:
    """An attempt that fails is no attacked input; a natural change always is what it is."""
    found = kept(
        changed("attacked", "pgd", [0.1, 0.2, 0.3, 0.4, 0.5], [True, False, True, False, False]),
        changed("natural", "jpeg 1", [0.1, 0.2, 0.3, 0.4, 0.5]),
    )
    np.testing.assert_allclose(found.attacked["pgd"], [0.1, 0.3])
    assert len(found.natural["jpeg 1"]) == 5


def test_the_first_that_the_change_got_flagged_is_shown() -> None:
    """Not one whose clean image is flagged, not an attempt that fails, not the same image twice of a kind."""
    found = kept(
        changed("attacked", "pgd", [0.1, 0.9, 0.9, 0.9, 0.9], [True, True, False, True, True]),
        changed("natural", "jpeg 1", [0.9, 0.9, 0.9, 0.1, 0.1]),
        changed("natural", "jpeg 2", [0.9, 0.9, 0.9, 0.1, 0.1]),
        changed("natural", "dust 1", [0.1, 0.9, 0.1, 0.1, 0.1]),
    )
    assert named(found) == [
        ("attacked", "pgd", 3), ("natural", "jpeg 1", 0), ("natural", "jpeg 2", 2), ("clean", "", 1), ("clean", "", 4),
    ]  # fmt: skip


def test_a_shown_input_comes_with_its_clean_image() -> None:
    """Its pixels, those before, and what the classifier said before."""
    attacked, alarm, _ = kept(changed("attacked", "pgd", [0.1, 0.1, 0.9, 0.1, 0.1])).flagged
    assert isinstance(attacked, Flagged)
    assert (attacked.pixels.max(), attacked.label) == (102, 4)
    assert attacked.before is not None
    assert attacked.before.max() == 2
    assert (alarm.before, alarm.pixels.max(), alarm.label) == (None, 1, 1)


def test_no_more_are_shown_than_asked_for() -> None:
    """One of each kind, or none at all."""
    some = [changed("natural", name, [0.9] * 5) for name in "abc"]
    assert named(kept(*some, examples=1)) == [("natural", "a", 0), ("clean", "", 1)]
    assert kept(*some, examples=0).flagged == ()


def test_twins_in_any_order() -> None:
    """A change may be of some of the images, in another order."""
    some = Changed("attacked", "cw", X[[4, 2]] + 100, np.array([4, 2]), np.float32([0.9, 0.9]), np.array([True, True]))
    assert named(kept(some))[0] == ("attacked", "cw", 2)
    assert kept(some).flagged[0].pixels.max() == 102
