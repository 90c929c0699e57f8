"""Grad-CAM and Grad-CAM++ where the gradients are known: a mean over places, then a linear layer."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from support.models import tiny_classifier, tiny_images

from ce_detect.explain.methods import method
from ce_detect.explain.methods.class_activation import last_feature_map


def known(label: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents ``(2, channels, height, width)`` before the mean, and gradients ``(channels, 1, 1)`` of a logit there."""
    classifier, x = tiny_classifier("plain"), tiny_images("plain", 2)
    site = last_feature_map(classifier)
    with torch.no_grad():
        latent = classifier.trace(x, (site,)).latents[site]
    assert classifier.head_weight is not None
    return latent, classifier.head_weight[label].detach()[:, None, None] / latent[0, 0].numel()


def enlarged(maps: torch.Tensor) -> torch.Tensor:
    """In the size of the pictures."""
    return F.interpolate(maps[:, None], (16, 16), mode="bilinear", align_corners=False)[:, 0]


def test_grad_cam_is_the_sum_of_channels_weighted_by_their_gradients() -> None:
    """What is below zero is cut."""
    latent, gradient = known(2)
    found = method("grad-cam").maps(tiny_classifier("plain"), tiny_images("plain", 2), [2, 2])
    torch.testing.assert_close(found, enlarged((latent * gradient).sum(1).relu()), rtol=1e-3, atol=1e-4)


def test_grad_cam_plus_plus_is_equation_19() -> None:
    """Weights of squares and cubes of the gradients, which must be above zero."""
    latent, gradient = known(2)
    share = gradient**2 / (2 * gradient**2 + latent.sum((2, 3), keepdim=True) * gradient**3)
    weights = share * gradient.relu() * latent[0, 0].numel()
    found = method("grad-cam++").maps(tiny_classifier("plain"), tiny_images("plain", 2), [2, 2])
    torch.testing.assert_close(found, enlarged((weights * latent).sum(1).relu()), rtol=1e-3, atol=1e-4)
