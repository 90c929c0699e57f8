"""The manifest: typed in Python, and the same plain data as ever in JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.manifests import manifest, plain

from ce_detect.artifacts.heads import Cascade, Disagreement, Fused, HeadPart, Mahalanobis, Network
from ce_detect.artifacts.manifest import Manifest, Promise, Runnable
from ce_detect.core.errors import ArtifactError

CASCADE = {
    "cleared": 0.6,
    "cleared_attacked": {"pgd": 0.01},
    "cost_of_others": 2.5,
    "served_cost_of_others": {"1": 3.0},
}


@pytest.mark.parametrize(
    "given",
    [
        plain(),
        plain(figures={"cascade": CASCADE, "hardened_copy": {"radius": 0.1, "images": 5}}),
        plain(budget=2.0, signature={"recovery": None, "chunk": 64}, model={"label": 3, "multi_label": True}),
        plain(deploy={"precision": "fp16"}),
        plain(deploy={"precision": "int8", "ranges": [[0.0, 0.1], [-2.5, 3.0]]}),
        plain(figures={"test": {"clean": {"n": 3, "accuracy": None}}, "hardening": [{"name": "round", "examples": 2}]}),
    ],
)
def test_plain_data_comes_back_as_it_was(given: dict[str, Any]) -> None:
    """Every key and value that users read is the one that was written, through JSON and back."""
    read = Manifest.of(json.loads(json.dumps(given)))
    assert read.plain() == given
    assert Manifest.of(read.plain()) == read


def test_figures_that_do_not_exist_have_no_key() -> None:
    """Without a cascade or a copy there is no word of them, nor of a deployment in float32."""
    assert "deploy" not in manifest().plain()
    assert set(manifest().plain()["figures"]) == {"cost", "served_cost", "test", "hardening"}


def test_names_are_better_in_python_than_in_json() -> None:
    """What JSON called by another name first is read by the name of its concept."""
    read = manifest(figures={"cascade": CASCADE, "hardened_copy": {"radius": 0.1}})
    assert read.figures.onnxruntime_cost == {"1": 1.6}
    assert read.figures.cascade is not None
    assert read.figures.cascade.onnxruntime_cost_of_others == {"1": 3.0}
    assert read.figures.robust_copy == {"radius": 0.1}
    assert read.signature.layer_consistency is not None
    assert read.signature.layer_consistency.widths == (8, 16)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"fpr": "low"}, r"Expected `float`, got `str` - at `\$\.fpr`"),
        ({"guarantee": "always"}, r"Invalid enum value 'always' - at `\$\.guarantee`"),
        ({"model": {"input_shape": [28, 28]}}, r"length 3.* at `\$\.model\.input_shape`"),
        ({"model": {"bounds": [0, "1"]}}, r"Expected `float`, got `str` - at `\$\.model\.bounds\[1\]`"),
        ({"signature": {"recovery": {"sites": ["a", "b"]}}}, r"field `widths` - at `\$\.signature\.recovery`"),
        ({"figures": {"cost": None}}, r"at `\$\.figures\.cost`"),
        ({"fpr": 1.5}, r"`float` < 1.0 - at `\$\.fpr`, which is 1\.5"),
        ({"recipe": {"prevalence": 0.0}}, r"`float` > 0.0 - at `\$\.recipe\.prevalence`, which is 0"),
        ({"recipe": {"prevalence": float("inf")}}, r"`\$\.recipe\.prevalence` is inf, expected a finite number"),
        ({"model": {"bounds": [1, 0]}}, r"bounds = \(1, 0\), expected the smaller one first - at `\$\.model`"),
        ({"model": {"input_shape": [3, 0, 4]}}, r"`int` >= 1 - at `\$\.model\.input_shape\[1\]`, which is 0"),
        ({"model": {"resizing": {"resize": 10**6}}}, r"expected sides of at most 65536 pixels"),
        ({"signature": {"chunk": 0}}, r"`int` >= 1 - at `\$\.signature\.chunk`"),
        ({"signature": {"names": []}}, "1 interventions and 0 names, expected as many"),
        ({"signature": {"recovery": {"sites": ["a"], "widths": [1]}}}, "1 sites and 1 widths"),
        ({"search": {"a": 2**63}}, r"`\$\.search\.a` has 64 bits"),
        ({"seed": -1}, r"`int` >= 0 - at `\$\.seed`, which is -1"),
        ({"heads": {"head": {"kind": "forest"}}}, r"Invalid value 'forest' - at `\$\.heads\.head\.kind`"),
        ({"heads": {"head": {"kind": "cascade", "first": {"kind": "network"}}}}, "field `second`"),
    ],
)
def test_a_field_that_cannot_be_read_is_named(change: dict[str, Any], field: str) -> None:
    """Its place, what stands there, and what was expected."""
    with pytest.raises(ArtifactError, match=field):
        Manifest.of(plain(**change))


@pytest.mark.parametrize("name", sorted(plain()))
def test_a_missing_field_is_named(name: str) -> None:
    """Nothing of a manifest may be left out."""
    given = plain()
    del given[name]
    with pytest.raises(ArtifactError, match=f"missing required field `{name}`"):
        Manifest.of(given)


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (Network(), {"kind": "network"}),
        (Mahalanobis(), {"kind": "mahalanobis"}),
        (Fused(), {"kind": "fused"}),
        (Disagreement(Fused()), {"kind": "disagreement", "inner": {"kind": "fused"}}),
        (Cascade(Network(), Fused()), {"kind": "cascade", "first": {"kind": "network"}, "second": {"kind": "fused"}}),
    ],
)
def test_heads_say_their_kind(head: HeadPart, said: dict[str, Any]) -> None:
    """One that is made of others says theirs, too."""
    read = manifest(heads={"head": said})
    assert read.heads.head == head
    assert read.plain()["heads"]["head"] == said


def test_the_head_of_the_detector_beside_is_named_where_there_is_one() -> None:
    """A detector that learned from clean images alone has none beside it."""
    assert manifest().heads.clean_only is None
    beside = plain(heads={"clean_only": {"kind": "mahalanobis"}})
    assert Manifest.of(beside).heads.clean_only == Mahalanobis()
    assert Manifest.of(beside).plain() == beside


def test_a_graph_needs_only_part_of_a_manifest() -> None:
    """What a graph of any version says is enough to run it, and to say what it promises."""
    said = {
        "model": {"input_shape": [3, 4, 5], "bounds": [0, 1]},
        "signature": {"chunk": 8},
        "fpr": 0.05,
        "guarantee": "marginal",
        "confidence": 0.9,
    }
    assert Runnable.of(said).model.bounds == (0.0, 1.0)
    assert Runnable.of(said).signature.chunk == 8
    assert Promise.of(said).guarantee == "marginal"
