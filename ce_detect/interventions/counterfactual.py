"""do(show as another class): the input as the runner-up class would look, made by a generator."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from ce_detect.classifiers.base import INPUT
from ce_detect.counterfactual.model import Counterfactual, seeded
from ce_detect.counterfactual.networks import Generator, runner_up
from ce_detect.interventions.base import Intervention, Range, Resume


class MakeCounterfactual(Intervention):
    """Show the input as one of the class that the classifier holds second likeliest, ``do(x -> G(x, t))``.

    On a clean input that takes what makes the class, and the evidence moves far. An attacked input has little of the
    class that was decided: what its generator changes is something else. The weights are those of
    `ce_detect.counterfactual.fit`, and are stored in the artifact.

    Attributes:
        generator: see `ce_detect.counterfactual.networks.Generator`.
    """

    family = "counterfactual"
    label_preserving = False
    needs_resume = True
    paper = "Bischof et al. 2023, arXiv 2310.00761"
    ranges: ClassVar = {
        "classes": Range(2, whole=True), "width": Range(1, 1024, whole=True), "depth": Range(1, 8, whole=True),
    }  # fmt: skip

    def __init__(
        self, *, site: str = INPUT, channels: int, classes: int, width: int = 16, depth: int = 2,
        low: float = 0.0, high: float = 1.0,
    ) -> None:  # fmt: skip
        size: dict[str, Any] = {"channels": channels, "classes": classes, "width": width, "depth": depth}
        super().__init__(site=site, low=low, high=high, **size)
        made: Generator = seeded(0, lambda: Generator(channels, classes, width=width, depth=depth, bounds=(low, high)))
        self.generator = made.requires_grad_(False)

    @classmethod
    def of(cls, made: Counterfactual) -> MakeCounterfactual:
        """The intervention that a trained generator makes."""
        settings, (low, high) = made.manifest.settings, made.bounds
        found = cls(
            channels=made.manifest.input_shape[0], classes=made.manifest.classes, width=int(settings["width"]),
            depth=int(settings["depth"]), low=low, high=high,
        )  # fmt: skip
        found.generator.load_state_dict(made.generator.state_dict())
        return found

    def forward(self, h: Tensor, resume: Resume) -> Tensor:  # type: ignore[override]
        """Make counterfactuals, see `Intervention.forward`; ``resume`` says which class comes second."""
        with torch.no_grad():
            target = runner_up(resume(h))
        made: Tensor = self.generator(h, target)
        return made
