"""Weights that eight bits a number give back exactly."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from support.gates import MANIFEST, demo, gate

from ce_detect.artifacts import int8
from ce_detect.detector.gate import GateModule
from ce_detect.export import parity
from ce_detect.export.fused_graph import fused
from ce_detect.features.signature import Signature
from ce_detect.fitting import robust_copy, untrained
from ce_detect.interventions import RobustCopy

SIZES = st.floats(2.0**-60, 2.0**60, width=32)
"""Smaller ones are rounded to zero or not packed."""
WEIGHTS = arrays(
    np.float32,
    array_shapes(min_dims=2, max_dims=3, min_side=6, max_side=8),
    elements=st.one_of(st.just(0.0), SIZES, SIZES.map(lambda size: -size)),
)


@given(WEIGHTS)
def test_rounded_weights_pack_and_come_back(weights: NDArray[np.float32]) -> None:
    """Rounding is off by half a scale at most, and what it gives is packed without loss."""
    rounded = int8.rounded(weights)
    largest = np.abs(weights).max(axis=tuple(range(1, weights.ndim)), keepdims=True)
    assert (np.abs(rounded - weights) <= largest * (0.5 / int8.LARGEST) * 1.001).all()
    packed = int8.packed(rounded)
    assert packed is not None
    whole, scale = packed
    np.testing.assert_array_equal(whole.astype(np.float32) * scale, rounded)
    np.testing.assert_array_equal(int8.rounded(rounded), rounded)


def test_a_scale_may_belong_to_a_column() -> None:
    """Exporters transpose weights; then scales lie along the last axis."""
    weights = int8.rounded(np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)).T
    packed = int8.packed(weights)
    assert packed is not None
    whole, scale = packed
    assert scale.shape == (1, 7)
    np.testing.assert_array_equal(whole * scale, weights)


@pytest.mark.parametrize(
    "weights",
    [
        np.random.default_rng(0).normal(size=(8, 8)),
        np.full((40, 40), -np.inf),
        np.eye(2),  # scales would be as long as the weights
        np.array([[190.0, 3.0] * 20]) * 2.0**-149,  # the smallest numbers there are have too few digits
        np.array([[1.0, 0.0] * 20]) * 2.0**-149,
    ],
)
def test_other_weights_are_not_packed(weights: NDArray[Any]) -> None:
    """What would lose a digit, or gain nothing, stays as it is, without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert int8.packed(weights.astype(np.float32)) is None


@pytest.mark.slow
def test_graph_holds_a_hardened_copy_in_a_quarter_and_judges_alike() -> None:
    """Beside the graph without a copy it takes a little over a byte a weight, and ONNX Runtime multiplies out."""
    untrained = robust_copy.untrained(demo())
    assert untrained is not None
    copy = robust_copy.for_timing(untrained)  # other weights than the classifier's
    robust_copy.rounded(copy)
    assert copy.layers is not None
    weights = sum(parameter.numel() for parameter in copy.layers.parameters())
    hardened, plain = (fused(_gate(ones), MANIFEST) for ones in ([copy], []))
    assert hardened.ByteSize() - plain.ByteSize() < 1.3 * weights + 20_000
    packed = [tensor for tensor in hardened.graph.initializer if tensor.data_type == onnx.TensorProto.INT8]
    assert sum(int(np.prod(tensor.dims)) for tensor in packed) > 0.9 * weights
    x = np.random.default_rng(0).uniform(size=(40, 1, 28, 28)).astype(np.float32)
    opened = parity.session(hardened.SerializeToString())
    assert parity.differences(_gate([copy]), opened, x).agree


@pytest.mark.slow
def test_graphs_without_one_have_nothing_packed() -> None:
    """The weights of an ordinary classifier and head are no whole multiples of anything, but tables of 0 and 1 are."""
    graph = fused(gate("plain", "mlp"), MANIFEST).graph
    packed = [onnx.numpy_helper.to_array(t) for t in graph.initializer if t.data_type == onnx.TensorProto.INT8]
    assert packed
    assert all(set(np.unique(whole)) <= {0, int8.LARGEST} for whole in packed)


def _gate(interventions: list[Any]) -> GateModule:
    signature = Signature(demo(), interventions)
    head = untrained.head(len(signature.names), "logistic")
    if interventions:
        assert isinstance(interventions[0], RobustCopy)
        head = untrained.for_timing(signature, "logistic")
    clean = np.linspace(-1, 1, 50, dtype=np.float32)
    return GateModule(signature, head, clean_scores=torch.from_numpy(clean), threshold=10.0, prevalence=0.1).eval()
