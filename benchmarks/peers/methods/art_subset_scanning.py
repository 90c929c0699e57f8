"""ART's SubsetScanningDetector: nodes of one layer whose activations are jointly too large (Speakman et al. 2018).

Paper: "Subset scanning over neural network activations", arXiv 1810.08676. Scores are Berk-Jones statistics of the best
subset of nodes, image by image, against clean background images. No published figure fits: the paper scans an
autoencoder and groups of images.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from art.defences.detector.evasion import SubsetScanningDetector
from torch import Tensor

from benchmarks.face import AttackedSet, Images, rows
from benchmarks.peers.methods.art_estimator import in_layers, layer_of
from benchmarks.peers.protocol import Floats, Limits, Peer, Settings, last_map, share
from benchmarks.subjects.settings import SEED

BACKGROUND = 400


class SubsetScanning(Peer):
    """ART's SubsetScanningDetector at the last feature map."""

    name = "art-subset-scanning"
    title = "ART SubsetScanning"
    source = "adversarial-robustness-toolbox 1.20.1; Speakman et al. 2018, arXiv 1810.08676"
    settings = Settings(
        {"layer": "the last feature map", "background": f"{BACKGROUND} clean images", "statistic": "Berk-Jones"}
    )
    limits = Limits(calibrate=300, clean=400, attacked=150, corrupted=20)
    large_limits = Limits(taught=60, calibrate=40, clean=40, attacked=12, corrupted=1)
    timed = 16

    def prepare(self, clean: Images, attacked: Mapping[str, AttackedSet]) -> None:
        """Sort the background's activations."""
        chosen = share(np.random.default_rng(SEED), clean.pixels, BACKGROUND)
        background = np.asarray(rows(clean.pixels, chosen))
        layer = layer_of(self.classifier, last_map(self.classifier))
        self.detector = SubsetScanningDetector(in_layers(self.classifier), background, layer, verbose=False)

    def features(self, x: Tensor) -> Floats:
        """See `Peer`."""
        ranges = self.detector._calculate_pvalue_ranges(x.cpu().numpy())
        return np.array([[self._scan(one)] for one in ranges])

    def _scan(self, ranges: Floats) -> float:
        from art.defences.detector.evasion.subsetscanning.scanner import Scanner

        return float(Scanner.fgss_individ_for_nets(ranges, score_function=self.detector.scoring_function)[0])
