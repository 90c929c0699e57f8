"""What a trained counterfactual adds to the candidates of a search."""

from __future__ import annotations

from pathlib import Path

from ce_detect.calibrate.items import Item
from ce_detect.classifiers.base import Classifier
from ce_detect.core.errors import CalibrationError
from ce_detect.counterfactual import Counterfactual
from ce_detect.features.fakeness import Fakeness
from ce_detect.interventions import MakeCounterfactual


def items(classifier: Classifier, path: Path | None) -> list[Item]:
    """Showing the input as another class, and its fakeness; nothing where no counterfactual was given.

    Args:
        classifier: what is guarded.
        path: of what `ce_detect.counterfactual.Counterfactual.save` wrote.

    Raises:
        ArtifactError: the file cannot be read.
        CalibrationError: it was trained for other inputs or classes.
    """
    if path is None:
        return []
    made = Counterfactual.load(path, classifier)
    manifest = made.manifest
    here = (classifier.input_shape, classifier.num_classes, classifier.bounds)
    there = (manifest.input_shape, manifest.classes, manifest.bounds)
    if here != there or classifier.multi_label:
        listed = [f"inputs {shape}, {classes} classes, bounds {bounds}" for shape, classes, bounds in (there, here)]
        several = ", of which several may hold at once" if classifier.multi_label else ""
        raise CalibrationError(
            f"{path} was trained for {listed[0]}, but the classifier takes {listed[1]}{several}: train one on images "
            "as the classifier takes them, with its classes"
        )
    size = "own" if manifest.classifier is not None else f"width={manifest.settings['width']}"
    fakeness = Item(f"fakeness({size}, depth={manifest.settings['depth']})", fakeness=Fakeness.of(made, classifier))
    return [Item.of(MakeCounterfactual.of(made).to(classifier.device)), fakeness]
