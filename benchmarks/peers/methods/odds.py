"""The odds are odd: how noise moves the log-odds between classes (Roth et al. 2019, arXiv 1902.04818).

For the predicted class ``y`` and every other ``z``, the mean over noise of the change of ``f_z - f_y``, standardised by
its mean and deviation over clean images of class ``y``; the score is the largest over ``z`` and over the noises. Broken
by an attacker who knows it (Tramer et al. 2020, arXiv 2002.08347).

Reproduction, on 24 attacked images of CIFAR-10, ResNet-20, 10 draws of each noise and 100 clean images: not
reproduced. No PGD 8/255 is found at 1 % FPR (published 0.991 at 0.2 %), 0.29 at 5 %, AUROC 0.87: attacks of 8/255
leave this small network so confident that noise of 0.008 hardly moves it. Weaker ones, PGD 2/255 and L2 0.5, have an
AUROC of 0.97.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from benchmarks.face import AttackedSet, Classifier, Images
from benchmarks.peers.protocol import Floats, Limits, Peer, Published, Settings, batches
from benchmarks.subjects.settings import SEED

NOISES = tuple((kind, size) for size in (0.003, 0.005, 0.008) for kind in ("normal", "uniform", "sign"))
"""Kinds and sizes, as shares of the pixel range, that the released code detects with on CIFAR-10."""

DRAWS = 28
"""Draws of each noise; the released code takes 256."""

LEAST = 8
"""Clean images of a class below which its statistics are those of all classes."""

TOP = 10
"""Classes that are looked at, the highest, where there are more."""


class Odds(Peer):
    """Largest standardised change of the log-odds under noise."""

    name = "odds"
    title = "Odds"
    source = "Roth et al. 2019, arXiv 1902.04818; noises of github.com/yk/icml19_public"
    settings = Settings(
        {
            "noises": "normal, uniform and sign of 0.003, 0.005 and 0.008, the same draws for every image",
            "draws": f"{DRAWS} of each of {len(NOISES)} (the released code: 256)",
            "statistics": f"by predicted class; over all below {LEAST} images; the {TOP} highest classes at most",
        }
    )
    published = (
        Published(
            "detection rate of PGD 8/255 at 0.2 % FPR",
            0.991,
            "Roth et al. 2019, table 2, CIFAR-10 wide ResNet (quoted from memory)",
            ("pgd 8/255",),
            "tpr",
            0.01,
            differs="ours at 1 % FPR, a small ResNet, and a tenth of the draws",
        ),
    )
    forwards = 2304
    limits = Limits(taught=300, calibrate=100, clean=120, attacked=40, corrupted=4)
    large_limits = None
    timed = 8

    def prepare(self, clean: Images, attacked: Mapping[str, AttackedSet]) -> None:
        """Learn mean and deviation of the changes by predicted class."""
        self.noises = [drawn(*noise, self.classifier, number) for number, noise in enumerate(NOISES)]
        parts = [self._changes(batch) for batch in batches(clean.pixels, self.classifier)]
        changes, predicted = (torch.cat(part, dim) for part, dim in zip(zip(*parts, strict=True), (1, 0), strict=True))
        centre, scale = [], []
        for label in range(self.classifier.num_classes):
            mine = predicted == label
            some = changes if mine.sum() < LEAST else changes[:, mine]
            centre.append(some.mean(1))
            scale.append(some.std(1) + 1e-6)
        self.centre, self.scale = torch.stack(centre, 1), torch.stack(scale, 1)

    def features(self, x: Tensor) -> Floats:
        """See `Peer`."""
        changes, predicted = self._changes(x)
        z = (changes - self.centre[:, predicted]) / self.scale[:, predicted]
        others = torch.arange(z.shape[2], device=z.device) != 0 if self._ranked else _but(predicted, z.shape[2])
        return z.masked_fill(~others, -torch.inf).amax((0, 2))[:, None].cpu().numpy()

    @property
    def _ranked(self) -> bool:
        return bool(self.classifier.num_classes > TOP)

    def _changes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean changes ``(noises, batch, classes)`` of the log-odds against the predicted class, and that class."""
        low, high = self.classifier.bounds
        with torch.inference_mode():
            z = self.classifier.logits(x)
            predicted = z.argmax(1)
            which = z.topk(TOP, dim=1).indices if self._ranked else torch.arange(z.shape[1]).expand_as(z)
            found = []
            for noise in self.noises:
                shifted = sum(
                    self.classifier.logits((x + one).clamp(low, high)) for one in noise.split(1)
                ) / len(noise) - z  # fmt: skip
                shifted = shifted - shifted.gather(1, predicted[:, None])
                found.append(shifted.gather(1, which))
        return torch.stack(found), predicted


def drawn(kind: str, size: float, classifier: Classifier, number: int) -> Tensor:
    """Noise ``(DRAWS, channels, height, width)``."""
    shape = (DRAWS, *classifier.input_shape)
    low, high = classifier.bounds
    generator = np.random.default_rng([SEED, number])
    noise = generator.standard_normal(shape) if kind == "normal" else generator.uniform(-1, 1, shape)
    noise = np.sign(noise) if kind == "sign" else noise
    return torch.from_numpy((noise * size * (high - low)).astype(np.float32)).to(classifier.device)


def _but(predicted: Tensor, classes: int) -> Tensor:
    """Whether a class is another than the predicted one, ``(1, batch, classes)``."""
    return (torch.arange(classes, device=predicted.device) != predicted[:, None])[None]
