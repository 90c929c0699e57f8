"""Signatures of tiny models."""

from __future__ import annotations

from ce_detect.classifiers.base import PENULTIMATE, site_shapes
from ce_detect.features.signature import Signature
from ce_detect.interventions import AblateChannels, Flip, GaussianNoise, Scale, Shift
from support.models import Subject


def spatial(part: Subject) -> str:
    """The last site with a feature map."""
    shapes = site_shapes(part.classifier)
    return [site for site, shape in shapes.items() if len(shape) == 3][-1]


def signature_of(part: Subject, *, chunk: int | None = None) -> Signature:
    """Statistics at every site and interventions at the input and, where there is a feature map, at a latent."""
    channels = part.tiny.shape[0]
    low, high = part.tiny.bounds
    site = spatial(part)
    interventions = [
        Flip(),
        AblateChannels(site=site, groups=3),
        GaussianNoise(draws=2, channels=channels, width=high - low),
        Shift(),
        Scale(site=site),
    ]
    sites = tuple(name for name in part.classifier.sites if name != PENULTIMATE)
    return Signature(part.classifier, interventions, sites=sites, chunk=chunk)
