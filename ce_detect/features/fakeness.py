"""Fakeness: the log-odds that a network which knows generated images gives to "fake" (Bischof et al. 2023).

It needs a forward pass of that network, but no intervention. The network is trained by `ce_detect.counterfactual.fit`.
"""

from __future__ import annotations

from typing import Any, Self

from torch import Tensor, nn

from ce_detect.classifiers.base import Classifier
from ce_detect.core.errors import CalibrationError, ModelError
from ce_detect.counterfactual.model import Counterfactual, seeded
from ce_detect.counterfactual.networks import fakeness, kplusone


class Fakeness(nn.Module):
    """The log-odds of "fake" against all classes, in nats.

    Attributes:
        network: the K+1 network; its weights belong to the state.
        names: one name a feature.
    """

    names = ("trace.fakeness",)

    def __init__(self, classifier: Classifier, *, classes: int, width: int, depth: int, own: bool) -> None:
        """Make the network, with weights that say nothing yet.

        Args:
            classifier: what is guarded.
            classes: number of classes, K.
            width: see `ce_detect.counterfactual.networks.Trunk`.
            depth: see there.
            own: whether it has the classifier's layers.

        Raises:
            CalibrationError: it is to have the classifier's layers, which cannot be copied.
        """
        super().__init__()
        size = {"width": width, "depth": depth}
        self._spec = {"classes": classes, **size, "own": own}

        def make() -> nn.Module:
            return kplusone(
                classifier if own else None, classifier.input_shape[0], classes, bounds=classifier.bounds, **size
            )

        try:
            self.network = seeded(0, make).eval().requires_grad_(False)
        except ModelError as error:
            raise CalibrationError(str(error)) from error

    @classmethod
    def of(cls, made: Counterfactual, classifier: Classifier) -> Self:
        """The feature of a trained network."""
        size = {key: int(made.manifest.settings[key]) for key in ("width", "depth")}
        found = cls(classifier, classes=made.manifest.classes, own=made.manifest.classifier is not None, **size)
        found.network.load_state_dict(made.network.state_dict())
        return found

    def spec(self) -> dict[str, Any]:
        """Everything but the tensors and the classifier, as plain data."""
        return dict(self._spec)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(batch, 1)`` from inputs ``(batch, channels, height, width)``."""
        return fakeness(self.network(x.float())).unsqueeze(1)
