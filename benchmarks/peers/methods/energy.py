"""Energy: minus the log-sum-exp of the logits (Liu et al. 2020, arXiv 2010.03759).

No published figure fits: the paper detects out-of-distribution images. As with max-softmax, strong attacks have *less*
energy than clean images.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from benchmarks.face import AttackedSet, Images
from benchmarks.peers.protocol import Floats, Peer, Settings


class Energy(Peer):
    """Free energy at temperature 1."""

    name = "energy"
    title = "Energy"
    source = "Liu et al. 2020, arXiv 2010.03759"
    settings = Settings({"temperature": 1})

    def prepare(self, clean: Images, attacked: Mapping[str, AttackedSet]) -> None:
        """Nothing is learned."""

    def features(self, x: Tensor) -> Floats:
        """See `Peer`."""
        with torch.inference_mode():
            return -self.classifier.logits(x).logsumexp(1, keepdim=True).cpu().numpy()
