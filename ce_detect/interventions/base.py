"""What an intervention do(·) is."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from ce_detect.classifiers.base import INPUT, Classifier
from ce_detect.core.errors import ArtifactError, CalibrationError
from ce_detect.core.types import Setting

Family = Literal[
    "masking",
    "geometry",
    "resolution",
    "photometric",
    "noise",
    "adversarial",
    "latent",
    "concept",
    "robust copy",
    "counterfactual",
]
Resume = Callable[[Tensor], Tensor]
"""From a tensor in the place of the one at a site to the logits ``(rows, classes)`` that follow."""

_KINDS: dict[str, type[Intervention]] = {}


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers that a setting may be.

    Attributes:
        least: smallest of them.
        largest: largest of them.
        above: whether ``least`` itself is excluded.
        whole: whether they are integers.
    """

    least: float = -math.inf
    largest: float = math.inf
    above: bool = False
    whole: bool = False

    def __contains__(self, value: object) -> bool:
        kind = int if self.whole else int | float
        if isinstance(value, bool) or not isinstance(value, kind) or not math.isfinite(value):
            return False
        return (value > self.least if self.above else value >= self.least) and value <= self.largest

    def __str__(self) -> str:
        bounds = [] if math.isinf(self.least) else [f"{'above' if self.above else 'at least'} {self.least:g}"]
        bounds += [] if math.isinf(self.largest) else [f"at most {self.largest:g}"]
        return " ".join([f"a {'whole' if self.whole else 'finite'} number", " and ".join(bounds)]).strip()


MOST_NUMBERS = 2**26
"""In a tensor that settings ask for: a file of a few bytes must not take all memory."""

_ANY_KIND: dict[str, Range] = {
    "draws": Range(1, 4096, whole=True),
    "seed": Range(0, 2**63 - 1, whole=True),
    "scale": Range(0, 1, above=True),
    "channels": Range(1, 2**16, whole=True),
    "low": Range(),
    "high": Range(),
}


class Intervention(nn.Module):
    """Sets part of the tensor at a site to something else.

    A subclass states its claims as class attributes and takes its settings as keyword-only arguments of ``__init__``,
    which it passes on to this class. Tests verify the claims for every subclass.

    Attributes:
        family: the kind of question it asks.
        label_preserving: whether a person would still give a clean image the same label.
        deterministic: whether it draws nothing at random. What is drawn comes from the setting ``seed`` alone.
        exportable: whether it can become part of an ONNX graph.
        latents: whether it also works on a hidden feature map, not only on the input.
        tokens: whether it also works on a hidden sequence of tokens ``(batch, tokens, channels)``.
        needs_resume: whether it asks the classifier: ``forward`` then takes a `Resume` as its second argument.
        reference: whether draw 0 is what the effects of the other draws are measured against.
        from_input: whether it makes the tensor at its site anew from the input: ``forward`` then takes pixels.
        paper: where it comes from.
        ranges: what each setting may be, beside ``draws``, ``seed``, ``scale``, ``channels``, ``low`` and ``high``,
            which mean the same everywhere.
        site: where it intervenes.
        draws: number of variants it makes of each input.

    Raises:
        CalibrationError: a setting outside its range.
    """

    family: ClassVar[Family]
    label_preserving: ClassVar[bool] = True
    deterministic: ClassVar[bool] = True
    exportable: ClassVar[bool] = True
    latents: ClassVar[bool] = False
    tokens: ClassVar[bool] = False
    needs_resume: ClassVar[bool] = False
    reference: ClassVar[bool] = False
    from_input: ClassVar[bool] = False
    paper: ClassVar[str] = ""
    ranges: ClassVar[Mapping[str, Range | tuple[Setting, ...]]] = {}

    def __init__(self, *, site: str = INPUT, draws: int = 1, **settings: Setting) -> None:
        super().__init__()
        for setting, value in {"draws": draws, **settings}.items():
            allowed = {**_ANY_KIND, **self.ranges}.get(setting)
            if allowed is not None and value not in allowed:
                wanted = f"one of {', '.join(map(str, allowed))}" if isinstance(allowed, tuple) else allowed
                raise CalibrationError(f"{setting} = {value!r} of {type(self).__name__} is not {wanted}")
        if {"low", "high"} <= set(settings) and float(settings["low"]) >= float(settings["high"]):
            raise CalibrationError(
                f"low = {settings['low']} of {type(self).__name__} is not below high = {settings['high']}"
            )
        self.site = site
        self.draws = draws
        self.settings = settings

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not cls.__name__.startswith("_") and hasattr(cls, "family"):  # a base that kinds share is none itself
            _KINDS[cls.__name__] = cls

    @property
    def name(self) -> str:
        """Kind, settings and site, for example ``"Shift(dx=1, dy=0)@layer2"``."""
        listed = ", ".join(f"{key}={value}" for key, value in self.settings.items())
        return f"{type(self).__name__}({listed})@{self.site}"

    def spec(self) -> dict[str, Setting]:
        """Everything needed to make it again, as plain data."""
        return {"kind": type(self).__name__, "site": self.site, **self.settings}

    def attach(self, classifier: Classifier) -> None:
        """Take from a classifier what the intervention is made of; called whenever a signature is made of it.

        Raises:
            CalibrationError: the classifier does not have it.
        """

    def forward(self, h: Tensor) -> Tensor:
        """Intervene.

        Args:
            h: ``(batch, channels, height, width)``, or ``(batch, tokens, channels)`` where ``tokens`` says so; pixels
                within the bounds where the site is the input.

        Returns:
            ``(draws * batch, channels, height', width')`` or ``(draws * batch, tokens, channels)``, draw-major: the
            first ``batch`` rows are draw 0.
        """
        raise NotImplementedError


