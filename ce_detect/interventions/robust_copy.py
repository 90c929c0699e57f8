"""do(look again with robust eyes): the tensor at a site, made anew by a robust copy of the layers before it."""

from __future__ import annotations

from torch import Tensor, nn

from ce_detect.classifiers.base import Classifier
from ce_detect.core.errors import CalibrationError
from ce_detect.core.types import Setting
from ce_detect.interventions.base import Intervention
from ce_detect.interventions.resolution import resize


class RobustCopy(Intervention):
    """Set the tensor at a site to what an adversarially trained copy of all layers before it makes of the input.

    A perturbation that is small and fools the classifier leaves such a copy nearly as it was, so the decision does not
    follow from its latent. An attacker who knows the copy must fool it too, which takes a larger perturbation. On
    ordinary inputs the copy errs more often than the classifier; what that costs in false alarms is what calibration
    finds out.

    The copy has the architecture of the classifier and float32 weights of its own, which are stored in the artifact
    under the names that ``torch.export`` gives them. They are the classifier's until
    `ce_detect.fitting.robust_copy` trains them. It may look at a smaller image, for about ``scale ** 2`` of a forward
    pass, where the classifier takes one.

    Attributes:
        layers: the copy; None until it is attached to a classifier.
        scale: of height and width, as the copy sees them.
    """

    family = "robust copy"
    from_input = True
    paper = "Madry et al. 2018, arXiv 1706.06083; Wong et al. 2020, arXiv 2001.03994"

    layers: nn.Module | None

    def __init__(self, *, site: str, scale: float = 1.0) -> None:
        settings: dict[str, Setting] = {} if scale == 1.0 else {"scale": scale}  # artifacts name a whole copy so
        super().__init__(site=site, draws=1, **settings)
        self.scale = scale
        self.layers = None

    def attach(self, classifier: Classifier) -> None:
        """Copy the layers before the site, unless that was done; see `Intervention.attach`."""
        if self.layers is not None:
            return
        if self.scale != 1.0 and not classifier.elastic:
            raise CalibrationError(f"this classifier takes one size alone, so no copy of it sees {self.scale:g} of it")
        layers = classifier.copied(self.site)
        if layers is None:
            raise CalibrationError(
                f"this classifier cannot be cut into segments, so there is no copy of what leads to {self.site!r}"
            )
        self.layers = layers.float()

    def forward(self, h: Tensor) -> Tensor:
        """Make the tensor at the site from pixels ``(batch, channels, height, width)``; see `Intervention.forward`."""
        assert self.layers is not None, "attach it to a classifier first"
        made: Tensor = self.layers(resize(h.float(), self.scale))
        return made
