"""Natural change: what cameras, codecs, scalers and lamps do to an image, and a detector should not flag."""

from ce_detect.data.corruptions.corruption import KINDS, MILD, SEVERITIES, TAUGHT, Corruption, generator_for
from ce_detect.data.corruptions.mixture import mixture

__all__ = ["KINDS", "MILD", "SEVERITIES", "TAUGHT", "Corruption", "generator_for", "mixture"]
