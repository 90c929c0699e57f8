"""Interventions in words."""

from __future__ import annotations

from torch import nn

from ce_detect.classifiers.base import INPUT

WORDS = {
    "AblateChannels": "set each of {groups} groups of channels to their means",
    "AblateConcept": "take out each of {concepts} learned concepts",
    "BitDepth": "keep {bits} bits a pixel",
    "Blur": "blur by {sigma:g} pixels",
    "Clip": "clip activations at {spread:g} standard deviations",
    "Contrast": "multiply the contrast by {factor:g}",
    "Downscale": "scale to {scale:g} of the sides",
    "DropTokens": "drop tokens, keep a share of {keep:g}",
    "Flip": "exchange left and right",
    "GaussianNoise": "add noise of {sigma:g}",
    "GradientStep": "take a step along the gradient",
    "Grey": "take the colours away",
    "GridMask": "hide cells of a grid of {cells} by {cells}",
    "LearnedMask": "multiply by {draws} learned masks",
    "MakeCounterfactual": "show it as the class that comes second",
    "Median": "median of {size} by {size} pixels",
    "Pool": "pool {size} by {size} places",
    "RandomMask": "hide random regions",
    "RobustCopy": "ask the robust copy in the classifier's place",
    "Rotate": "turn by {degrees:g} degrees",
    "Scale": "multiply by {factor:g}",
    "Shift": "move by {dx} to the right and {dy} down",
    "UniversalPerturbation": "add a learned pattern of {eps:g}",
    "Zoom": "zoom by {factor:g}",
}
"""What each kind does, with its settings."""


def in_words(intervention: nn.Module) -> str:
    """What an intervention does, at which scale, and where, such as ``"exchange left and right, in layer stage1"``."""
    kind, settings = type(intervention).__name__, dict(intervention.settings)  # type: ignore[arg-type]
    words = WORDS[kind].format(**settings)
    scale = settings.get("scale", 1.0)
    if scale != 1.0 and "{scale" not in WORDS[kind]:
        words += f", at {scale:g} of the sides"
    return words if intervention.site == INPUT else f"{words}, in layer {intervention.site}"
