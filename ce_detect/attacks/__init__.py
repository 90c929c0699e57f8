"""The attacks that make a calibration set: a registry of adapters to ART, and functions of the user's.

Strengths are fractions of the pixel range: ``eps = "8/255"`` is 8 steps of 255 whatever the bounds of the model are.
An L2 radius of 0.5 is half the pixel range. Importing this imports no torch and no ART.
"""

from ce_detect.attacks.attack import Attack
from ce_detect.attacks.registry import ATTACKS, REFUSED, AttackInfo

__all__ = ["ATTACKS", "REFUSED", "Attack", "AttackInfo"]
