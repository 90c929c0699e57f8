"""``ce-detect inspect``: the manifest, in JSON and in words."""

from __future__ import annotations

from support.command_line import Calibrated, call, call_without


def test_inspect_prints_the_manifest(calibrated: Calibrated) -> None:
    """The artifact holds what calibration printed."""
    assert call("inspect", calibrated.guard, "--json").data == calibrated.printed["manifest"]


def test_inspect_in_words(calibrated: Calibrated) -> None:
    """People read the promise, the cost and the figures of the attacks."""
    done = call("inspect", calibrated.guard)
    assert done.code == 0
    assert "at most 5 % of clean inputs flagged, with confidence 95 %" in done.out
    assert "fgsm 8/255" in done.out


def test_inspect_needs_no_extra(calibrated: Calibrated) -> None:
    """An artifact can be read where only the light core is installed."""
    done = call_without(("torch", "sklearn", "scipy", "art"), "inspect", calibrated.guard)
    assert done.code == 0, done.err
    assert "with confidence 95 %" in done.out
