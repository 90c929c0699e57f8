"""CausAdv: what removing each filter of the last layer does to the decision (Debbi 2024, arXiv 2411.00839).

The *counterfactual information* of a filter is the probability of the decision less that without the filter. The paper
reads adversarial images from distributions that lack filters with an effect; the score here is minus the standard
deviation over the filters. In probabilities, as in the paper: a saturated softmax hides the effects of strong attacks
and makes them look like confident clean images, or the other way round. A filter whose map is averaged is removed by
setting its average to zero.

Reproduction: the paper finds 49 % of FGSM on ImageNet and gives no false-positive rate. Not reproduced on CIFAR-10:
the AUROC of FGSM 8/255 is 0.25 and of C&W 0.03, that is, turned round, while PGD 8/255 has 0.89 (100 images each).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from benchmarks.face import PENULTIMATE, AttackedSet, Images
from benchmarks.peers.protocol import Floats, Peer, Published, Settings

VALUES = 20_000_000
"""Logits computed together, at most."""


class CausAdv(Peer):
    """Spread of the effects of single filters on the decision's probability, negated."""

    name = "causadv"
    title = "CausAdv"
    source = "Debbi 2024, arXiv 2411.00839"
    settings = Settings(
        {"filters": "the features of a linear last layer", "score": "minus the standard deviation of the effects"}
    )

    published = (
        Published(
            "share of FGSM that is found, no FPR given",
            0.49,
            "Debbi 2024, arXiv 2411.00839, ImageNet",
            ("fgsm 8/255",),
            "tpr",
            differs="ours is CIFAR-10 at 5 % FPR",
        ),
    )

    def prepare(self, clean: Images, attacked: Mapping[str, AttackedSet]) -> None:
        """Nothing is learned."""
        if self.classifier.head_weight is None:
            raise ValueError("CausAdv needs a linear last layer here")

    def features(self, x: Tensor) -> Floats:
        """See `Peer`."""
        with torch.inference_mode():
            return self.evenness(x)[:, None].cpu().numpy()

    def evenness(self, x: Tensor) -> Tensor:
        """Minus the standard deviation of the information of the filters ``(batch,)``."""
        z, latents = self.classifier.trace(x, (PENULTIMATE,))
        together = max(1, VALUES // self.classifier.head_weight.numel())
        parts = zip(z.split(together), latents[PENULTIMATE].split(together), strict=True)
        return torch.cat([-self._information(*part).std(1) for part in parts])

    def _information(self, z: Tensor, latent: Tensor) -> Tensor:
        """Counterfactual information ``(batch, filters)``."""
        label = z.argmax(1)
        without = z[:, None] - (latent[:, None] * self.classifier.head_weight).transpose(1, 2)
        left = without.softmax(2).gather(2, label[:, None, None].expand(-1, without.shape[1], 1))[:, :, 0]
        return z.softmax(1).gather(1, label[:, None]) - left
