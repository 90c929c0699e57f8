"""Grad-CAM and Grad-CAM++ at the last feature map of a classifier."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ce_detect.classifiers.base import Classifier, site_shapes
from ce_detect.core import extras
from ce_detect.core.errors import UsageError
from ce_detect.explain.methods.base import Method

TINY = 1e-12
"""Keeps a place whose gradients are all zero from a division by zero."""


class _After(nn.Module):
    """What follows a feature map, as the module with a layer that Captum asks for."""

    def __init__(self, classifier: Classifier, site: str, x: Tensor) -> None:
        super().__init__()
        self.latent = nn.Identity()
        self._resume: Callable[[Tensor], Tensor] = lambda latent: classifier.resume(site, latent, x)

    def forward(self, latent: Tensor) -> Tensor:
        """Logits that follow from a latent."""
        return self._resume(self.latent(latent))


class GradCAM(Method):
    """Channels of the last feature map, weighted by the mean gradient of the label's logit (Captum's)."""

    name = "grad-cam"
    title = "Grad-CAM"
    paper = "Selvaraju et al. 2017, arXiv 1610.02391"

    def _maps(self, classifier: Classifier, x: Tensor, labels: Tensor) -> Tensor:
        captum = extras.module("captum.attr", self.title, extra="explain")
        site = last_feature_map(classifier)
        latent = _latent(classifier, site, x)
        after = _After(classifier, site, x)
        with torch.enable_grad():
            found: Tensor = captum.LayerGradCam(after, after.latent).attribute(
                latent, target=labels, relu_attributions=True
            )
        return found[:, 0]


class GradCAMPlusPlus(Method):
    """The same with weights of second and third derivatives of the exponential of the logit (paper, equation 19)."""

    name = "grad-cam++"
    title = "Grad-CAM++"
    paper = "Chattopadhyay et al. 2018, arXiv 1710.11063"

    def _maps(self, classifier: Classifier, x: Tensor, labels: Tensor) -> Tensor:
        site = last_feature_map(classifier)
        with torch.enable_grad():
            latent = _latent(classifier, site, x).requires_grad_()
            z = classifier.resume(site, latent, x).gather(1, labels[:, None])
            (gradient,) = torch.autograd.grad(z.sum(), latent)
        latent = latent.detach()
        cubed = latent.sum((2, 3), keepdim=True) * gradient**3
        share = gradient**2 / (2 * gradient**2 + cubed + TINY)
        weights = (share * gradient.relu()).sum((2, 3), keepdim=True)
        return (weights * latent).sum(1).relu()


def last_feature_map(classifier: Classifier) -> str:
    """The last site whose tensor is a feature map.

    Raises:
        UsageError: the classifier has none, as a vision transformer.
    """
    shapes = site_shapes(classifier)
    found = [site for site in classifier.sites if len(shapes[site]) == 3]
    if not found:
        raise UsageError(
            f"Grad-CAM needs a layer with a feature map (channels, height, width), and this model has none; its layers "
            f"are {', '.join(classifier.sites) or 'not known'}. Take a method that looks at pixels, such as effect-map"
        )
    return found[-1]


def _latent(classifier: Classifier, site: str, x: Tensor) -> Tensor:
    with torch.no_grad():
        return classifier.trace(x, (site,)).latents[site]
