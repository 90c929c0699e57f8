"""Detectors for scikit-learn, in its convention for outlier detectors.

Larger = *more normal*, the other way round than a score of ce-detect: ``score_samples`` is minus the score,
``decision_function`` is that minus ``offset_`` and negative for what is flagged, ``predict`` gives 1 for clean and −1
for adversarial.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from ce_detect.core.errors import CalibrationError, TooFewSamplesError
from ce_detect.core.extras import needed_for

with needed_for("The scikit-learn detectors"):
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from sklearn.base import BaseEstimator, OutlierMixin
    from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data
    from torch import nn

    from ce_detect.calibrate.recipe import Recipe
    from ce_detect.calibrate.settings import CalibrationSettings
    from ce_detect.core.types import HeadKind
    from ce_detect.features.signature import Signature
    from ce_detect.fitting import feature_tables, heads
    from ce_detect.guard.detected_model import DetectedModel
    from ce_detect.heads.base import Head
    from ce_detect.verdict import conformal

Scores = NDArray[np.float64]

ADVERSARIAL, CLEAN = -1, 1

MIN_LEARNED = 2
"""Clean rows below which there is no spread to learn."""


class _Detector(OutlierMixin, BaseEstimator):  # type: ignore[misc]
    """Decisions from ``score_samples`` and ``offset_``."""

    offset_: float

    def score_samples(self, X: Any) -> Scores:  # noqa: N803
        raise NotImplementedError

    def decision_function(self, X: Any) -> Scores:  # noqa: N803
        """Return ``(n,)`` scores above ``offset_``, negative for what is flagged; ``X`` as in `score_samples`."""
        normality = self.score_samples(X)
        return normality - self.offset_

    def predict(self, X: Any) -> NDArray[np.int64]:  # noqa: N803
        """Return ``(n,)`` labels, 1 for clean and −1 for adversarial; ``X`` as in `score_samples`."""
        return np.where(self.decision_function(X) >= 0, CLEAN, ADVERSARIAL)


class SignatureDetector(_Detector):
    """The head of a detector over a matrix of signatures, with a conformal threshold.

    >>> signatures = feature_tables.features(guard.gate.signature, x_clean)   # doctest: +SKIP
    >>> detector = SignatureDetector(fpr=0.05).fit(signatures)       # doctest: +SKIP
    >>> detector.predict(more_signatures)                            # doctest: +SKIP

    Args:
        head: ``"distance"`` learns from clean signatures alone, ``"logistic"`` and ``"mlp"`` also from attacked ones.
        fpr: largest share of clean signatures that may be flagged, in (0, 1).
        guarantee: ``"pac"`` or ``"marginal"``, see `ce_detect.verdict.conformal`.
        confidence: of the pac guarantee, in (0, 1).
        held_out: share of the clean rows that set the threshold and teach the head nothing, in (0, 1).
        signature: what made the rows: the distance weighs each group of its features alike, such as the effects of one
            intervention. Without it all features are one group.
        random_state: seed of the split and of the networks.

    Attributes:
        head_: the fitted `ce_detect.heads.base.Head`.
        offset_: minus the threshold.
        n_features_in_: number of features.
    """

    head_: Head
    n_features_in_: int

    def __init__(
        self,
        head: HeadKind = "distance",
        *,
        fpr: float = 0.01,
        guarantee: conformal.Guarantee = "pac",
        confidence: float = 0.95,
        held_out: float = 0.5,
        signature: Signature | None = None,
        random_state: int = 0,
    ) -> None:
        self.head = head
        self.fpr = fpr
        self.guarantee = guarantee
        self.confidence = confidence
        self.held_out = held_out
        self.signature = signature
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803
        """Learn the head and set the threshold.

        Args:
            X: signatures ``(n, features)``.
            y: ``(n,)`` −1 for adversarial rows; every other row is clean. By default all are.

        Returns:
            Itself, fitted.

        Raises:
            TooFewSamplesError: ``fpr`` cannot be promised with so few clean rows.
            CalibrationError: a head that learns from attacks was given none.
        """
        X = validate_data(self, X, dtype=np.float32, ensure_min_samples=2)  # noqa: N806
        attacked = np.zeros(len(X), bool) if y is None else _labels(y, len(X)) == ADVERSARIAL
        if self.head != "distance" and not attacked.any():
            raise CalibrationError(f"head = {self.head!r} learns from attacks: pass y with -1 where a row is one")
        clean = np.random.default_rng(self.random_state).permutation(X[~attacked])
        held_out, learned = np.split(clean, [round(self.held_out * len(clean))])
        _check_sizes(self, len(held_out), len(learned))
        self.head_ = self._fitted(learned, X[attacked]).double()
        self.offset_ = -conformal.threshold(
            -self._normality(held_out), self.fpr, guarantee=self.guarantee, confidence=self.confidence
        )
        return self

    def score_samples(self, X: Any) -> Scores:  # noqa: N803
        """Return ``(n,)`` how normal signatures ``(n, features)`` are: minus the score of ce-detect."""
        check_is_fitted(self)
        return self._normality(validate_data(self, X, dtype=np.float32, reset=False))

    def _fitted(self, clean: NDArray[np.float32], attacked: NDArray[np.float32]) -> Head:
        made: Any = _OneGroup(clean.shape[1]) if self.signature is None else self.signature
        fit, select = (
            feature_tables.Table(clean[part], {"attacked": attacked[part]}) for part in (slice(None), slice(0))
        )
        return heads.fitted(made, fit, select, kind=self.head, seed=self.random_state)

    def _normality(self, signatures: NDArray[np.float32]) -> Scores:
        with torch.inference_mode():  # double, so that other rows do not matter; thresholds are single precision
            score = self.head_(torch.tensor(signatures, dtype=torch.float64)).float()
        return np.asarray(-score.double().numpy())


class CausalEffectDetector(_Detector):
    """A detector over images that calibrates itself.

    >>> detector = CausalEffectDetector(model, fpr=0.01).fit(x_clean)   # doctest: +SKIP
    >>> detector.predict(x)                                             # doctest: +SKIP
    >>> CausalEffectDetector.of(guard).predict(x)                       # doctest: +SKIP

    Args:
        model: a PyTorch model in eval mode.
        bounds: see `DetectedModel`.
        recipe: see `ce_detect.CalibrationSettings`, as are the settings that follow.
        fpr: largest share of clean inputs that may be flagged.
        budget: largest cost of a gated forward relative to a bare one.
        guarantee: ``"pac"`` or ``"marginal"``.
        confidence: of the pac guarantee.
        random_state: seed of splits, attacks and learning.
        cache: folder for attacked images and measured costs.
        jobs: processes that make attacked images.

    Attributes:
        guard_: the calibrated `DetectedModel`; save that, not a pickle of this estimator.
    """

    guard_: DetectedModel

    def __init__(
        self,
        model: nn.Module,
        *,
        bounds: tuple[float, float] | None = None,
        recipe: str | Path | Recipe = "default",
        fpr: float = 0.01,
        budget: float = 2.0,
        guarantee: conformal.Guarantee = "pac",
        confidence: float = 0.95,
        random_state: int = 0,
        cache: str | Path | None = None,
        jobs: int | None = None,
    ) -> None:
        self.model = model
        self.bounds = bounds
        self.recipe = recipe
        self.fpr = fpr
        self.budget = budget
        self.guarantee = guarantee
        self.confidence = confidence
        self.random_state = random_state
        self.cache = cache
        self.jobs = jobs

    @classmethod
    def of(cls, guard: DetectedModel) -> Self:
        """Make a fitted estimator from a calibrated `DetectedModel`; a clone of it is not fitted."""
        detector = cls(guard.model)
        detector.guard_ = guard
        return detector

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803
        """Calibrate on clean images; attacks are made here, from the recipe.

        Args:
            X: clean images ``(n, channels, height, width)``, see `DetectedModel.calibrate`.
            y: classes of the images ``(n,)``; optional, for figures only.

        Returns:
            Itself, fitted.
        """
        asked = CalibrationSettings.of(
            recipe=self.recipe, fpr=self.fpr, budget=self.budget, guarantee=self.guarantee, confidence=self.confidence,
            seed=self.random_state, cache=self.cache, jobs=self.jobs,
        )  # fmt: skip
        self.guard_ = DetectedModel(self.model, bounds=self.bounds).calibrate(X, y, asked)
        return self

    @property
    def offset_(self) -> float:  # type: ignore[override]
        """Minus the calibrated threshold."""
        return -self.guard_.threshold

    def score_samples(self, X: Any) -> Scores:  # noqa: N803
        """Return ``(n,)`` how normal images ``(n, channels, height, width)`` are: minus the score of ce-detect."""
        check_is_fitted(self, "guard_")
        return -np.asarray(self.guard_(np.asarray(X)).score, np.float64)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        return tags


class _OneGroup:
    """Stands in for a signature of which nothing is known but the number of its features."""

    interventions = ()

    def __init__(self, features: int) -> None:
        self.names = tuple(f"feature[{column}]" for column in range(features))


def _labels(y: Any, count: int) -> NDArray[Any]:
    labels = column_or_1d(y, warn=True)
    if len(labels) != count:
        raise CalibrationError(f"y has {len(labels)} labels, expected one for each of {count} rows")
    return np.asarray(labels)


def _check_sizes(detector: SignatureDetector, held_out: int, learned: int) -> None:
    conformal.rank(held_out, detector.fpr, guarantee=detector.guarantee, confidence=detector.confidence)
    if learned < MIN_LEARNED:
        raise TooFewSamplesError(
            f"held_out = {detector.held_out} leaves {learned} clean rows to learn from, at least {MIN_LEARNED} are "
            "needed; give more rows or hold out fewer",
            needed=held_out + MIN_LEARNED,
            given=held_out + learned,
        )
