"""What heads learn from, and what they leave out; the level between the two of a cascade."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support.cascades import guard
from support.models import subject, tiny_images

from ce_detect.attacks import Attack
from ce_detect.attacks.generation import AttackedSet
from ce_detect.detector.gate import GateModule
from ce_detect.export import parity
from ce_detect.export.fused_graph import fused
from ce_detect.features.signature import Signature, feature_names
from ce_detect.fitting import feature_tables
from ce_detect.fitting import heads as learn
from ce_detect.heads.base import LEFT_OUT
from ce_detect.heads.cascade import CLEARED, CascadedHead
from ce_detect.interventions import Scale, Shift

Tensor = torch.Tensor


@pytest.mark.slow
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


@pytest.mark.slow
def test_level_is_that_of_plain_clean_images() -> None:
    """Variants that look like attacks to the first head do not move it up: it clears its share of plain images."""
    made, generator = guard().gate, np.random.default_rng(0)
    width = len(made.signature.names)

    def drawn(count: int, further: float) -> Any:
        return (generator.normal(size=(count, width)) + further).astype(np.float32)

    def table() -> learn.Table:
        clean = np.concatenate([drawn(300, 0), drawn(600, 0.5)])
        return learn.Table(clean, {"some": drawn(200, 1)}, images=300)

    head = learn.fitted(made.signature, table(), table(), kind="logistic", seed=0, cascade=True)
    assert isinstance(head, CascadedHead)
    with torch.inference_mode():
        plain, changed = (
            float((head.first(torch.from_numpy(drawn(2000, further))[:, : head.free]) <= head.level).float().mean())
            for further in (0, 0.5)
        )
    assert abs(plain - CLEARED) < 0.07
    assert changed < plain - 0.2


def test_folds_keep_an_image_and_what_was_made_of_it_together() -> None:
    """A head that scores an image has seen neither it, nor a corrupted copy, nor its attacked twin."""
    clean = np.concatenate([np.arange(10), np.arange(10)]).astype(np.float32)[:, None]
    twins = np.array([3, 3, 7, 0, 9])
    table = learn.Table(clean, {"some": twins.astype(np.float32)[:, None]}, 10, {"some": twins})
    seen: list[int] = []
    for number in range(learn.FOLDS):
        own, others = (table.fold(number, others=others) for others in (False, True))
        assert not {*own.clean[:, 0], *own.attacked["some"][:, 0]} & {
            *others.clean[:, 0],
            *others.attacked["some"][:, 0],
        }
        assert len(own.clean) + len(others.clean) == 20
        seen += own.clean[:, 0].astype(int).tolist()
    assert sorted(seen) == sorted([*range(10), *range(10)])


def test_networks_are_held_back_where_they_would_learn_noise() -> None:
    """Few rows with one telling feature in a hundred take a large penalty, many rows of a curved border a small one."""
    generator = np.random.default_rng(0)

    def noisy(count: int) -> Any:
        clean, attacked = (generator.normal(size=(count, 100)).astype(np.float32) for _ in range(2))
        attacked[:, 0] += 1
        return learn.Table(clean, {"some": attacked})

    def curved(count: int) -> Any:
        x = generator.normal(size=(count, 3)).astype(np.float32)
        inside = np.abs(np.sin(2 * x[:, 0]) + x[:, 1]) < 0.5
        return learn.Table(x[~inside], {"some": x[inside]})

    assert learn.best_decay(noisy(60), noisy(400), seed=0) == max(learn.DECAYS)
    assert learn.best_decay(curved(4000), curved(2000), seed=0) == min(learn.DECAYS)


def test_where_nothing_is_selected_by_the_first_penalty_is_taken() -> None:
    """A split without images, or an attack without successes in one of the two."""
    rows = np.zeros((4, 2), np.float32)
    fit, nothing = learn.Table(rows, {"some": rows}), learn.Table(rows, {"some": rows[:0]})
    assert learn.best_decay(fit, nothing, seed=0) == learn.DECAYS[0]
    assert learn.best_decay(nothing, fit, seed=0) == learn.DECAYS[0]


def test_without_interventions_there_is_nothing_to_spare() -> None:
    """A gate of free statistics alone has one head."""
    alone = learn.without_interventions(guard().gate.signature)
    rows = np.random.default_rng(0).normal(size=(300, len(alone.names))).astype(np.float32)
    table = learn.Table(rows[:200], {"some": rows[200:] + 1})
    assert not isinstance(learn.fitted(alone, table, table, kind="logistic", seed=0, cascade=True), CascadedHead)


@pytest.mark.parametrize(("name", "site", "undone"), [("transformer", "block2", True), ("plain", "stage3.2", False)])
@torch.inference_mode()
def test_what_rounding_moves_is_no_evidence(name: str, site: str, undone: bool) -> None:
    """A layer norm undoes a scale before it: its effects are rounding, and no head looks at them.

    Scores are the same alone, in a batch, in ONNX Runtime, and under pixel noise that nobody can see.
    """
    part, scale = subject(name), Scale(factor=0.5, site=site)
    signature = Signature(part.classifier, [scale, Shift(dx=1, dy=1)])
    x, twins = tiny_images(name, 300, seed=1).numpy(), tiny_images(name, 100, seed=2).numpy() * np.float32(0.7)
    sets = feature_tables.Sets(x[:236], {"darker": AttackedSet(Attack.of("fgsm"), twins, np.arange(100))})
    table = feature_tables.table(signature, sets)
    head = learn.fitted(signature, table, table, kind="mlp", seed=0)
    left_out = {column for column, one in zip(signature.names, head.network.scale, strict=True) if one == LEFT_OUT}  # type: ignore[union-attr, arg-type]
    assert bool(left_out) == undone
    assert left_out <= set(feature_names(scale))
    gate = GateModule(signature, head, clean_scores=torch.zeros(100), threshold=0.0, prevalence=0.1).eval()
    fresh, (low, high) = torch.from_numpy(x[236:]), part.tiny.bounds
    noise = torch.rand(fresh.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    together = gate(fresh).score
    alone = torch.cat([gate(image).score for image in fresh.split(1)])
    noisy = gate((fresh + 1e-6 * (high - low) * noise).clamp(low, high)).score
    torch.testing.assert_close(alone, together, rtol=0, atol=1e-4)
    torch.testing.assert_close(noisy, together, rtol=0, atol=1e-3)
    opened = parity.session(fused(gate, {}).SerializeToString())
    served = opened.run(["score"], {"input": fresh.numpy()})[0]
    np.testing.assert_allclose(served, together, rtol=0, atol=parity.SCORE_TOLERANCE)
