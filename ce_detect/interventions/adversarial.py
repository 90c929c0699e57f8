"""do(push against the decision): a perturbation that is the same for all inputs, or one gradient step for each."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ce_detect.classifiers.base import INPUT
from ce_detect.classifiers.log_odds import log_odds
from ce_detect.core.errors import UsageError
from ce_detect.interventions.base import Intervention, LearnedIntervention, Range, Resume, shape_of

CLIPPED_LOSS = 9.0
"""Cross-entropy, in nats, beyond which an image no longer pulls at the universal perturbation (beta in the paper)."""


class UniversalPerturbation(LearnedIntervention):
    """Add one perturbation that changes as many decisions as it can, and clip to the bounds.

    It is found at calibration: steps of Adam raise the cross-entropy between the classifier's own decisions and its
    logits, clipped at `CLIPPED_LOSS` an image so that images which are already lost do not rule; after each step the
    perturbation is projected to ``eps`` times the pixel range.
    """

    family = "adversarial"
    learning_rate = 0.01
    paper = "Shafahi et al. 2020, Universal Adversarial Training, arXiv 1811.11304; Yang et al. 2019, arXiv 1902.03380"
    ranges: ClassVar = {"eps": Range(0, 1, above=True)}

    def __init__(
        self, *, shape: str, site: str = INPUT, eps: float = 0.02, low: float = 0.0, high: float = 1.0
    ) -> None:
        super().__init__(site=site, shape=shape, eps=eps, low=low, high=high)
        self.perturbation = nn.Parameter(torch.zeros(1, *shape_of(shape)), requires_grad=False)

    def forward(self, h: Tensor) -> Tensor:
        """Add, see `Intervention.forward`."""
        low, high = float(self.settings["low"]), float(self.settings["high"])
        return (h + (high - low) * self.perturbation).clamp(low, high)

    def start(self, h: Tensor, generator: torch.Generator) -> None:
        """Start within a tenth of the ball; at zero itself all images of one decision pull alike."""
        self.perturbation.copy_(torch.empty(self.perturbation.shape).uniform_(-1, 1, generator=generator))
        self.perturbation.mul_(0.1 * float(self.settings["eps"]))

    def loss(self, h: Tensor, z: Tensor, resume: Resume, *, multi_label: bool = False) -> Tensor:
        """Negative clipped cross-entropy of the decision, see `LearnedIntervention.loss`."""
        odds = log_odds(resume(self(h)), z.argmax(1), multi_label=multi_label)
        return -F.softplus(-odds).clamp(max=CLIPPED_LOSS).mean()

    def project(self) -> None:
        """Keep the perturbation within ``eps``."""
        eps = float(self.settings["eps"])
        self.perturbation.clamp_(-eps, eps)


class GradientStep(Intervention):
    """One step against (``toward``: in favour of) the decision, along the gradient of its log-odds.

    The step has the length ``strength`` times the standard deviation of each input's own tensor: in every entry for
    the ``norm`` ``"sign"``, in the mean square for ``"l2"``. At the input the result is clipped to the bounds.
    It runs the classifier forward and backward from its site, so a late site is cheap; it cannot be exported.
    ``multi_label`` says whether each logit is the log-odds of a label of its own.
    """

    family = "adversarial"
    exportable = False
    latents = True
    tokens = True
    needs_resume = True
    paper = "Goodfellow et al. 2015, arXiv 1412.6572; Yang et al. 2019, arXiv 1902.03380"
    ranges: ClassVar = {
        "strength": Range(0, above=True),
        "toward": (False, True),
        "norm": ("sign", "l2"),
        "multi_label": (False, True),
    }

    def __init__(
        self, *, site: str = INPUT, strength: float = 0.1, toward: bool = False, norm: str = "sign",
        low: float = 0.0, high: float = 1.0, multi_label: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(
            site=site, strength=strength, toward=toward, norm=norm, low=low, high=high, multi_label=multi_label
        )

    def forward(self, h: Tensor, resume: Resume | None = None) -> Tensor:
        """Step, see `Intervention.forward`.

        Args:
            h: see there.
            resume: logits that follow from a tensor at the site.

        Raises:
            UsageError: no classifier to ask, or inside an exported graph, which has no gradients.
        """
        if torch.compiler.is_exporting() or torch.onnx.is_in_onnx_export():
            raise UsageError(
                f"{self.name} takes a gradient at run time and cannot be exported. Calibrate with exportable "
                "interventions only: a search does, a recipe must not name GradientStep"
            )
        if resume is None:
            raise UsageError(f"{self.name} asks the classifier: give it resume, as a Signature does")
        signs = self.settings["norm"] == "sign"  # whose derivative is zero
        followed = torch.is_grad_enabled() and h.requires_grad and not signs
        # the other kernels of attention have no second derivative
        with torch.inference_mode(False), torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            leaf = h if followed else h.detach().clone().requires_grad_(True)
            z = resume(leaf)
            odds = log_odds(z, z.argmax(-1), multi_label=bool(self.settings["multi_label"])).sum()
            (gradient,) = torch.autograd.grad(odds, leaf, create_graph=followed)
        own = tuple(range(1, h.ndim))
        length = (gradient.square().mean(own, keepdim=True) + 1e-24).sqrt()
        direction = gradient.sign() if signs else gradient / length
        strength = float(self.settings["strength"]) * (1 if self.settings["toward"] else -1)
        stepped = h + strength * h.std(own, keepdim=True) * direction
        if self.site != INPUT:
            return stepped
        return stepped.clamp(float(self.settings["low"]), float(self.settings["high"]))
