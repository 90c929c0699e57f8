"""Interventions do(·), one family a file."""

from ce_detect.interventions.adversarial import GradientStep, UniversalPerturbation
from ce_detect.interventions.base import Intervention, LearnedIntervention, Resume, from_spec, kinds
from ce_detect.interventions.channels import AblateChannels, Clip, DropTokens, Scale
from ce_detect.interventions.concept import AblateConcept
from ce_detect.interventions.counterfactual import MakeCounterfactual
from ce_detect.interventions.geometry import Flip, Rotate, Shift, Zoom
from ce_detect.interventions.masking import GridMask, LearnedMask, RandomMask
from ce_detect.interventions.noise import GaussianNoise
from ce_detect.interventions.photometric import BitDepth, Blur, Contrast, Grey, Median
from ce_detect.interventions.resolution import Downscale, Pool
from ce_detect.interventions.robust_copy import RobustCopy

__all__ = [
    "AblateChannels",
    "AblateConcept",
    "BitDepth",
    "Blur",
    "Clip",
    "Contrast",
    "Downscale",
    "DropTokens",
    "Flip",
    "GaussianNoise",
    "GradientStep",
    "Grey",
    "GridMask",
    "Intervention",
    "LearnedIntervention",
    "LearnedMask",
    "MakeCounterfactual",
    "Median",
    "Pool",
    "RandomMask",
    "Resume",
    "RobustCopy",
    "Rotate",
    "Scale",
    "Shift",
    "UniversalPerturbation",
    "Zoom",
    "from_spec",
    "kinds",
]
