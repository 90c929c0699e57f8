"""Peers as targets of adaptive attacks."""

from __future__ import annotations

import pytest
import torch
from support.attacked_digits import attacked, classifier, fitted

from benchmarks.adaptive.attackable import PEERS

pytestmark = pytest.mark.usefixtures("few_draws")


@pytest.mark.parametrize("name", PEERS)
def test_an_adaptive_attack_sees_the_scores_of_the_peer_and_their_gradient(name: str) -> None:
    """What is attacked in the place of a peer scores as it does, and has a gradient at attacked images."""
    clean, sets = attacked(0, 240)
    score = PEERS[name](classifier(), clean, sets)
    x = torch.from_numpy(attacked(240, 300)[1]["deepfool"].x[:12]).requires_grad_(True)
    found = score(x, classifier().logits(x))
    expected = torch.from_numpy(fitted(name).score(x.detach())).float()
    torch.testing.assert_close(found.detach(), expected, rtol=2e-3, atol=2e-3 * float(expected.std()))
    (gradient,) = torch.autograd.grad(found.sum(), x)
    assert bool(torch.isfinite(gradient).all())
    assert float(gradient.abs().sum()) > 0
