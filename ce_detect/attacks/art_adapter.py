"""From an attack of the registry to attacked images, by the Adversarial Robustness Toolbox (ART)."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
from art.attacks import evasion

from ce_detect.attacks.art_estimator import Estimator
from ce_detect.attacks.art_patches import PATCHED
from ce_detect.attacks.attack import LENGTHS, Attack, length
from ce_detect.classifiers.base import Classifier
from ce_detect.core.errors import CalibrationError
from ce_detect.core.types import Floats, Index


def run(attack: Attack, classifier: Classifier, x: Floats, *, batch_size: int) -> Floats:
    """Attack images; see `ce_detect.attacks.run.run`."""
    info = attack.info
    low, high = classifier.bounds
    offset, width = (low, high - low) if info.unit else (0.0, 1.0)
    estimator = Estimator(classifier, access=info.access, unit=info.unit)
    built = build(attack, estimator, width=1.0 if info.unit else high - low, batch_size=batch_size)
    given = ((x - np.float32(offset)) / np.float32(width)).astype(np.float32) if info.unit else x
    target = _target(attack)
    if target is None:
        attacked = built.generate(x=given)
    else:  # whoever aims sees the logits, whatever the attack sees
        attacked = _aimed(target, built, given, Estimator(classifier).predict(x))
    if info.unit:  # what was left alone stays as it was, to the bit
        attacked = np.where(attacked == given, x, attacked * width + offset)
    return np.clip(np.asarray(attacked, dtype=np.float32), low, high)


def build(attack: Attack, estimator: Estimator, *, width: float, batch_size: int) -> Any:
    """Make the ART attack.

    Args:
        attack: what to make.
        estimator: the classifier, as ART sees it.
        width: pixel range of the estimator, largest minus smallest valid value.
        batch_size: images attacked at a time.

    Raises:
        CalibrationError: too few classes, or settings that ART refuses.
    """
    info, target = attack.info, _target(attack)
    needed = max(info.least_classes, target + 1 if isinstance(target, int) else 0)
    if estimator.nb_classes < needed:
        what = f"attack {attack.kind!r}" if needed == info.least_classes else f"target = {target} of {attack.name!r}"
        raise CalibrationError(
            f"{what} needs at least {needed} classes, the classifier has {estimator.nb_classes}; take it out of "
            "the recipe"
        )
    settings: dict[str, Any] = {key: value for key, value in attack.settings if key != "target"}
    for key in LENGTHS & set(settings):
        settings[key] = length(attack.kind, key, settings[key]) * width
    if "nb_grads" in settings:
        settings["nb_grads"] = min(int(settings["nb_grads"]), estimator.nb_classes)
    art: Any = PATCHED.get(info.art) or getattr(evasion, info.art)
    common = {"batch_size": batch_size, "targeted": target is not None, "verbose": False}
    taken = {name for base in art.__mro__ for name in inspect.signature(base.__init__).parameters}
    settings |= {key: value for key, value in common.items() if key in taken}
    try:
        return art(estimator, **settings, **info.fixed)
    except (TypeError, ValueError) as error:
        given = dict(attack.settings)
        raise CalibrationError(f"attack {attack.name!r} cannot be made with {given}: {error}") from error


def _target(attack: Attack) -> Any:
    return dict(attack.settings).get("target")


def _aimed(target: str | int, built: Any, x: Floats, logits: Floats) -> Floats:
    """Attack all images, each towards its target class, and put back those that have it already.

    They are shown to the attack too: it may start from them.
    """
    targets = _targets(target, logits)
    there = targets == logits.argmax(1)
    if there.all():
        return x
    attacked = np.asarray(built.generate(x=x, y=np.eye(logits.shape[1], dtype=np.float32)[targets]))
    return np.where(there[:, None, None, None], x, attacked)


def _targets(target: str | int, logits: Floats) -> Index:
    """Target classes by number or by rule, ``(n,)``."""
    count, classes = logits.shape
    if isinstance(target, int):
        return np.full(count, target)
    if target == "next":
        return np.asarray((logits.argmax(1) + 1) % classes)
    if target == "random":
        return np.asarray((logits.argmax(1) + np.random.randint(1, classes, count)) % classes)
    return np.asarray(logits.argsort(axis=1, kind="stable")[:, -2 if target == "second" else 0])
