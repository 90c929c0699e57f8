"""ART's BinaryActivationDetector: a network on the activations of one layer (Metzen et al. 2017, arXiv 1702.04267).

No published figure fits: ART leaves layer, network and training to the user. The layer is the middle site that is a
feature map; Metzen et al. found middle layers best.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from art.defences.detector.evasion import BinaryActivationDetector

from benchmarks.face import AttackedSet, Images, site_shapes
from benchmarks.peers.methods.art_estimator import BinaryPeer, detector_network, estimator, in_layers, layer_of
from benchmarks.peers.protocol import Limits, Settings


class BinaryActivation(BinaryPeer):
    """ART's BinaryActivationDetector at the middle site, with a small CNN."""

    name = "art-binary-activation"
    title = "ART BinaryActivation"
    source = "adversarial-robustness-toolbox 1.20.1; Metzen et al. 2017, arXiv 1702.04267"
    settings = Settings(
        {
            "layer": "the middle feature map",
            "network": "a convolution and a strided one, batch norm",
            "training": "Adam 1e-3, 10 epochs of 64",
        }
    )
    limits = Limits(taught=800, taught_attacked=300)

    def prepare(self, clean: Images, attacked: Mapping[str, AttackedSet]) -> None:
        """Find the layer."""
        maps = {site: shape for site, shape in site_shapes(self.classifier).items() if len(shape) == 3}
        self.site = list(maps)[len(maps) // 2]
        self.shape = maps[self.site]

    def build(self) -> Any:
        """See `BinaryPeer`."""
        network = estimator(detector_network(self.shape[0], 1), self.shape, 2, trained=False)
        layer = layer_of(self.classifier, self.site)
        return BinaryActivationDetector(in_layers(self.classifier), network, layer)
