"""A detector for the Adversarial Robustness Toolbox (ART)."""

from __future__ import annotations

from typing import Any

from ce_detect.classifiers.base import Classifier
from ce_detect.core.errors import CalibrationError, ModelError
from ce_detect.core.extras import needed_for

with needed_for("The ART detector"):
    import numpy as np
    from art.defences.detector.evasion import EvasionDetector
    from art.estimators.classification import PyTorchClassifier
    from art.preprocessing.standardisation_mean_std.pytorch import StandardisationMeanStdPyTorch
    from numpy.typing import NDArray
    from torch import nn

    from ce_detect.calibrate.recipe import Recipe
    from ce_detect.classifiers.normalization import Normalized
    from ce_detect.guard.detected_model import DetectedModel

_FIELDS = ("score", "p_value", "probability", "label", "logits")


class CausalEffectDetector(EvasionDetector):  # type: ignore[misc]
    """An evasion detector that looks at causal effects of interventions.

    >>> detector = CausalEffectDetector(art_classifier, fpr=0.01)   # doctest: +SKIP
    >>> detector.fit(x_clean, y)                                    # doctest: +SKIP
    >>> report, is_adversarial = detector.detect(x)                 # doctest: +SKIP

    Args:
        classifier: a `DetectedModel`, calibrated or not, or an ART ``PyTorchClassifier``. Of the latter the model is
            put in eval mode, as its own ``predict`` does. Its ``clip_values`` become the bounds. Its ``preprocessing``
            (mean and standard deviation) becomes part of the model.
        recipe: see `ce_detect.CalibrationSettings`, as are the other settings.
        fpr: largest share of clean inputs that may be flagged.
        budget: largest cost of a gated forward relative to a bare one.
        seed: seed of splits, attacks and learning.

    Attributes:
        guard: the `DetectedModel` behind; save it with ``detector.guard.save(path)``.

    Raises:
        ModelError: an estimator of another kind, with defences, or with channels last.
    """

    defence_params = ["recipe", "fpr", "budget", "seed"]  # noqa: RUF012  as ART declares it

    def __init__(
        self,
        classifier: DetectedModel | PyTorchClassifier,
        *,
        recipe: str | Recipe = "default",
        fpr: float = 0.01,
        budget: float = 2.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.guard = classifier if isinstance(classifier, DetectedModel) else _detected(classifier)
        self._classes = getattr(classifier, "nb_classes", None)
        self.recipe, self.fpr, self.budget, self.seed = recipe, fpr, budget, seed

    def fit(
        self,
        x: NDArray[np.float32],
        y: NDArray[Any] | None = None,
        batch_size: int = 128,
        nb_epochs: int = 20,
        **kwargs: Any,
    ) -> None:
        """Calibrate on clean images; attacks are made here, from the recipe.

        Unlike ART's ``BinaryInputDetector``, no adversarial image belongs in ``x``.

        Args:
            x: clean images ``(n, channels, height, width)``, see `DetectedModel.calibrate`.
            y: classes of the images, ``(n,)`` or one-hot ``(n, classes)``; optional, for figures only.
            batch_size: part of ART's interface; calibration chooses its own.
            nb_epochs: part of ART's interface; there are none.
            kwargs: more of `ce_detect.CalibrationSettings`, such as ``guarantee`` or ``cache``.

        Raises:
            CalibrationError: ``y`` marks something else than the classes of the classifier.
        """
        settings = {**self.get_params(), **kwargs}
        self.guard.calibrate(x, None if y is None else self._labels(y), **settings)

    def detect(
        self, x: NDArray[np.float32], batch_size: int = 128, **kwargs: Any
    ) -> tuple[dict[str, Any], NDArray[np.bool_]]:
        """Judge images.

        Args:
            x: images ``(n, channels, height, width)``.
            batch_size: images judged at a time.
            kwargs: part of ART's interface; there are none.

        Returns:
            A report, the arrays ``score``, ``p_value``, ``probability``, ``label`` and ``logits`` of `GateResult` and
            the ``threshold``; and for each image whether it is adversarial ``(n,)``.

        Raises:
            NotCalibratedError: neither fitted nor made from a calibrated `DetectedModel`.
            InputError: the images cannot be judged.
        """
        results = [self.guard(x[start : start + batch_size]) for start in range(0, max(1, len(x)), batch_size)]
        report: dict[str, Any] = {name: np.concatenate([getattr(r, name) for r in results]) for name in _FIELDS}
        report["threshold"] = self.guard.threshold
        return report, np.concatenate([result.is_adversarial for result in results])

    def _labels(self, y: NDArray[Any]) -> NDArray[Any]:
        if y.ndim < 2 or y.shape[1] == 1:
            return y
        if self._classes not in (None, y.shape[1]):
            raise CalibrationError(
                f"y has {y.shape[1]} columns, but the classifier tells {self._classes} classes apart. Give clean "
                "images and their classes only; the attacks are made here"
            )
        return np.asarray(y.argmax(1))


def _detected(classifier: Classifier) -> DetectedModel:
    if not isinstance(classifier, PyTorchClassifier):
        raise ModelError(
            f"got {type(classifier).__name__}, expected a DetectedModel or ART's PyTorchClassifier; "
            "wrap a PyTorch model with DetectedModel(model)"
        )
    if not classifier.channels_first:
        raise ModelError(
            "channels_first is False, expected images (n, channels, height, width); permute them inside the model"
        )
    bounds = None
    if classifier.clip_values is not None:
        low, high = classifier.clip_values
        bounds = float(np.min(low)), float(np.max(high))
    return DetectedModel(_with_preprocessing(classifier), bounds=bounds)


def _with_preprocessing(classifier: PyTorchClassifier) -> nn.Module:
    model: nn.Module = classifier.model.eval()
    step = classifier.preprocessing
    outside = [*(classifier.preprocessing_defences or ()), *(classifier.postprocessing_defences or ())]
    if step is not None and not (isinstance(step, StandardisationMeanStdPyTorch) and step.mean.ndim < 2):
        outside.append(step)
    if outside:
        raise ModelError(
            f"the classifier has a {type(outside[0]).__name__} outside its model, which could not be gated; "
            "make it a layer of the model"
        )
    if step is None or (not step.mean.any() and (step.std == 1).all()):
        return model
    return Normalized(model, mean=step.mean.tolist(), std=step.std.tolist()).to(classifier.device)
