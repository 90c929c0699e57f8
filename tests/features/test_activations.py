"""What one forward pass tells of logits, channels and penultimate features."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.models import Subject, subject
from support.signatures import signature_of

from ce_detect.classifiers.segmented import TorchClassifier
from ce_detect.data import Images
from ce_detect.features.activations import MARGIN_FLOOR, TOP_LOGITS, moments
from ce_detect.features.signature import Signature


@torch.inference_mode()
def test_contributions_explain_the_decision(any_model: Subject) -> None:
    """What each penultimate feature adds to the winner sums to its logit but for the bias."""
    if any_model.classifier.head_weight is None:
        assert not [name for name in signature_of(any_model).names if "contribution" in name]
        return
    signature = Signature(any_model.classifier, [])
    logits, features = signature(any_model.x)
    *_, head = (module for module in any_model.model.modules() if isinstance(module, torch.nn.Linear))
    bias = head.bias if len(head.bias) > 1 else torch.cat([-head.bias, head.bias]) / 2
    winner, runner_up = logits.topk(2, dim=1).indices.unbind(1)
    sums = {
        kind: features[:, [i for i, name in enumerate(signature.names) if name.startswith(f"trace.{kind}")]].sum(1)
        for kind in ("contribution", "contrast")
    }
    top = logits.gather(1, winner[:, None])[:, 0]
    margin = top - logits.gather(1, runner_up[:, None])[:, 0]
    torch.testing.assert_close(sums["contribution"], top - bias[winner], rtol=1e-3, atol=1e-3)
    expected = margin - bias[winner] + bias[runner_up]
    torch.testing.assert_close(sums["contrast"], expected, rtol=1e-3, atol=1e-3)


@torch.inference_mode()
def test_logit_statistics(fashion: TorchClassifier, demo_images: Images) -> None:
    """Ten centred logits in falling order, the log-odds of the decision, the energy, and the log of the margin."""
    signature = Signature(fashion, [])
    logits, features = signature(torch.from_numpy(demo_images.x[:16]))
    assert signature.names[: TOP_LOGITS + 3] == (
        *(f"trace.logit[{rank}]" for rank in range(10)), "trace.log-odds", "trace.energy", "trace.log-margin",
    )  # fmt: skip
    z = logits.double().numpy()
    ordered = -np.sort(-z, axis=1) - z.mean(1, keepdims=True)
    p = np.exp(z - z.max(1, keepdims=True)).max(1) / np.exp(z - z.max(1, keepdims=True)).sum(1)
    energy = np.log(np.exp(z).sum(1))
    np.testing.assert_allclose(features[:, :10], ordered, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(features[:, 11], energy, rtol=1e-4)
    np.testing.assert_allclose(features[:, 12], np.log(ordered[:, 0] - ordered[:, 1] + MARGIN_FLOOR), rtol=1e-3)
    unsaturated = p < 0.999
    assert unsaturated.any()
    np.testing.assert_allclose(features[unsaturated, 10], np.log(p / (1 - p))[unsaturated], rtol=1e-2)


@pytest.mark.parametrize("name", ["plain", "transformer"])
@torch.inference_mode()
def test_moments_of_each_channel(name: str) -> None:
    """Means and standard deviations are taken over the positions, of feature maps and of token sequences."""
    part = subject(name)
    site = "stage2.2" if name == "plain" else "block1"
    signature = Signature(part.classifier, [], sites=(site,))
    _, features = signature(part.x)
    latent = part.classifier.trace(part.x).latents[site]
    by_channel = latent.flatten(2).transpose(1, 2) if latent.ndim == 4 else latent
    for kind, expected in (("mean", by_channel.mean(1)), ("deviation", by_channel.std(1, correction=0))):
        columns = [signature.names.index(f"trace.{kind}[{site}][{i}]") for i in range(by_channel.shape[2])]
        torch.testing.assert_close(features[:, columns], expected, rtol=1e-3, atol=1e-4)


def test_moments_of_a_constant_map_have_a_gradient() -> None:
    """A channel without variation has deviation zero and no infinite gradient."""
    latent = torch.full((1, 2, 3, 3), 5.0, requires_grad=True)
    mean, deviation = moments(latent)
    (gradient,) = torch.autograd.grad(mean.sum() + deviation.sum(), latent)
    assert mean.tolist() == [[5, 5]]
    assert deviation.abs().max() < 1e-2
    assert torch.isfinite(gradient).all()
