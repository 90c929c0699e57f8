"""Artifacts of format 3, as versions before wrote them, read in the present form."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save
from support.manifests import plain
from support.manifests import tensors as fitting

from ce_detect.artifacts import upgrade
from ce_detect.artifacts.file import Artifact
from ce_detect.core.errors import ArtifactError

Tensors = dict[str, NDArray[Any]]

NETWORK = ("center", "scale", "slope", "offset", "weight", "bias", "weight0", "bias0")
DISTANCE = ("center", "scale", "slope", "offset", "mean", "precision", "directions")
TREES = ("center", "scale", "slope", "offset", "feature", "threshold", "left", "right", "value", "bias")
FUSED = (
    *("center", "scale", "slope", "offset", "location", "spread", "middle", "width"),
    *(f"network.{name}" for name in NETWORK),
    *(f"clean.{name}" for name in DISTANCE),
)


def under(prefix: str, *names: str) -> tuple[str, ...]:
    """Names with a prefix."""
    return tuple(f"{prefix}.{name}" for name in names)


def old_manifest(**changes: Any) -> dict[str, Any]:
    """A manifest as format 3 had it: no word of heads."""
    made = plain(**changes)
    del made["heads"]
    return made


def old_file(path: Path, tensors: Tensors, manifest: dict[str, Any]) -> Path:
    """Write a file of format 3, sealed as it was then."""
    tensors = dict(sorted(tensors.items()))
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        digest.update(f"{name} {tensor.dtype} {tensor.shape}\n".encode())
        digest.update(tensor.tobytes())
    said = {**manifest, "format": 3, "sha256": digest.hexdigest()}
    seal = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
    text = json.dumps({**said, "seal": seal}, sort_keys=True, allow_nan=False)
    path.write_bytes(
        save({name: np.asarray(x, order="C") for name, x in tensors.items()}, metadata={"ce_detect": text})
    )
    return path


def old_tensors(**heads: Any) -> Tensors:
    """Those of a detector, as format 3 called them."""
    present = fitting(plain(heads=heads))
    return {name.replace("layer_consistency", "recovery"): x for name, x in present.items()}


def test_an_old_file_is_read_and_written_in_the_present_form(tmp_path: Path) -> None:
    """Nothing but the names of tensors changes, the manifest gains its heads, and a second reading changes nothing."""
    beside = {"clean_only": {"kind": "mahalanobis"}}
    old = old_tensors(**beside)
    loaded = Artifact.load(old_file(tmp_path / "old.safetensors", old, old_manifest()))
    assert loaded.manifest.plain() == plain(heads=beside)
    before, after = (f"signature.{part}.weight" for part in ("recovery", "layer_consistency"))
    assert set(loaded.tensors) - set(old) >= {after}
    np.testing.assert_array_equal(loaded.tensors[after], old[before])
    loaded.save(tmp_path / "new.safetensors")
    again = Artifact.load(tmp_path / "new.safetensors")
    assert again.to_bytes() == loaded.to_bytes()
    assert again.manifest == loaded.manifest


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (NETWORK, {"kind": "network"}),
        (("center", "scale", "slope", "offset", "weight", "bias"), {"kind": "network"}),
        (DISTANCE, {"kind": "mahalanobis"}),
        (FUSED, {"kind": "fused"}),
        (
            ("center", "scale", "effect", "odds", "middle", "width", "meeting", *under("inner", *FUSED)),
            {"kind": "disagreement", "inner": {"kind": "fused"}},
        ),
        (
            ("center", "scale", "level", *under("first", *NETWORK), *under("second", *FUSED)),
            {"kind": "cascade", "first": {"kind": "network"}, "second": {"kind": "fused"}},
        ),
    ],
)
def test_tensors_tell_the_kind_of_a_head(names: tuple[str, ...], kind: dict[str, Any]) -> None:
    """Each kind of head had tensors of its own, and those of its parts under their names."""
    assert upgrade.heads(under("head", *names)) == {"head": kind}


@pytest.mark.parametrize(
    "names",
    [
        TREES,
        ("center", *under("network", *TREES), *under("clean", *DISTANCE)),
        ("level", *under("first", *NETWORK), *under("second", *under("network", *TREES))),
    ],
)
def test_a_head_of_trees_is_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    """There is no such head any longer, alone or as a part of another; the remedy is another calibration."""
    numbers = {name: np.zeros(1, np.float32) for name in under("head", *names)}
    path = old_file(tmp_path / "old.safetensors", numbers, old_manifest())
    with pytest.raises(ArtifactError, match=r"old\.safetensors .*head of decision trees.*calibrate again"):
        Artifact.load(path)


def test_the_robust_copy_has_its_present_name() -> None:
    """In what makes it again, in its name, and in what the search says of it; figures keep their keys."""
    old = old_manifest(
        signature={
            "interventions": [{"kind": "HardenedCopy", "site": "stage2"}, {"kind": "Flip", "site": "input"}],
            "names": ["HardenedCopy()@stage2", "Flip()@input"],
        },
        search={"chosen": [{"name": "HardenedCopy()@stage2"}]},
        figures={"hardened_copy": {"radius": 0.1}},
    )
    new = upgrade.manifest(old, {"head": {"kind": "network"}})
    assert new["signature"]["interventions"][0] == {"kind": "RobustCopy", "site": "stage2"}
    assert new["signature"]["names"] == ["RobustCopy()@stage2", "Flip()@input"]
    assert new["search"]["chosen"] == [{"name": "RobustCopy()@stage2"}]
    assert new["figures"]["hardened_copy"] == {"radius": 0.1}
    assert old["signature"]["names"][0] == "HardenedCopy()@stage2"


def test_what_the_first_files_of_format_3_did_not_say_is_filled_in() -> None:
    """Keys that came later have the value that stood for their absence."""
    old = old_manifest()
    for part, key in (
        ("model", "label"),
        ("model", "multi_label"),
        ("signature", "recovery"),
        ("figures", "hardening"),
    ):
        del old[part][key]
    del old["cascade"], old["secret_seed"], old["figures"]["served_cost"]
    new = upgrade.manifest(old, {"head": {"kind": "network"}})
    assert (new["cascade"], new["secret_seed"]) == (False, False)
    assert (new["model"]["label"], new["model"]["multi_label"]) == (None, False)
    assert (new["signature"]["recovery"], new["figures"]["hardening"], new["figures"]["served_cost"]) == (None, [], {})


def test_a_manifest_that_says_its_heads_stays_as_it_is() -> None:
    """That of a present graph is no old one."""
    assert upgrade.manifest(plain(), {"head": {"kind": "network"}}) == plain()


def test_an_old_file_that_was_edited_is_refused(tmp_path: Path) -> None:
    """The seal of an old file counts as that of a new one does."""
    path = old_file(tmp_path / "old.safetensors", old_tensors(), old_manifest())
    path.write_bytes(path.read_bytes().replace(b'\\"fpr\\": 0.01', b'\\"fpr\\": 0.02'))
    with pytest.raises(ArtifactError, match="edited or damaged since it was made"):
        Artifact.load(path)
