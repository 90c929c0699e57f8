"""Items of a signature, and where each is in it."""

from __future__ import annotations

import numpy as np
from support.models import subject, tiny_images

from ce_detect.calibrate.items import Item, columns_of, signature_of
from ce_detect.classifiers.base import site_shapes
from ce_detect.features.layer_consistency import LayerConsistency
from ce_detect.features.signature import feature_names
from ce_detect.fitting import shapley
from ce_detect.interventions import Flip, GradientStep, GridMask, RandomMask, Scale


def test_every_feature_belongs_to_one_item_or_is_free() -> None:
    """Interventions, moments, recovery errors and Shapley values; the free statistics are what is left."""
    classifier = subject("plain").classifier
    site, other = classifier.sites[:2]
    widths = tuple(2 * site_shapes(classifier)[name][0] for name in (site, other))
    recovery = Item("recovery", layer_consistency=LayerConsistency((site, other), widths))
    values = Item("shapley", shapley=shapley.fitted(classifier, tiny_images("plain", 8).numpy()))
    items = [Item.of(Flip()), Item(f"moments@{site}", site=site), recovery, values, Item.of(Scale(site=other))]
    signature = signature_of(classifier, items, None)
    found = columns_of(items, signature.names)
    assert sorted(np.concatenate(list(found.values())).tolist()) == list(range(len(signature.names)))
    assert tuple(signature.names[i] for i in found[items[0].name]) == feature_names(Flip())
    assert len(found["recovery"]) == 1
    assert all(signature.names[i].startswith("trace.shapley") for i in found["shapley"])
    assert values.family == "shapley"
    alone = signature_of(classifier, [], None)
    assert tuple(signature.names[i] for i in found[""]) == alone.names
    assert columns_of([], alone.names)[""].tolist() == list(range(len(alone.names)))


def test_an_item_says_its_family_and_whether_a_graph_can_hold_it() -> None:
    """Free statistics always can."""
    assert (Item.of(Flip()).family, Item("m", site="a").family, Item("r").family) == ("geometry", "moments", "recovery")
    assert Item("m", site="a").exportable
    assert not Item.of(GradientStep(low=0.0, high=1.0)).exportable


def test_what_is_done_to_the_whole_input_takes_a_forward_pass_for_each_draw() -> None:
    """Smaller images, layers and statistics may take nothing."""
    assert Item.of(GridMask(cells=2)).passes == 4
    assert Item.of(RandomMask(draws=2)).passes == 2
    for item in (Item.of(Flip(scale=0.75)), Item.of(Scale(site="relu")), Item("moments@relu", site="relu")):
        assert item.passes == 0
