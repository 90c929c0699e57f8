"""Max-softmax: the least confident answers are called adversarial (Hendrycks and Gimpel 2017, arXiv 1610.02136).

No published figure fits: the paper detects misclassified and out-of-distribution images, and attacks that raise the
confidence turn the order round, as they do here.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from benchmarks.face import AttackedSet, Images, log_odds
from benchmarks.peers.protocol import Floats, Peer


class MaxSoftmax(Peer):
    """Log-odds of the decision, negated: the same order as the largest probability, without its saturation."""

    name = "max-softmax"
    title = "Max-softmax"
    source = "Hendrycks and Gimpel 2017, arXiv 1610.02136"

    def prepare(self, clean: Images, attacked: Mapping[str, AttackedSet]) -> None:
        """Nothing is learned."""

    def features(self, x: Tensor) -> Floats:
        """See `Peer`."""
        with torch.inference_mode():
            z = self.classifier.logits(x)
            return -log_odds(z, z.argmax(1))[:, None].cpu().numpy()
