"""Fitting the two heads of a cascade: the level between them, and what each has learned from."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from support.cascades import guard

from ce_detect.fitting import heads as learn
from ce_detect.heads.cascade import CLEARED, CascadedHead

Tensor = torch.Tensor


def test_level_is_set_on_images_that_the_heads_have_not_learned_from() -> None:
    """So it clears its share of fresh ones too, however well the first head knows its own."""
    made, generator = guard().gate, np.random.default_rng(0)
    width = len(made.signature.names)

    def drawn(count: int) -> Any:
        return generator.normal(size=(count, width)).astype(np.float32)

    fit, select = (learn.Table(drawn(300), {"some": drawn(100) + 1}) for _ in range(2))
    head = learn.fitted(made.signature, fit, select, kind="logistic", seed=0, cascade=True)
    assert isinstance(head, CascadedHead)
    with torch.inference_mode():
        own, others = (
            (head.first(torch.from_numpy(rows)[:, : head.free]) <= head.level).float().mean()
            for rows in (np.concatenate([fit.clean, select.clean]), drawn(2000))
        )
    assert abs(others - CLEARED) < 0.07
    assert own > others


def test_folds_keep_an_image_and_what_was_made_of_it_together() -> None:
    """A head that scores an image has seen neither it, nor a corrupted copy, nor its attacked twin."""
    clean = np.concatenate([np.arange(10), np.arange(10)]).astype(np.float32)[:, None]
    twins = np.array([3, 3, 7, 0, 9])
    table = learn.Table(clean, {"some": twins.astype(np.float32)[:, None]}, 10, {"some": twins})
    seen: list[int] = []
    for number in range(learn.FOLDS):
        own, others = (table.fold(number, others=others, columns=slice(1)) for others in (False, True))
        assert not {*own.clean[:, 0], *own.attacked["some"][:, 0]} & {
            *others.clean[:, 0],
            *others.attacked["some"][:, 0],
        }
        assert len(own.clean) + len(others.clean) == 20
        seen += own.clean[:, 0].astype(int).tolist()
    assert sorted(seen) == sorted([*range(10), *range(10)])


def test_without_interventions_there_is_nothing_to_spare() -> None:
    """A gate of free statistics alone has one head."""
    alone = learn.without_interventions(guard().gate.signature)
    rows = np.random.default_rng(0).normal(size=(300, len(alone.names))).astype(np.float32)
    table = learn.Table(rows[:200], {"some": rows[200:] + 1})
    assert not isinstance(learn.fitted(alone, table, table, kind="logistic", seed=0, cascade=True), CascadedHead)
