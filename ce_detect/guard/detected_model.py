"""The front door: wrap a model, calibrate, gate, save, load."""

from __future__ import annotations

import copy
import logging
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from torch import Tensor, nn

from ce_detect.artifacts.file import Artifact
from ce_detect.attacks import Attack
from ce_detect.attacks.generation import attack_all
from ce_detect.calibrate import pipeline, samples
from ce_detect.calibrate.recipe import Recipe
from ce_detect.calibrate.settings import CalibrationSettings
from ce_detect.classifiers import wrapping as torch_classifiers
from ce_detect.classifiers.base import Classifier
from ce_detect.classifiers.loading import from_onnx
from ce_detect.core.errors import CalibrationError, NotCalibratedError
from ce_detect.core.types import Progress
from ce_detect.data import Images, Pixels, as_images, rows, tensors, validation
from ce_detect.data.corruptions import MILD, Corruption
from ce_detect.data.splits import identities
from ce_detect.detector import serialization
from ce_detect.detector.detector import Detector
from ce_detect.detector.gate import GateModule
from ce_detect.detector.inference import Inference
from ce_detect.evaluate import report
from ce_detect.export import parity, writer
from ce_detect.redteam import red_team
from ce_detect.redteam.settings import Plan
from ce_detect.verdict.conformal import Guarantee
from ce_detect.verdict.policies import Policy, as_policy
from ce_detect.verdict.result import GateResult

logger = logging.getLogger("ce_detect")

_VERIFIED = 256
"""Images that a graph is held against before it is written, at most."""


