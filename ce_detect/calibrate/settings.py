"""What a calibration is asked for: from Python, the command line, or an adapter, in one form."""

from __future__ import annotations

import difflib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, Self, TypedDict, Unpack, get_args

from ce_detect.artifacts.counterfactual import CounterfactualArtifact
from ce_detect.calibrate.recipe import Recipe, corruptions_of
from ce_detect.core.errors import CalibrationError
from ce_detect.core.progress import quiet
from ce_detect.core.types import Bounds, Precision, Progress
from ce_detect.data import Images, Pixels, as_images
from ce_detect.data.corruptions import Corruption
from ce_detect.verdict import conformal

SECRET_BITS = 48
"""Length of a seed that is drawn from the operating system."""


class CalibrationOptions(TypedDict, total=False):
    """`CalibrationSettings` as users give them: what has a name or a path may be called by it."""

    recipe: str | Path | Recipe
    fpr: float
    budget: float
    guarantee: conformal.Guarantee
    confidence: float
    seed: int
    attack_time: float | None
    cache: str | Path | None
    jobs: int | None
    progress: Progress | bool | None
    harden: int
    harden_with: Any
    secret_seed: int | Literal["random"] | None
    cascade: bool
    deploy: Precision
    natural: str | Path | tuple[Corruption, ...]
    also_clean: Any
    also_attacked: Any
    counterfactual: str | Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationSettings:
    """What a calibration is asked for; every value may be given as in `CalibrationOptions`.

    >>> settings = CalibrationSettings.of(recipe="quick", fpr=0.05)   # doctest: +SKIP
    >>> guard.calibrate(x_clean, y, settings)                         # doctest: +SKIP

    Attributes:
        recipe: attacks, splits, head and what else a calibration follows. It is the name of a recipe that ships with
            ce-detect, the path of a TOML file, or a `Recipe`.
        fpr: largest share of clean inputs that may be flagged, in (0, 1).
        budget: largest cost of a gated forward relative to a bare one, as measured here in PyTorch, and 1.1 times of it
            in ONNX Runtime, see `ce_detect.calibrate.cost.pytorch.Meter.cost`; ``math.inf`` for no limit.
        guarantee: ``"pac"``: with probability ``confidence`` over the calibration data the false-positive rate of this
            gate is at most ``fpr``; ``"marginal"``: it is so on average over calibrations.
        confidence: see ``guarantee``, in (0, 1).
        seed: seed of splits, attacks and learning.
        attack_time: seconds after which no new chunk of images is attacked; every attack gets at least one.
        cache: folder for attacked images and measured costs; None for ``CE_DETECT_CACHE`` or the user's cache.
        jobs: processes that make attacked images; None for as many as pay.
        progress: called with what is being done, work done and work in all; None or True shows it on stderr, False
            shows nothing.
        harden: 0, or rounds of adaptive attacks on the gate whose examples it then learns, see
            `ce_detect.calibrate.adversarial_rounds`. Before them a copy of the classifier is trained that small
            perturbations do not fool, see `ce_detect.fitting.robust_copy`, whose doubt makes an input suspect, too. It
            takes one more forward pass, or less where the budget has no room for that. An artifact then holds as many
            weights again as the classifier has, a graph a quarter of that, as they have eight bits each there.
        harden_with: further images for the training of that copy alone, the more the better; given as anything that
            `ce_detect.data.as_images` reads, without labels. The classifier's own training images will do.
        secret_seed: seed of random interventions in the place of the public ``seed``; ``"random"`` draws it from the
            operating system. It is stored in the artifact, its manifest and exported graphs, which then are secrets. A
            recipe that names a seed is taken at its word.
        cascade: whether a first look, at what one forward pass gives, clears inputs: `ce_detect.heads.cascade.CLEARED`
            of the clean ones, as far as the images can tell. Only the others meet interventions, see
            `ce_detect.detector.cascade`. The budget then counts on average over clean traffic, and
            buys larger interventions. The manifest says what is really cleared and what others cost; where that is
            above the budget, a warning does. Not with ``harden``, and not without attacks.
        deploy: what the classifier in the exported graph computes with: ``"fp32"``, or ``"fp16"`` or ``"int8"``, see
            `ce_detect.export.precision`. In fewer bits, threshold, clean scores and figures on *test* are those of that
            graph, in ONNX Runtime on this machine. So the promise holds there. An export writes it. The budget is that
            of the gate in float32. Not with ``harden`` or ``cascade``.
        counterfactual: path of what `ce_detect.counterfactual.Counterfactual.save` wrote, trained for this classifier's
            inputs and classes. Showing an input as another class, and its fakeness, are offered to the search then.
        also_clean: images from where the gate will stand, without labels, given as anything that
            `ce_detect.data.as_images` reads. They are not attacked. The heads learn that they are clean, and the
            threshold holds for them as it holds for the others.
        also_attacked: attacks that people found, such as those of ``ce-detect console``, given as anything that
            `ce_detect.data.as_images` reads, without labels. The heads learn from them as from one attack more. Not
            with a recipe that learns from clean images alone.

    Raises:
        CalibrationError: a value that makes no sense, or two that exclude each other.
    """

    recipe: Recipe = field(default_factory=lambda: Recipe.load("default"))
    fpr: float = 0.01
    budget: float = 2.0
    guarantee: conformal.Guarantee = "pac"
    confidence: float = 0.95
    seed: int = 0
    attack_time: float | None = None
    cache: Path | None = None
    jobs: int | None = None
    progress: Progress | None = None
    harden: int = 0
    harden_with: Images | None = None
    secret_seed: int | None = None
    cascade: bool = False
    deploy: Precision = "fp32"
    also_clean: Images | None = None
    also_attacked: Images | None = None
    counterfactual: Path | None = None

    @classmethod
    def of(cls, settings: CalibrationSettings | None = None, **changes: Unpack[CalibrationOptions]) -> Self:
        """Make settings from what users give.

        Args:
            settings: where the others come from; None for the defaults.
            changes: by name. ``natural`` adds natural changes of your own to those of the recipe, which count as clean,
                see `ce_detect.data.corruptions.Corruption`: such objects, or the path of a TOML file of
                ``[[corruption]]`` tables.

        Raises:
            TypeError: a name that there is not; names the nearest.
            CalibrationError: see the class.
        """
        known = [one.name for one in fields(cls)]
        for name in changes:
            if name not in {*known, "natural"}:
                near = difflib.get_close_matches(name, known, 1) or [", ".join(known)]
                raise TypeError(f"no calibration setting {name!r}; did you mean {near[0]}?")
        given: dict[str, Any] = {one: getattr(settings, one) for one in known} if settings is not None else {}
        natural = changes.pop("natural", ())
        made = cls(**{**given, **changes})
        return replace(made, recipe=made.recipe.with_corruptions(_natural(natural)))

    @property
    def drawn(self) -> int:
        """Seed that random interventions draw from: the secret one, where there is one."""
        return self.seed if self.secret_seed is None else self.secret_seed

    @property
    def harden_images(self) -> Pixels | None:
        """Pixels of ``harden_with``."""
        return None if self.harden_with is None else self.harden_with.pixels

    def within(self, bounds: Bounds) -> CalibrationSettings:
        """The same with the images of ``harden_with`` scaled to the bounds of a classifier."""
        return self if self.harden_with is None else replace(self, harden_with=self.harden_with.within(bounds))

    def __post_init__(self) -> None:
        for name, form in _FORMS.items():
            object.__setattr__(self, name, form(getattr(self, name)))
        conformal.check(self.fpr, self.guarantee, self.confidence)
        _check_budget(self)
        _check_attacked(self)
        _check_cascade(self)
        _check_hardening(self)
        _check_deployment(self)
        _check_counterfactual(self)


