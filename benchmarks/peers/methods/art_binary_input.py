"""ART's BinaryInputDetector: a network of its own on the pixels (Metzen et al. 2017, arXiv 1702.04267, variant of it).

It never asks the classifier. No published figure fits: ART leaves network and training to the user.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from art.defences.detector.evasion import BinaryInputDetector

from benchmarks.face import AttackedSet, Images
from benchmarks.peers.methods.art_estimator import BinaryPeer, detector_network, estimator
from benchmarks.peers.protocol import SMALL, Limits, Settings


class BinaryInput(BinaryPeer):
    """ART's BinaryInputDetector with a small CNN."""

    name = "art-binary-input"
    title = "ART BinaryInput"
    source = "adversarial-robustness-toolbox 1.20.1; Metzen et al. 2017, arXiv 1702.04267"
    settings = Settings(
        {
            "network": "a convolution and 2 strided ones (4 above 64 pixels), batch norm",
            "training": "Adam 1e-3, 10 epochs of 64",
        }
    )
    limits = Limits(taught=800, taught_attacked=300)
    asks_classifier = False

    def prepare(self, clean: Images, attacked: Mapping[str, AttackedSet]) -> None:
        """Nothing is learned before the network."""

    def build(self) -> Any:
        """See `BinaryPeer`."""
        shape = self.classifier.input_shape
        strides = 2 if max(shape[1:]) <= SMALL else 4
        return BinaryInputDetector(estimator(detector_network(shape[0], strides), shape, 2, trained=False))