class DetectedModel:
    """A classifier with a detector of adversarial examples in front of it.

    >>> guard = DetectedModel(model).calibrate(x_clean, y, fpr=0.01, budget=2.0)   # doctest: +SKIP
    >>> result = guard(x)                                                          # doctest: +SKIP
    >>> result.is_adversarial, result.p_value                                      # doctest: +SKIP

    Args:
        model: a ``torch.nn.Module`` in eval mode that maps pixels ``(batch, channels, height, width)`` to logits
            ``(batch, classes)``; preprocessing is inside the model. See `ce_detect.classifiers.wrapping.wrap`. Or the path
            of an ``.onnx`` file of such a model, see `ce_detect.classifiers.onnx.load`.
        input_shape: ``(channels, height, width)``; found from the calibration images when not given.
        bounds: smallest and largest valid pixel value; found from the calibration images when not given.
        sites: names of the hidden tensors where interventions may happen; found in the model when not given.
        multi_label: whether several labels may hold at once (a model trained with a sigmoid a label, which must not be
            part of it). The decision is the top label.
        label: watch this label of a multi-label model alone: the decision is 1 where its logit is above 0, else 0.

    Raises:
        ModelError: the model cannot be wrapped as it is.
        MissingExtraError: an ONNX file, without onnx or onnxruntime.
    """

    def __init__(
        self,
        model: nn.Module | str | Path,
        *,
        input_shape: tuple[int, int, int] | None = None,
        bounds: tuple[float, float] | None = None,
        sites: tuple[str, ...] | None = None,
        multi_label: bool = False,
        label: int | None = None,
    ) -> None:
        self.model = _module(model)
        self._given = (input_shape, bounds)
        self._reading: dict[str, Any] = {"sites": sites, "multi_label": multi_label, "label": label}
        self._classifier: Classifier | None = None
        self._calibrated: pipeline.Calibrated | None = None
        self._running: Inference | None = None
        if input_shape is not None and bounds is not None:
            self._wrap(input_shape, bounds)

    @property
    def classifier(self) -> Classifier:
        """The wrapped classifier.

        Raises:
            NotCalibratedError: its input shape and bounds are not known yet.
        """
        if self._classifier is None:
            raise NotCalibratedError("input shape and bounds are not known yet: give both, or calibrate")
        return self._classifier

    @property
    def gate(self) -> GateModule:
        """The gate as one ``nn.Module``, differentiable up to the score: for adaptive attacks and export.

        Raises:
            NotCalibratedError: not calibrated and not loaded.
        """
        return self._calibration.gate

    @property
    def _inference(self) -> Inference:
        """What runs the gate; it is kept from call to call, for what it compiled."""
        if self._running is None or self._running.gate is not self.gate:
            self._running = Inference(self.gate)
        return self._running

    @property
    def manifest(self) -> dict[str, Any]:
        """What was calibrated, on what, how, and the figures measured then: plain data, as saved."""
        return self._calibration.manifest

    @property
    def threshold(self) -> float:
        """Score above which an input is flagged."""
        return float(self.gate.threshold)

    @property
    def _calibration(self) -> pipeline.Calibrated:
        if self._calibrated is None:
            raise NotCalibratedError(
                "not calibrated yet: call calibrate(x_clean, y), or DetectedModel.load(path, model)"
            )
        return self._calibrated

    def calibrate(
        self,
        x: Any,
        y: Any = None,
        *,
        recipe: str | Path | Recipe = "default",
        fpr: float = 0.01,
        budget: float = 2.0,
        guarantee: Guarantee = "pac",
        confidence: float = 0.95,
        seed: int = 0,
        attack_time: float | None = None,
        cache: str | Path | None = None,
        jobs: int | None = None,
        progress: Progress | None = None,
        harden: int = 0,
        harden_with: Any = None,
        secret_seed: int | Literal["random"] | None = None,
        cascade: bool = False,
    ) -> Self:
        """Learn the signature of an attack and set the threshold on held-out clean images.

        Args:
            x: clean images ``(n, channels, height, width)`` as the model takes them: an array, a loader or dataset, or
                the name of files, see `ce_detect.data.as_images`. Pixels of type uint8 in files and datasets are
                scaled to the bounds. Images that the classifier was *not* trained on.
            y: labels ``(n,)``; optional, they serve the figures in the manifest, and a warning where the classifier's
                accuracy says that preprocessing or the order of the classes is not what the model expects.
            recipe: name of a recipe that ships with ce-detect, path of a TOML file, or a `Recipe`.
            fpr: largest share of clean inputs that may be flagged, in (0, 1).
            budget: largest cost of a gated forward relative to a bare one, as measured here in PyTorch, and 1.1 times
                of it in ONNX Runtime, see `ce_detect.calibrate.cost.pytorch.Meter.cost`; ``math.inf`` for no limit.
            guarantee: ``"pac"``: with probability ``confidence`` over the calibration data the false-positive rate of
                this gate is at most ``fpr``; ``"marginal"``: it is so on average over calibrations.
            confidence: see ``guarantee``, in (0, 1).
            seed: seed of splits, attacks and learning.
            attack_time: seconds after which no new chunk of images is attacked; every attack gets at least one.
            cache: folder for attacked images and measured costs, by default ``CE_DETECT_CACHE`` or the user's cache.
            jobs: processes that make attacked images; by default as many as pay.
            progress: called with what is being done, work done and work in all.
            harden: 0, or rounds of adaptive attacks on the gate whose examples it then learns, see
                `ce_detect.calibrate.adversarial_rounds`. Before them a copy of the classifier is trained that small perturbations
                do not fool, see `ce_detect.fitting.robust_copy`, whose doubt makes an input suspect, too. It takes
                one more forward pass, an artifact that holds as many weights as the classifier, and a quarter more
                in a graph, where they have eight bits each.
            harden_with: further images for the training of that copy alone, the more the better; anything that ``x``
                may be, without labels. The classifier's own training images will do.
            secret_seed: seed of random interventions in the place of the public ``seed``; ``"random"`` draws it from
                the operating system. It is stored in the artifact, its manifest and exported graphs, which then are
                secrets. A recipe that names a seed is taken at its word.
            cascade: whether the free statistics of one forward pass clear inputs first, `CLEARED` of the clean ones as
                far as the images can tell, and only the others meet interventions, see `ce_detect.detector.cascade`.
                The budget then counts on average over clean traffic, and buys larger interventions. The manifest says
                what is really cleared and what others cost; where that is above the budget, a warning does. Not with
                ``harden``, and not without attacks.

        Returns:
            Itself, calibrated.

        Raises:
            InputError: images that are empty, not floating point, NaN or out of bounds.
            TooFewSamplesError: ``fpr`` cannot be promised with so few images; says how many are needed.
            CalibrationError: a recipe, a value or data from which no detector can be made.
            ModelError: the model cannot be wrapped as it is.
        """
        images = as_images(x, y)
        recipe = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe)
        shape, bounds = self._given
        bounds = bounds or images.bounds or validation.found_bounds(images.pixels)
        self._wrap(shape or validation.found_shape(images.pixels.shape), bounds)  # anew: weights may have changed
        request = CalibrationSettings(
            recipe=recipe, fpr=fpr, budget=budget, guarantee=guarantee, confidence=confidence, seed=seed,
            attack_seconds=attack_time, cache=None if cache is None else Path(cache), jobs=jobs, progress=progress,
            harden=harden, harden_images=None if harden_with is None else as_images(harden_with).within(bounds).pixels,
            secret_seed=secrets.randbits(48) if secret_seed == "random" else secret_seed, cascade=cascade,
        )  # fmt: skip
        self._calibrated = pipeline.calibrate(
            self.classifier, torch_classifiers.at_float32(self.model), images.within(bounds), request
        )
        return self

    def __call__(self, x: Any, *, policy: Policy | str | Callable[[Any], Any] = "flag") -> GateResult:
        """Judge inputs.

        Args:
            x: NumPy array or tensor ``(batch, channels, height, width)``, floating point, within the bounds.
            policy: what happens to the label of an adversarial input: ``"flag"`` (nothing), ``"abstain"`` (−1), a
                callable that is asked for the labels of those inputs, or a policy object.

        Returns:
            Arrays of the caller's kind: NumPy for NumPy, tensors on the model's device for tensors.

        Raises:
            InputError: the array cannot be judged.
            NotCalibratedError: not calibrated and not loaded.
            UsageError: no such policy.
            AbstainedError: the policy is ``Abstain(raise_error=True)`` and an input is adversarial.
        """
        chosen_policy = as_policy(policy)
        return chosen_policy.apply(self._judged(x, None), x)

    def clean_only(self, x: Any) -> GateResult:
        """Judge inputs by the distance of their signatures from clean ones, which no attack taught.

        It is fitted beside every detector that learns from attacks, on the same signature, and has a threshold of its
        own with the same promise. It detects less and assumes nothing about the attacker. A detector that was
        calibrated without attacks is itself of this kind. A cascade spares it nothing: it needs the whole signature.

        Args:
            x: see `__call__`.

        Returns:
            See `__call__`; ``probability`` is NaN.

        Raises:
            InputError: the array cannot be judged.
            NotCalibratedError: not calibrated and not loaded.
        """
        return self._judged(x, self.gate.clean_only)

    def _judged(self, x: Any, detector: Detector | None) -> GateResult:
        tensor = tensors.checked(x, input_shape=self.classifier.input_shape, bounds=self.classifier.bounds)
        fields = self._inference.judge_all(tensor, detector)._asdict()
        if not isinstance(x, Tensor):
            fields = {name: value.cpu().numpy() for name, value in fields.items()}
        return GateResult(**fields, threshold=float((detector or self.gate).threshold))

    def evaluate(
        self,
        x: Any,
        y: Any = None,
        *,
        attacks: tuple[Attack, ...] | None = None,
        corruptions: tuple[Corruption, ...] = MILD,
        seed: int = 1,
        cache: str | Path | None = None,
        jobs: int | None = None,
        attack_time: float | None = None,
        progress: Progress | None = None,
    ) -> report.Report:
        """Attack images that calibration did not see and measure the gate on them and on their clean twins.

        Args:
            x: clean images, see `calibrate`; none of which was used there.
            y: labels ``(n,)``, optional.
            attacks: what to do, by default the attacks of the recipe.
            corruptions: benign changes to count false alarms under, by default all mild ones.
            seed: seed of the attacks and of the corruptions.
            cache: see `calibrate`.
            jobs: see `calibrate`.
            attack_time: see `calibrate`.
            progress: see `calibrate`.
        """
        images = as_images(x, y).within(self.classifier.bounds)
        validation.check_all(images.pixels, input_shape=self.classifier.input_shape, bounds=self.classifier.bounds)
        self._warn_of_calibration_images(images)
        if attacks is None:
            attacks = tuple(Attack.of(**spec) for spec in self.manifest["recipe"]["attacks"])
        attacked = attack_all(
            self.classifier, images.pixels, attacks, seed=seed, cache=None if cache is None else Path(cache), jobs=jobs,
            seconds=attack_time, progress=progress,
        )  # fmt: skip
        return report.evaluate(
            self.gate, images.pixels, images.y, attacked, target=self.manifest["fpr"], corruptions=corruptions,
            seed=seed,
        )  # fmt: skip

    def redteam(
        self,
        x: Any,
        *,
        plan: Plan | None = None,
        secret_seeds: bool = False,
        progress: Progress | None = None,
    ) -> red_team.RedTeam:
        """Attack classifier and gate together, see `ce_detect.redteam.red_team`.

        Args:
            x: clean images, see `calibrate`; none of which was used there.
            plan: what the attacker may do, by default `ce_detect.redteam.settings.Plan()`.
            secret_seeds: the attacker does not know the seeds of the gate's random interventions.
            progress: called with what is being done, work done and work in all.

        Raises:
            UsageError: secret seeds of a gate in which nothing is random.
        """
        images = as_images(x).within(self.classifier.bounds)
        validation.check_all(images.pixels, input_shape=self.classifier.input_shape, bounds=self.classifier.bounds)
        self._warn_of_calibration_images(images)
        return red_team.redteam_gate(self.gate, images.x, plan or Plan(), secret_seeds=secret_seeds, progress=progress)

    def _warn_of_calibration_images(self, images: Images) -> None:
        used = int(np.isin(identities(images.pixels), self._calibration.seen).sum())
        if used:
            logger.warning(
                "%d of these %d images were used in calibration; figures on new ones will be worse", used, len(images)
            )

    def save(self, path: str | Path) -> None:
        """Write the calibrated detector to one safetensors file, atomically. The model itself is not in it.

        Raises:
            NotCalibratedError: nothing to save.
            ArtifactError: the file cannot be written.
        """
        serialization.to_artifact(self.gate, self.manifest, self._calibration.seen).save(path)

    def export(self, path: str | Path, *, data: Any = None, uint8: bool = False) -> parity.Differences:
        """Write classifier, interventions, head and threshold as one ONNX graph, and check it with ONNX Runtime.

        The graph computes in float32, on a CPU or a GPU; it is made on the CPU, from a copy of the model where that is
        elsewhere. Its inputs and outputs are listed in `ce_detect.export.fused_graph`. The file appears only if the graph
        judges as PyTorch does.

        Args:
            path: the file to write.
            data: images to hold the graph against, see `calibrate`; the first 256 of them. By default some that
                calibration saw, clean and attacked, where it happened in this process or left them in the default cache
                of this machine; else the classifier's probe and random images.
            uint8: take grey levels ``(batch, height, width, channels)`` of type uint8, which the graph scales to the
                bounds.

        Returns:
            How far PyTorch and ONNX Runtime differ on these images.

        Raises:
            NotCalibratedError: nothing to export.
            ModelError: the gate cannot become a graph; says why.
            ExportError: the graph judges otherwise than the gate; nothing is written.
            MissingExtraError: the extra ``onnx`` is not installed.
            ArtifactError: the file cannot be written.
        """
        x: Pixels | None = self._calibration.sample
        x = samples.kept(self.gate) if x is None else x
        if data is not None:
            given = as_images(data).within(self.classifier.bounds).pixels
            validation.check_all(given, input_shape=self.classifier.input_shape, bounds=self.classifier.bounds)
            x = rows(given, slice(_VERIFIED))
        return writer.write(self._gate_on_cpu(), self.manifest, Path(path), x=x, uint8=uint8)

    def _gate_on_cpu(self) -> GateModule:
        if self.classifier.device.type == "cpu":
            return self.gate
        channels, height, width = self.classifier.input_shape
        classifier = torch_classifiers.wrap(
            copy.deepcopy(self.model).cpu(), input_shape=(channels, height, width), bounds=self.classifier.bounds,
            **{**self._reading, "sites": self.classifier.sites},
        )  # fmt: skip
        return serialization.to_gate(serialization.to_artifact(self.gate, self.manifest), classifier)

    @classmethod
    def load(cls, path: str | Path, model: nn.Module | str | Path, *, allow_other_model: bool = False) -> Self:
        """Read a calibrated detector and put it in front of its model.

        Args:
            path: what `save` wrote.
            model: the model it was calibrated for, or its ``.onnx`` file.
            allow_other_model: accept a model with other weights; the guarantee is void then.

        Raises:
            ArtifactError: the file is missing, truncated, edited or foreign.
            ModelMismatchError: the model has other weights, or computes something else from the same weights.
        """
        artifact = Artifact.load(path)
        described = artifact.manifest["model"]
        module = _module(model)
        if not allow_other_model:
            serialization.check_weights(artifact, module)
        guard = cls(
            module,
            input_shape=tuple(described["input_shape"]),
            bounds=tuple(described["bounds"]),
            sites=tuple(described["sites"]),
            multi_label=described.get("multi_label", False) or described.get("label") is not None,
            label=described.get("label"),
        )
        if not allow_other_model:
            serialization.check_logits(artifact, guard.classifier)
        guard._calibrated = pipeline.Calibrated(
            serialization.to_gate(artifact, guard.classifier), artifact.manifest, serialization.seen(artifact)
        )
        return guard

    def _wrap(self, input_shape: tuple[int, int, int], bounds: tuple[float, float]) -> None:
        low, high = bounds
        if not (np.isfinite([low, high]).all() and low < high):
            raise CalibrationError(f"bounds = {bounds} are not (smallest, largest) valid pixel values")
        self._classifier = torch_classifiers.wrap(self.model, input_shape=input_shape, bounds=bounds, **self._reading)


def _module(model: nn.Module | str | Path) -> nn.Module:
    """The model as a module in eval mode, read from its file where it is the name of one."""
    return torch_classifiers.unwrapped(from_onnx(model) if isinstance(model, str | Path) else model)
