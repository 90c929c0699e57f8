"""Classifiers with weights that others trained, from package registries."""
