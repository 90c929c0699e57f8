"""All attacks together, and the smallest perturbations with which one of them gets through."""

from __future__ import annotations

import pytest
import torch
from support.calibrated import guard
from support.targets import Line, case, gated, reach

from ce_detect.redteam.radii import WHITE_BOX, Case, evades, radii, union
from ce_detect.redteam.target import Alone, Target


def test_more_steps_are_never_weaker() -> None:
    """All attacks together get at least as many images through with more steps."""
    some = case(16)
    shares = [union(gated(), some, reach(16), steps=steps).evaded.float().mean() for steps in (2, 8, 25)]
    assert shares[0] <= shares[1] <= shares[2]
    assert shares[0] < shares[2]


def test_same_attack_same_bytes() -> None:
    """Two runs with one seed give the same images, also with random restarts."""
    some = case(6)
    first, second = (union(gated(), some, reach(6), steps=4, restarts=1, seed=3).x for _ in range(2))
    assert torch.equal(first, second)


def test_radii_of_a_line() -> None:
    """The smallest level that moves the mean across the boundary is found, and infinity where none does."""

    class Passing(Line):
        threshold = 2.0

    x = torch.tensor([0.45, 0.3, 0.0]).view(3, 1, 1, 1).expand(3, 1, 4, 4)
    levels = torch.linspace(0.02, 0.3, 15).double().numpy()
    found, through = radii(Passing(), Case.of(Passing(), x), levels, steps=10)
    assert found.tolist() == pytest.approx([0.06, 0.22, float("inf")], abs=1e-6)
    assert (through[:2].mean((1, 2, 3)) > 0.5).all()
    assert torch.equal(through[2], x[2])


def test_radii_behind_a_gate_are_not_smaller() -> None:
    """Whatever passes the gate fools the classifier too; levels in between are not skipped."""
    some, levels, attacks = case(8), torch.linspace(2, 24, 12).double().numpy() / 255, WHITE_BOX[:1]
    alone, _ = radii(Alone(guard().classifier), some, levels, steps=10, attacks=attacks)
    joint, through = radii(gated(), some, levels, steps=10, attacks=attacks)
    assert (joint >= alone - 2.01 / 255).all()
    assert evades(gated(), some, through)[torch.from_numpy(joint < 1)].all()


def test_everything_takes_a_target_of_ones_own() -> None:
    """A detector that is not ours is attacked through the same protocol."""
    target: Target = Line()
    some = Case.of(target, torch.full((2, 1, 4, 4), 0.45))
    best = union(target, some, torch.full((2,), 0.2), steps=5)
    assert best.fooled.all()
    assert not best.evaded.any()
