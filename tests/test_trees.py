"""Tree ensembles: what scikit-learn's trees decide, as tensors."""

from __future__ import annotations

import functools
from pathlib import Path

import calibrated
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier, GradientBoostingClassifier

from ce_detect.calibrate import learn
from ce_detect.detected_model import DetectedModel
from ce_detect.detector.head import FusedHead, Head
from ce_detect.detector.trees import TreeHead
from ce_detect.errors import CalibrationError
from ce_detect.runtime import Gate

Data = tuple[NDArray[np.float32], NDArray[np.int64]]


@functools.cache
def signatures() -> Data:
    """Real signatures of clean and of attacked images, squashed, and which is which."""
    gate = calibrated.guard().gate
    x = [learn.features(gate.signature, images) for images in calibrated.fresh()]
    squashed = gate.head.squash(torch.from_numpy(np.concatenate(x))).numpy()
    return squashed, np.repeat([0, 1], [len(part) for part in x])


@functools.cache
def boosted(levels: int = 4) -> GradientBoostingClassifier:
    """Trees fitted on them, with weights as in a calibration."""
    x, y = signatures()
    weights = np.where(y == 1, 1.0, 2.0)
    made = GradientBoostingClassifier(n_estimators=40, max_depth=levels, subsample=0.5, random_state=0)
    return made.fit(x, y, sample_weight=weights)


def plain(estimator: GradientBoostingClassifier, features: int) -> TreeHead:
    """A head whose features are taken as they are."""
    return TreeHead.from_estimator(torch.zeros(features), torch.ones(features), estimator)


@pytest.mark.parametrize("levels", [1, 4])
def test_every_signature_comes_to_the_leaf_that_scikit_learn_finds(levels: int) -> None:
    """Leaves are equal, one by one, and so are log-odds but for the order of a float32 sum."""
    x, _ = signatures()
    estimator = boosted(levels)
    head = plain(estimator, x.shape[1])
    first = head.feature.shape[1] * np.arange(40)
    np.testing.assert_array_equal(head.leaves(torch.from_numpy(x)).numpy() - first, estimator.apply(x)[:, :, 0])
    got = head.log_odds(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(got, estimator.decision_function(x), atol=1e-5)
    assert head.depth == levels


def test_numbers_at_a_split_go_where_scikit_learn_sends_them() -> None:
    """A float32 number right at a threshold, just below and just above: the thresholds are double, the numbers not."""
    x, _ = signatures()
    estimator = boosted()
    head = plain(estimator, x.shape[1])
    roots = [(one.tree_.feature[0], one.tree_.threshold[0]) for one in estimator.estimators_[:, 0]]
    rows = []
    for feature, threshold in roots:
        for near in (np.float32(threshold), *(np.nextafter(np.float32(threshold), np.float32(s)) for s in (-9e9, 9e9))):
            rows.append(x[0].copy())
            rows[-1][feature] = near
    edges = np.stack(rows)
    first = head.feature.shape[1] * np.arange(40)
    np.testing.assert_array_equal(head.leaves(torch.from_numpy(edges)).numpy() - first, estimator.apply(edges)[:, :, 0])


def test_a_batch_of_one_equals_a_row() -> None:
    """A signature comes to the same leaves alone as in company."""
    x = torch.from_numpy(signatures()[0])
    head = plain(boosted(), x.shape[1])
    assert torch.equal(head.leaves(x[5:6]), head.leaves(x)[5:6])
    assert head.log_odds(x[5:6]).shape == (1,)


def test_other_ensembles_are_refused() -> None:
    """The error says what does become tensors."""
    with pytest.raises(CalibrationError, match=r"ExtraTreesClassifier .*expected a GradientBoostingClassifier"):
        TreeHead.from_estimator(torch.zeros(2), torch.ones(2), ExtraTreesClassifier())


@pytest.mark.parametrize("broken", ["left", "feature"])
def test_tables_that_lead_nowhere_are_refused(broken: str) -> None:
    """A circle or a feature that does not exist would give an answer, and a wrong one."""
    head = plain(boosted(), signatures()[0].shape[1])
    tables = {
        name: head.get_buffer(name).clone() for name in ("feature", "threshold", "left", "right", "value", "bias")
    }
    tables[broken][3, 1] = 0 if broken == "left" else 10_000
    with pytest.raises(CalibrationError, match="tree"):
        TreeHead(head.center, head.scale, **tables)


@functools.cache
def guard() -> DetectedModel:
    """A detector with a head of trees."""
    first = calibrated.images()
    return DetectedModel(calibrated.fashion_cnn()).calibrate(
        first.x, first.y, recipe=calibrated.TREES, jobs=1, cache=calibrated.cache(), **calibrated.SETTINGS
    )


def test_a_recipe_can_ask_for_trees() -> None:
    """Attacked images score higher than clean ones, and the head says that it has no gradient."""
    clean, attacked = (guard()(x).score for x in calibrated.fresh())
    assert np.mean(attacked[:, None] > clean) > 0.9
    head = guard().gate.head
    assert isinstance(head, FusedHead)
    assert not head.differentiable
    assert not head.network.differentiable
    assert Head.differentiable


def test_trees_survive_a_file(tmp_path: Path) -> None:
    """Loaded again, the head gives the same scores, and the file the same bytes."""
    path = tmp_path / "guard.safetensors"
    guard().save(path)
    again = DetectedModel.load(path, calibrated.fashion_cnn())
    clean, _ = calibrated.fresh()
    np.testing.assert_array_equal(again(clean).score, guard()(clean).score)
    again.save(tmp_path / "again.safetensors")
    assert path.read_bytes() == (tmp_path / "again.safetensors").read_bytes()


def test_learned_trees_judge_alike_in_onnx_runtime(tmp_path: Path) -> None:
    """On clean and on attacked images, none of which calibration saw."""
    path = tmp_path / "guard.onnx"
    assert guard().export(path, data=calibrated.images().x).agree
    graph = Gate(path)
    for x in calibrated.fresh():
        expected, got = guard()(x), graph(x)
        np.testing.assert_allclose(got.score, expected.score, atol=1e-4)
        np.testing.assert_array_equal(got.is_adversarial, expected.is_adversarial)


def test_untrained_trees_are_as_large_as_trained_ones() -> None:
    """What stands in for the head while costs are measured takes as many steps."""
    stand_in = learn.untrained(50, "trees")
    assert isinstance(stand_in, FusedHead)
    assert isinstance(stand_in.network, TreeHead)
    assert stand_in.network.depth == learn.LEVELS
    assert stand_in(torch.zeros(3, 50)).shape == (3,)
