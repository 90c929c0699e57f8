"""The registry of attacks: complete, read-only, and true to what there is in ART."""

from __future__ import annotations

import dataclasses
import inspect

import art.attacks.evasion
import numpy as np
import pytest
from art.attacks.attack import EvasionAttack
from support.attacks import FAST

from ce_detect.attacks import ATTACKS, REFUSED, Attack
from ce_detect.attacks.art_patches import PATCHED


def parameters(kind: str) -> set[str]:
    """Names of the arguments that an attack's class takes, here and in ART."""
    art_class = getattr(art.attacks.evasion, ATTACKS[kind].art)
    classes = (PATCHED.get(ATTACKS[kind].art, art_class), *art_class.__mro__)
    return {name for each in classes for name in inspect.signature(each.__init__).parameters}


@pytest.mark.parametrize("kind", ATTACKS)
def test_metadata_is_complete(kind: str) -> None:
    """Every entry states its name, norm, access, paper and cost, and ART has its class and takes its settings."""
    info = ATTACKS[kind]
    assert info.name == kind
    assert info.norm in ("Linf", "L2", "L1", "L0", "patch", "spatial")
    assert info.access in ("white-box", "scores", "decisions")
    assert "arXiv" in info.paper or "doi" in info.paper
    assert (set(info.defaults) - {"target"}) | set(info.fixed) <= parameters(kind)
    assert Attack.of(kind).passes > 0
    assert info.cost == {0: "low", 1: "medium", 2: "high"}[int(np.searchsorted((100, 3000), Attack.of(kind).passes))]
    assert ("gradients" in info.needs) == (info.access == "white-box")
    norm = {"Linf": np.inf, "L2": 2}.get(info.norm)
    assert info.fixed.get("norm", norm) == norm
    assert kind in FAST, "give it quick settings, or it is not tested"


def test_metadata_cannot_be_changed() -> None:
    """The registry and its entries are read-only."""
    with pytest.raises(TypeError):
        ATTACKS["mine"] = ATTACKS["fgsm"]  # type: ignore[index]
    with pytest.raises(TypeError):
        ATTACKS["fgsm"].defaults["eps"] = 1  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        ATTACKS["fgsm"].norm = "L2"  # type: ignore[misc]


def test_every_attack_of_art_is_adapted_or_left_out_with_a_reason() -> None:
    """An attack that a new version of ART brings must be decided on."""
    classes = {
        name
        for name, value in vars(art.attacks.evasion).items()
        if isinstance(value, type) and issubclass(value, EvasionAttack)
    }
    adapted = {info.art for info in ATTACKS.values()}
    assert not adapted & set(REFUSED)
    assert classes - adapted == set(REFUSED) & classes
    assert set(REFUSED) - classes <= {"BrendelBethgeAttack"}, "which is there where numba is"


def test_what_is_patched_is_in_the_registry() -> None:
    """No patch is left behind when its attack goes."""
    assert set(PATCHED) <= {info.art for info in ATTACKS.values()}
