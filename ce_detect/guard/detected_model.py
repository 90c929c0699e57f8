"""The front door: wrap a model, calibrate, gate, evaluate, export, save, load. What each does is in the rooms below."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, Unpack

from torch import nn

from ce_detect.artifacts.file import Artifact
from ce_detect.calibrate import dataset, pipeline
from ce_detect.calibrate.settings import CalibrationOptions, CalibrationSettings
from ce_detect.classifiers.base import Classifier
from ce_detect.core.errors import NotCalibratedError
from ce_detect.detector import serialization
from ce_detect.detector.gate import GateModule
from ce_detect.evaluate.report import Report
from ce_detect.explain import explanation
from ce_detect.export.parity import Differences
from ce_detect.guard import evaluation, exporting
from ce_detect.guard.wrapped_model import Loading, Reading, WrappedModel, module
from ce_detect.redteam.red_team import RedTeam
from ce_detect.verdict.policies import Policy, as_policy
from ce_detect.verdict.result import GateResult


class DetectedModel:
    """A classifier with a detector of adversarial examples in front of it.

    >>> guard = DetectedModel(model).calibrate(x_clean, y, fpr=0.01, budget=2.0)   # doctest: +SKIP
    >>> guard(x).is_adversarial, guard(x).p_value                                  # doctest: +SKIP

    Args:
        model: a ``torch.nn.Module`` in eval mode that maps pixels ``(batch, channels, height, width)`` to logits
            ``(batch, classes)``, preprocessing inside; or the path of an ``.onnx`` file of such a model.
        reading: how it is read, such as ``bounds`` and ``multi_label``; see `ce_detect.guard.wrapped_model.Reading`.
    """

    def __init__(self, model: nn.Module | str | Path, **reading: Unpack[Reading]) -> None:
        self.wrapped = WrappedModel(model, **reading)
        self._calibrated: pipeline.Calibrated | None = None

    @property
    def model(self) -> nn.Module:
        """The model itself."""
        return self.wrapped.model

    @property
    def classifier(self) -> Classifier:
        """The wrapped classifier; raises NotCalibratedError where shape and bounds of inputs are not known yet."""
        return self.wrapped.classifier

    @property
    def calibrated(self) -> pipeline.Calibrated:
        """What calibration or an artifact gave; raises NotCalibratedError where there was neither."""
        if self._calibrated is None:
            raise NotCalibratedError("not calibrated yet: call calibrate(x, y), or DetectedModel.load(path, model)")
        return self._calibrated

    @property
    def gate(self) -> GateModule:
        """The gate as one ``nn.Module``, differentiable up to the score: for adaptive attacks and export."""
        return self.calibrated.gate

    @property
    def manifest(self) -> dict[str, Any]:
        """What was calibrated, on what, how, and the figures measured then: plain data."""
        return self.calibrated.manifest.plain()

    @property
    def threshold(self) -> float:
        """Score above which an input is flagged."""
        return float(self.gate.threshold)

    def calibrate(
        self, x: Any, y: Any = None, settings: CalibrationSettings | None = None, **changes: Unpack[CalibrationOptions]
    ) -> Self:
        """Learn the signature of an attack, set the threshold on held-out clean images, and return itself.

        Args:
            x: clean images ``(n, channels, height, width)`` that the classifier was *not* trained on: an array, a
                loader or dataset, or the name of files, see `ce_detect.data.as_images`.
            y: labels ``(n,)``, optional: they serve figures, and a warning where preprocessing seems to be wrong.
            settings: see `ce_detect.CalibrationSettings`; any of them can be changed by name, such as ``fpr``.

        Raises:
            InputError, CalibrationError, ModelError: images, settings or a model from which no detector can be made.
        """
        asked, images = CalibrationSettings.of(settings, **changes), self.wrapped.read(x, y)
        divided = dataset.divided(images, asked)  # too few are told of before the model is wrapped
        classifier = self.wrapped.fit(images)
        self._calibrated = pipeline.calibrate(classifier, self.wrapped.timed, divided, asked.within(classifier.bounds))
        return self

    def __call__(self, x: Any, *, policy: Policy | str | Callable[[Any], Any] = "flag") -> GateResult:
        """Judge inputs, and do with the labels of adversarial ones what the policy says.

        Args:
            x: NumPy array or tensor ``(batch, channels, height, width)``, floating point, within the bounds.
            policy: ``"flag"``, ``"abstain"``, a callable or a policy object, see `ce_detect.verdict.policies`.

        Raises:
            InputError: the array cannot be judged.
            AbstainedError: the policy is ``Abstain(raise_error=True)`` and an input is adversarial.
        """
        return as_policy(policy).apply(self.calibrated.inference.result(x), x)

    def clean_only(self, x: Any) -> GateResult:
        """Judge inputs by the detector that no attack taught, see `ce_detect.detector.gate.GateModule`."""
        return self.calibrated.inference.result(x, self.gate.clean_only)

    def evaluate(self, x: Any, y: Any = None, **options: Unpack[evaluation.EvaluationOptions]) -> Report:
        """Attack images that calibration did not see and measure, see `ce_detect.guard.evaluation.evaluate`."""
        return evaluation.evaluate(self.calibrated, self.wrapped.images(x, y), **options)

    def explain(self, x: Any, **options: Unpack[explanation.ExplanationOptions]) -> explanation.Explanation:
        """Say why inputs were judged as they were, see `ce_detect.explain.explanation.explain`; also files by name."""
        return explanation.explain(self.gate, self.wrapped.named(x), **options)

    def redteam(self, x: Any, **options: Unpack[evaluation.RedTeamOptions]) -> RedTeam:
        """Attack classifier and gate together, see `ce_detect.guard.evaluation.redteam`."""
        return evaluation.redteam(self.calibrated, self.wrapped.images(x), **options)

    def export(self, path: str | Path, *, data: Any = None, uint8: bool = False, any_size: bool = False) -> Differences:
        """Write the gate as one ONNX graph that judges as it does, see `ce_detect.guard.exporting.write`."""
        return exporting.write(self.calibrated, self.wrapped, path, data=data, uint8=uint8, any_size=any_size)

    def save(self, path: str | Path) -> None:
        """Write the calibrated detector to one safetensors file, atomically. The model itself is not in it."""
        serialization.to_artifact(self.gate, self.calibrated.manifest, self.calibrated.seen).save(path)

    @classmethod
    def load(cls, path: str | Path, model: nn.Module | str | Path, **options: Unpack[Loading]) -> Self:
        """Read what `save` wrote and put it in front of its model; see `ce_detect.guard.wrapped_model.Loading`.

        Raises:
            ArtifactError: the file is missing, truncated, edited or foreign, or not the one that was asked for.
            ModelMismatchError: another model; with ``allow_other_model`` it is taken, and the guarantee is void.
        """
        anyway, bare = options.get("allow_other_model", False), module(model)
        artifact = Artifact.load(path, sha256=options.get("sha256"), trusted_key=options.get("trusted_key"))
        if not anyway:
            serialization.check_weights(artifact, bare)
        guard = cls(bare, **serialization.reading(artifact))
        if not anyway:
            serialization.check_logits(artifact, guard.classifier)
        gate = serialization.to_gate(artifact, guard.classifier)
        guard._calibrated = pipeline.Calibrated(gate, artifact.manifest, serialization.seen(artifact))
        return guard
