"""From a classifier and clean images to a detector: attacks, attacked sets, budget search, fit."""
