"""Detectors under scikit-learn's interface, and scikit-learn's own checks of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import VarianceThreshold
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks
from support.calibrated import CLEAN, SETTINGS, cache, fresh, guard, images

from ce_detect.adapters.sklearn import CausalEffectDetector, SignatureDetector
from ce_detect.core.errors import CalibrationError, TooFewSamplesError
from ce_detect.demo.model import fashion_cnn
from ce_detect.evaluate.metrics import auroc
from ce_detect.fitting import feature_tables


@pytest.fixture(scope="module")
def rows() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Signatures of clean and attacked images, and 1 for clean, −1 for attacked."""
    clean, attacked = (feature_tables.features(guard().gate.signature, x) for x in fresh())
    return np.concatenate([clean, attacked]), np.repeat([1, -1], [len(clean), len(attacked)])


@parametrize_with_checks([SignatureDetector(fpr=0.2, guarantee="marginal")])
def test_scikit_learn_checks(estimator: SignatureDetector, check: Callable[[SignatureDetector], None]) -> None:
    """All of them; at a rate that the dozen rows of some checks can promise."""
    check(estimator)


@pytest.mark.parametrize(
    "check",
    [
        estimator_checks.check_estimator_cloneable,
        estimator_checks.check_estimator_repr,
        estimator_checks.check_no_attributes_set_in_init,
        estimator_checks.check_mixin_order,
        estimator_checks.check_valid_tag_types,
        estimator_checks.check_do_not_raise_errors_in_init_or_set_params,
        estimator_checks.check_estimator_tags_renamed,
        estimator_checks.check_estimators_unfitted,
    ],
)
def test_checks_that_need_no_matrix(check: Callable[[str, CausalEffectDetector], None]) -> None:
    """The others feed matrices of two dimensions, and this estimator takes images."""
    check("CausalEffectDetector", CausalEffectDetector(fashion_cnn()))


@pytest.mark.parametrize(("head", "auc"), [("distance", 0.6), ("logistic", 0.9), ("mlp", 0.9)])
def test_a_head_over_signatures_tells_attacks_and_keeps_its_rate(
    head: str, auc: float, rows: tuple[NDArray[np.float32], NDArray[np.int64]]
) -> None:
    """Fitted on half of the rows and judged on the others."""
    x, y = rows
    detector = SignatureDetector(head, fpr=0.1, held_out=0.4).fit(x[::2], y[::2])
    decision, label = detector.decision_function(x[1::2]), detector.predict(x[1::2])
    clean = y[1::2] == 1
    assert auroc(-decision[clean], -decision[~clean]) > auc
    assert (label[clean] == -1).mean() < 0.2
    np.testing.assert_array_equal(label == -1, detector.score_samples(x[1::2]) < detector.offset_)
    again = clone(detector).fit(x[::2], y[::2])
    np.testing.assert_array_equal(again.decision_function(x[1::2]), decision)


def test_a_signature_groups_its_features(rows: tuple[NDArray[np.float32], NDArray[np.int64]]) -> None:
    """The distance sees more when it knows which features belong together."""
    x, y = rows
    clean, attacked = x[y == 1], x[y == -1]
    area = [
        auroc(-detector.score_samples(clean[1::2]), -detector.score_samples(attacked))
        for detector in (
            SignatureDetector(fpr=0.1, signature=signature).fit(clean[::2])
            for signature in (None, guard().gate.signature)
        )
    ]
    assert area[1] > max(0.75, area[0])


def test_heads_are_compared_in_a_grid_search(rows: tuple[NDArray[np.float32], NDArray[np.int64]]) -> None:
    """A pipeline's head is chosen by cross-validation; scikit-learn's AUROC reads labels and decisions as we do."""
    x, y = rows
    pipeline = make_pipeline(VarianceThreshold(), SignatureDetector(fpr=0.2, guarantee="marginal"))
    search = GridSearchCV(
        pipeline, {"signaturedetector__head": ["distance", "logistic"]}, scoring="roc_auc", cv=StratifiedKFold(3)
    ).fit(x, y)
    distance, logistic = search.cv_results_["mean_test_score"]
    assert logistic > 0.85
    assert logistic >= distance > 0.5


def test_distance_leaves_adversarial_rows_out(rows: tuple[NDArray[np.float32], NDArray[np.int64]]) -> None:
    """Rows marked −1 teach the distance nothing."""
    x, y = rows
    marked = SignatureDetector(fpr=0.1).fit(x, y)
    np.testing.assert_array_equal(marked.score_samples(x), SignatureDetector(fpr=0.1).fit(x[y == 1]).score_samples(x))


def test_what_cannot_be_learned_is_refused(rows: tuple[NDArray[np.float32], NDArray[np.int64]]) -> None:
    """A rate that too few rows cannot promise, a head without attacks, rows without labels."""
    x, y = rows
    with pytest.raises(TooFewSamplesError, match="needs at least 299"):
        SignatureDetector().fit(x)
    with pytest.raises(TooFewSamplesError, match="leaves 1 clean rows"):
        SignatureDetector(fpr=0.1, held_out=0.995).fit(x[y == 1])
    with pytest.raises(CalibrationError, match="pass y with -1"):
        SignatureDetector("mlp", fpr=0.1).fit(x, y == 1)
    with pytest.raises(CalibrationError, match="expected one for each"):
        SignatureDetector(fpr=0.1).fit(x, y[:-1])


def test_images_follow_the_convention_for_outliers() -> None:
    """Larger = more normal, 1 for clean and −1 for adversarial: the gate's verdicts, turned round."""
    detector = CausalEffectDetector.of(guard())
    x = np.concatenate(fresh())
    result = guard()(x)
    np.testing.assert_array_equal(detector.predict(x) == -1, result.is_adversarial)
    np.testing.assert_array_equal(detector.score_samples(x), -result.score)
    np.testing.assert_array_equal(detector.decision_function(x) < 0, result.is_adversarial)
    with pytest.raises(NotFittedError):
        clone(detector).predict(x)


def test_images_are_calibrated_on() -> None:
    """Fit leaves the parameters as they are, and calibrates as `DetectedModel` does."""
    first = images()
    detector = CausalEffectDetector(fashion_cnn(), recipe=CLEAN, cache=cache(), **SETTINGS)
    before = detector.get_params()
    flagged = detector.fit_predict(first.x) == -1
    assert flagged.mean() < 0.2
    assert detector.get_params() == before
    assert detector.guard_.manifest["fpr"] == 0.1
    clean, attacked = fresh()
    assert np.median(detector.decision_function(attacked)) < np.median(detector.decision_function(clean))