def _recipe(given: str | Path | Recipe) -> Recipe:
    return given if isinstance(given, Recipe) else Recipe.load(given)


def _folder(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given)


def _seed(given: int | Literal["random"] | None) -> int | None:
    return secrets.randbits(SECRET_BITS) if given == "random" else given


def _images(given: Any) -> Images | None:
    return given if given is None or isinstance(given, Images) else as_images(given)


def _natural(given: str | Path | tuple[Corruption, ...]) -> tuple[Corruption, ...]:
    return corruptions_of(given) if isinstance(given, str | Path) else tuple(given)


def _progress(given: Progress | bool | None) -> Progress | None:
    if isinstance(given, bool):
        return None if given else quiet
    return given


_FORMS: dict[str, Callable[[Any], Any]] = {
    "recipe": _recipe,
    "cache": _folder,
    "counterfactual": _folder,
    "secret_seed": _seed,
    "harden_with": _images,
    "also_clean": _images,
    "also_attacked": _images,
    "progress": _progress,
}
"""What brings a value that users give into the form of its field."""


def _check_budget(settings: CalibrationSettings) -> None:
    if not settings.budget > 1:
        raise CalibrationError(
            f"budget = {settings.budget}: a gated forward runs the model once, so it must be above 1.0; "
            "2.0 means twice the time of the model alone"
        )


