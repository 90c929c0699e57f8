"""What an intervention do(·) is."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from ce_detect.classifiers.base import INPUT
from ce_detect.errors import ArtifactError, CalibrationError

Family = Literal["masking", "geometry", "resolution", "photometric", "noise", "adversarial", "latent", "concept"]
Setting = int | float | str | bool

_KINDS: dict[str, type[Intervention]] = {}


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
        paper: where it comes from.
        site: where it intervenes.
        draws: number of variants it makes of each input.
    """

    family: ClassVar[Family]
    label_preserving: ClassVar[bool] = True
    deterministic: ClassVar[bool] = True
    exportable: ClassVar[bool] = True
    latents: ClassVar[bool] = False
    paper: ClassVar[str] = ""

    def __init__(self, *, site: str = INPUT, draws: int = 1, **settings: Setting) -> None:
        super().__init__()
        self.site = site
        self.draws = draws
        self.settings = settings

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not cls.__name__.startswith("_"):  # a base that kinds share is none itself
            _KINDS[cls.__name__] = cls

    @property
    def name(self) -> str:
        """Kind, settings and site, for example ``"Shift(dx=1, dy=0)@layer2"``."""
        listed = ", ".join(f"{key}={value}" for key, value in self.settings.items())
        return f"{type(self).__name__}({listed})@{self.site}"

    def spec(self) -> dict[str, Setting]:
        """Everything needed to make it again, as plain data."""
        return {"kind": type(self).__name__, "site": self.site, **self.settings}

    def forward(self, h: Tensor) -> Tensor:
        """Intervene.

        Args:
            h: ``(batch, channels, height, width)``; pixels within the bounds where the site is the input.

        Returns:
            ``(draws * batch, channels, height', width')``, draw-major: the first ``batch`` rows are draw 0.
        """
        raise NotImplementedError


def kinds() -> dict[str, type[Intervention]]:
    """Every registered kind of intervention by name."""
    return dict(_KINDS)


def from_spec(spec: dict[str, Setting]) -> Intervention:
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
