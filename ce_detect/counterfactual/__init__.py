"""Counterfactual images by a generator, and one network that is classifier and discriminator (Bischof et al. 2023)."""

from ce_detect.counterfactual.model import Counterfactual, Counterfactuals
from ce_detect.counterfactual.settings import TrainingSettings
from ce_detect.counterfactual.training import fit

__all__ = ["Counterfactual", "Counterfactuals", "TrainingSettings", "fit"]