def _check_hardening(settings: CalibrationSettings) -> None:
    if settings.harden_with is not None and not settings.harden:
        raise CalibrationError("images to harden with, but harden = 0: ask for at least one round")
    if settings.harden and settings.recipe.head == "distance":
        raise CalibrationError(
            f"harden = {settings.harden}: recipe {settings.recipe.name!r} learns from clean images alone, and "
            "hardening teaches attacks; take a recipe with attacks, such as 'default'"
        )


def _check_attacked(settings: CalibrationSettings) -> None:
    if settings.also_attacked is not None and not settings.recipe.attacks:
        raise CalibrationError(
            f"also_attacked: recipe {settings.recipe.name!r} learns from clean images alone; take a recipe with "
            "attacks, such as 'default'"
        )


def _check_cascade(settings: CalibrationSettings) -> None:
    if settings.cascade and settings.harden:
        raise CalibrationError(
            f"cascade and harden = {settings.harden} exclude each other. A hardened copy would never see what the "
            "first look of a cascade clears, so an attacker would only have to convince that look"
        )
    if settings.cascade and settings.recipe.head == "distance":
        raise CalibrationError(
            f"cascade: recipe {settings.recipe.name!r} learns from clean images alone, and what a cascade may clear is "
            "learned from attacks; take a recipe with attacks, such as 'default'"
        )


def _check_deployment(settings: CalibrationSettings) -> None:
    if settings.deploy not in get_args(Precision):
        known = ", ".join(map(repr, get_args(Precision)))
        raise CalibrationError(f"deploy = {settings.deploy!r} is none of {known}")
    if settings.deploy == "fp32":
        return
    if settings.cascade:
        raise CalibrationError(
            f"cascade and deploy = {settings.deploy!r} exclude each other: what a cascade clears is set by scores in "
            "float32, and where they round otherwise other inputs would be cleared. Leave one of them out"
        )
    if settings.harden:
        raise CalibrationError(
            f"harden and deploy = {settings.deploy!r} exclude each other: hardening attacks the gate in float32, and "
            "says nothing of an attacker who knows the steps of the graph. Leave one of them out"
        )


def _check_counterfactual(settings: CalibrationSettings) -> None:
    if settings.counterfactual is None:
        return
    if settings.recipe.interventions or not settings.recipe.attacks:
        reason = "names its interventions" if settings.recipe.interventions else "has no attacks to compare them by"
        raise CalibrationError(
            f"counterfactual: it is offered to a search, and recipe {settings.recipe.name!r} {reason}; take one "
            "without, such as 'quick'"
        )
    CounterfactualArtifact.load(settings.counterfactual)  # a file that cannot be read is told before the long work
