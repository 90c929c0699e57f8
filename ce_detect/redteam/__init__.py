"""Adaptive attacks: the attacker knows classifier, detector and threshold, and wants to fool one and pass the other.

Everything attacks a `ce_detect.redteam.target.Target`, so that other detectors can be attacked by
the same code. Perturbations are bounded in the maximum norm, with a bound of its own for each image.
"""
