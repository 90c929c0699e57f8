"""Interventions do(·), one family a file."""

from ce_detect.interventions.base import Intervention, from_spec, kinds
from ce_detect.interventions.geometry import Flip, Rotate, Shift, Zoom
from ce_detect.interventions.latent import AblateChannels, Clip, Scale
from ce_detect.interventions.masking import GridMask, RandomMask
from ce_detect.interventions.noise import GaussianNoise
from ce_detect.interventions.photometric import BitDepth, Blur, Contrast, Grey, Median
from ce_detect.interventions.resolution import Downscale, Pool

__all__ = [
    "AblateChannels",
    "BitDepth",
    "Blur",
    "Clip",
    "Contrast",
    "Downscale",
    "Flip",
    "GaussianNoise",
    "Grey",
    "GridMask",
    "Intervention",
    "Median",
    "Pool",
    "RandomMask",
    "Rotate",
    "Scale",
    "Shift",
    "Zoom",
    "from_spec",
    "kinds",
]
