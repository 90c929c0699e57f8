"""Where decision-based attacks start: at images that are adversarial already."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ce_detect.attacks.art_estimator import Estimator
from ce_detect.core.types import Floats, Index


def find(
    estimator: Estimator, x: Floats, labels: Index, goals: Index | None, *, trials: int, others: bool
) -> tuple[Floats, NDArray[np.bool_]]:
    """Images that are adversarial already, from which a decision-based attack walks back to the clean ones.

    Uniform noise from the seeded generator, as often as it takes; with ``others``, or with goals, the nearest of the
    images that has another label (the goal) where noise never does.

    Args:
        estimator: the classifier, as ART sees it.
        x: clean images ``(n, channels, height, width)``.
        labels: decisions for them ``(n,)``.
        goals: target classes ``(n,)``, None where any other class will do.
        trials: draws of noise for each image, at most.
        others: whether other images may serve where there are no goals.

    Returns:
        Starting points like ``x``, and which of them are adversarial ``(n,)``.
    """
    low, high = estimator.clip_values
    starts, found = x.copy(), np.zeros(len(x), dtype=bool) if goals is None else labels == goals
    for _ in range(trials):
        rows = np.flatnonzero(~found)
        if not len(rows):
            break
        noise = np.random.uniform(low, high, (len(rows), *x.shape[1:])).astype(np.float32)
        drawn = estimator.labels(noise)
        fooled = drawn != labels[rows] if goals is None else drawn == goals[rows]
        starts[rows[fooled]] = noise[fooled]
        found[rows[fooled]] = True
    for row in np.flatnonzero(~found) if others or goals is not None else ():
        fitting = np.flatnonzero(labels != labels[row] if goals is None else labels == goals[row])
        if len(fitting):
            distances = ((x[fitting] - x[row]) ** 2).sum((1, 2, 3))
            starts[row] = x[fitting[distances.argmin()]]
            found[row] = True
    return starts, found


def attacked_from(attack: Any, generate: Callable[..., Floats], x: Floats, y: Floats | None, *, others: bool) -> Floats:
    """Run a decision-based attack of ART from our starting points; images without one stay as they are.

    Args:
        attack: ART's attack, which has an ``estimator`` and an ``init_size``.
        generate: its own ``generate``.
        x: clean images ``(n, channels, height, width)``.
        y: target classes, one-hot; None where any other class will do.
        others: see `find`.
    """
    labels, goals = attack.estimator.labels(x), None if y is None else y.argmax(1)
    starts, found = find(attack.estimator, x, labels, goals, trials=attack.init_size, others=others)
    attacked = x.copy()
    if found.any():
        attacked[found] = generate(x[found], None if y is None else y[found], x_adv_init=starts[found])
    return attacked
