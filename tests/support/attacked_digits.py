"""Digits under three obvious attacks, and peers of the benchmarks that have learned from them."""

from __future__ import annotations

import functools

import numpy as np
import torch

from benchmarks.peers.methods import PEERS
from benchmarks.peers.protocol import Peer
from ce_detect.attacks import Attack
from ce_detect.attacks.generation import AttackedSet
from ce_detect.attacks.run import run
from ce_detect.classifiers.segmented import TorchClassifier
from ce_detect.classifiers.wrapping import wrap
from ce_detect.data import Images
from support.digits import TRAINED, DigitCNN, classifier_of_digits, digits

OBVIOUS = {
    "fgsm": Attack.of("fgsm", eps=0.3),
    "pgd": Attack.of("pgd", eps=0.3, eps_step=0.1, max_iter=5),
    "deepfool": Attack.of("deepfool", max_iter=20),
}
"""Attacks of a third of the pixel range, in one step and in several, and one that stops at the nearest other class.

Strong attacks look like very confident clean images to some peers, and minimum-norm attacks like nothing to others.
"""


@functools.cache
def classifier() -> TorchClassifier:
    """A small model of digits, wrapped."""
    made = wrap(classifier_of_digits(DigitCNN), input_shape=(1, 8, 8), bounds=(0.0, 1.0))
    assert isinstance(made, TorchClassifier)
    return made


@functools.cache
def attacked(start: int, stop: int) -> tuple[Images, dict[str, AttackedSet]]:
    """Digits that the model was not trained on, and successful attacks on them."""
    x, y = digits()
    clean = Images(x[TRAINED + start : TRAINED + stop], y[TRAINED + start : TRAINED + stop])
    sets = {}
    for name, attack in OBVIOUS.items():
        twins = run(attack, classifier(), clean.x, batch_size=64)
        with torch.no_grad():
            label, changed = (classifier().logits(torch.from_numpy(part)).argmax(1) for part in (clean.x, twins))
        success = (label != changed).numpy()
        sets[name] = AttackedSet(attack, twins[success], np.flatnonzero(success))
    return clean, sets


@functools.cache
def fitted(name: str) -> Peer:
    """A peer that has learned from digits."""
    clean, sets = attacked(0, 240)
    return PEERS[name]().fit(classifier(), clean, sets)
