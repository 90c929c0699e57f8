"""A threshold that is moved by what people found clean, with the promise of before; needs no torch.

What the promise needs is scores of clean inputs that are exchangeable with the clean inputs to come. Flagged inputs are
the largest scores alone, so they may not count. What counts is inputs that the quarantine drew at random from all
traffic, before anybody looked at a verdict; those of them that are clean are a random sample of clean traffic.

Some of them are not settled: nobody looked, reviewers disagree, or they are unsure. Leaving these out would bias the
sample, as the odd ones stay open. So the threshold is the largest of those that come out with any subset of them
counted as clean: it is at least the one of the true clean sample, and a higher threshold never flags more. For each
number of open inputs the subset with the largest scores decides, so as many thresholds are looked at.

An attack that people call benign raises the threshold; a clean input that they call an attack lowers it, and there the
promise ends: it holds if what they call attacks is none of the clean.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from ce_detect.artifacts.file import Artifact
from ce_detect.artifacts.manifest import Manifest, RecalibrationPart
from ce_detect.core.errors import CalibrationError, TooFewSamplesError
from ce_detect.core.types import Floats
from ce_detect.records.rows import Drawn
from ce_detect.verdict import conformal


@dataclass(frozen=True, slots=True)
class Recalibrated:
    """A detector with another threshold.

    Attributes:
        artifact: it, with the reviewed clean scores in the place of the old ones, so that p-values are right again.
        threshold: the new one.
        before: the old one.
        clean: reviewed clean inputs.
        doubtful: drawn inputs about which nothing is settled.
        attacks: drawn inputs that are attacks.
        left_out: drawn inputs that another detector judged, or this one with a threshold of the client's.
        flagged_before: share of the clean inputs above the old threshold.
        flagged: share of them above the new one.
    """

    artifact: Artifact
    threshold: float
    before: float
    clean: int
    doubtful: int
    attacks: int
    left_out: int
    flagged_before: float
    flagged: float


def recalibrated(artifact: Artifact, drawn: Drawn) -> Recalibrated:
    """Move the threshold of a detector.

    Args:
        artifact: the detector whose graph judged the inputs.
        drawn: all inputs that were drawn at random in some span of time; leaving any of them out breaks the promise.

    Raises:
        TooFewSamplesError: too few are known to be clean; says how many are needed.
        CalibrationError: none were drawn, or this detector judged none of them; or some have no score.
        MissingExtraError: the ``pac`` guarantee needs SciPy, which is not installed.
    """
    old, before, manifest = artifact.tensors["clean_scores"], float(artifact.tensors["threshold"]), artifact.manifest
    own = _own(drawn, old, before)
    if not own.any():
        raise CalibrationError(_none_of_its_own(len(own)))
    score, outcome = drawn.score[own].astype(np.float32), drawn.outcome[own]
    clean, attacks = score[outcome == "benign"], int(np.count_nonzero(outcome == "attack"))
    doubtful = score[(outcome != "benign") & (outcome != "attack")]
    threshold = _threshold(clean, doubtful, manifest)
    said = RecalibrationPart(clean=len(clean), doubtful=len(doubtful), attacks=attacks, before=before)
    tensors = {
        **artifact.tensors,
        "clean_scores": np.sort(clean).astype(old.dtype),
        "threshold": np.asarray(threshold, artifact.tensors["threshold"].dtype),
    }
    return Recalibrated(
        Artifact(tensors, _described(manifest, said)), threshold, before, len(clean), len(doubtful), attacks,
        int(np.count_nonzero(~own)), float(np.mean(clean > before)), float(np.mean(clean > threshold)),
    )  # fmt: skip


def _own(drawn: Drawn, clean: NDArray[np.floating], threshold: float) -> NDArray[np.bool_]:
    """Whether this detector judged an input: then its p-value follows from the clean scores, rank by rank."""
    expected = conformal.p_values(clean, drawn.score.astype(np.float32))
    same = np.abs(expected - drawn.p_value) < 0.5 / (len(clean) + 1)
    known = np.isnan(drawn.threshold) | (drawn.threshold.astype(np.float32) == np.float32(threshold))
    return np.asarray(same & known, bool)


def _threshold(clean: Floats, doubtful: Floats, manifest: Manifest) -> float:
    """The largest threshold over all that the doubtful inputs may be."""
    fpr, guarantee, confidence = manifest.fpr, manifest.guarantee, manifest.confidence
    try:
        found = conformal.threshold(clean, fpr, guarantee=guarantee, confidence=confidence)
    except TooFewSamplesError as error:
        raise TooFewSamplesError(
            f"{error.given} inputs that were drawn at random are known to be clean, the promise needs {error.needed}: "
            f"{error.needed - error.given} more. {len(doubtful)} drawn ones wait for a decision; for others let the "
            "server draw more: ce-detect serve --quarantine-sample",
            needed=error.needed,
            given=error.given,
        ) from None
    ordered, largest = np.sort(clean)[::-1], np.sort(doubtful)[::-1]
    counts = np.arange(1, len(largest) + 1)
    for count, beyond in zip(counts.tolist(), _beyond(len(clean) + counts, manifest).tolist(), strict=True):
        top = np.concatenate([ordered[: beyond + 1], largest[: min(count, beyond + 1)]])  # the others lie below
        found = max(found, conformal.above(top, len(top) - beyond))
    if not np.isfinite(found):
        raise CalibrationError(
            f"{np.count_nonzero(np.isinf(doubtful))} drawn inputs that nothing is settled about have no score that is "
            "a number, so no threshold lies above them; decide about them first"
        )
    return found


def _beyond(n: NDArray[np.int64], manifest: Manifest) -> NDArray[np.int64]:
    """How many of so many clean scores may lie above the threshold."""
    if manifest.guarantee == "pac":
        return n - conformal.pac_ranks(n, manifest.fpr, manifest.confidence)
    return np.array([one - conformal.rank(one, manifest.fpr, guarantee="marginal") for one in n.tolist()], np.int64)


def _none_of_its_own(count: int) -> str:
    if count:
        return (
            f"another detector judged all of the {count} inputs that were drawn at random: their p-values do not "
            "follow from the clean scores of this one. Name the artifact whose graph is in use"
        )
    return (
        "the store has no input that was drawn at random, and flagged ones may not move a threshold: they are the "
        "largest scores alone. Let the server draw some: ce-detect serve --quarantine-sample 0.01"
    )


def _described(manifest: Manifest, said: RecalibrationPart) -> Manifest:
    """The manifest of the new detector: figures of the old threshold are left out."""
    figures = msgspec.structs.replace(manifest.figures, test=None)
    data = msgspec.structs.replace(manifest.data, splits={**manifest.data.splits, "calibrate": said.clean})
    return msgspec.structs.replace(manifest, figures=figures, data=data, recalibration=said)