class LearnedIntervention(Intervention):
    """An intervention whose parameters are learned at calibration, from clean images and the frozen classifier.

    The parameters belong to the state of the gate, and so to the artifact; their shapes follow from the settings.

    Attributes:
        learning_rate: step size of Adam.
    """

    learning_rate: ClassVar[float]

    def start(self, h: Tensor, generator: torch.Generator) -> None:
        """Set the parameters to what learning starts from.

        Args:
            h: tensor at the site, ``(batch, ...)``, of the first clean images.
            generator: where random numbers come from.
        """
        raise NotImplementedError

    def loss(self, h: Tensor, z: Tensor, resume: Resume, *, multi_label: bool = False) -> Tensor:
        """What learning makes small, a scalar.

        Args:
            h: tensor at the site, ``(batch, ...)``, of clean images.
            z: logits ``(batch, classes)`` that follow from it.
            resume: logits that follow from another tensor at the site.
            multi_label: whether each logit is the log-odds of a label of its own.
        """
        raise NotImplementedError

    def project(self) -> None:
        """Put the parameters back where they may be, after a step."""


def check_size(kind: str, *sides: int) -> None:
    """Refuse settings that ask for a tensor which no intervention needs.

    Args:
        kind: of the intervention.
        sides: of the tensor.

    Raises:
        CalibrationError: it has too many numbers.
    """
    if math.prod(sides) > MOST_NUMBERS:
        asked = " x ".join(map(str, sides))
        raise CalibrationError(f"{kind} asks for a tensor of {asked} numbers, at most {MOST_NUMBERS} are made")


def shape_of(text: str) -> tuple[int, ...]:
    """Read a shape without the batch: ``"64x8x8"`` (channels, height, width) or ``"197x384"`` (tokens, channels).

    Raises:
        CalibrationError: not two or three whole numbers above 0.
    """
    sides = text.split("x") if isinstance(text, str) else []
    if len(sides) not in (2, 3) or not all(side.isascii() and side.isdecimal() and side.strip("0") for side in sides):
        raise CalibrationError(
            f"shape = {text!r} is not 'channels x height x width' such as '64x8x8', or 'tokens x channels' such as "
            "'197x384'; a calibration fills it in when it is left out"
        )
    if max(map(len, sides)) < 8:  # Python reads no number of thousands of digits
        shape = tuple(int(side) for side in sides)
        check_size(f"shape = {text!r}", *shape)
        return shape
    raise CalibrationError(f"shape = {text[:40]!r} has a side of more than 7 digits, expected sides of a tensor")


def kinds() -> dict[str, type[Intervention]]:
    """Every registered kind of intervention by name."""
    return dict(_KINDS)


def from_spec(spec: Mapping[str, Setting]) -> Intervention:
    """Make an intervention from plain data, as an artifact or a recipe holds it.

    Raises:
        CalibrationError: an unknown kind, or settings that the kind does not take.
        ArtifactError: no kind at all.
    """
    settings = dict(spec)
    kind = settings.pop("kind", None)
    if kind is None:
        raise ArtifactError(f"an intervention without a kind: {spec}")
    if kind not in _KINDS:
        raise CalibrationError(f"no intervention {kind!r}; there are: {', '.join(sorted(_KINDS))}")
    cls = _KINDS[str(kind)]
    known = inspect.signature(cls.__init__).parameters
    unknown = [key for key in settings if key not in known]
    if unknown:
        listed = ", ".join(key for key in known if key != "self")
        raise CalibrationError(f"intervention {kind!r} has no setting {unknown[0]!r}; it has: {listed}")
    try:
        return cls(**settings)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise CalibrationError(f"intervention {kind!r} cannot be made with {settings}: {error}") from error
