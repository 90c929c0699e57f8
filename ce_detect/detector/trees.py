"""An ensemble of decision trees as tensors: exports in one piece, without a converter."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ce_detect.detector.head import Head
from ce_detect.errors import CalibrationError


class TreeHead(Head):
    """Log-odds of a gradient-boosted ensemble of scikit-learn, all trees side by side.

    Each tree has as many rows as the largest; at a leaf both ways lead back to it, so that as many steps as the deepest
    tree has levels take every input to its leaf. Squashed features are compared in float32, as scikit-learn does: its
    thresholds, which are double, are rounded down, which decides every float32 number alike.

    **Not differentiable**: the score is constant between splits, and its gradient is zero or absent. Attacks on it need
    an approximation (BPDA) or none at all (queries). And a rounding error at a split moves the score by a step.

    Attributes:
        feature: ``(trees, nodes)`` int64, the feature that a node looks at.
        threshold: ``(trees, nodes)``, up to which it goes left.
        left, right: ``(trees, nodes)`` int64, where it goes, nodes being counted through all trees.
        value: ``(trees, nodes)``, log-odds that a leaf adds.
        bias: scalar, log-odds before any tree.
        depth: steps from a root to the deepest leaf.
    """

    differentiable = False

    feature: Tensor
    threshold: Tensor
    left: Tensor
    right: Tensor
    value: Tensor
    bias: Tensor

    def __init__(
        self, center: Tensor, scale: Tensor, *, feature: Tensor, threshold: Tensor, left: Tensor, right: Tensor,
        value: Tensor, bias: Tensor,
    ) -> None:  # fmt: skip
        super().__init__(center, scale)
        for name, tensor in {"feature": feature, "left": left, "right": right}.items():
            self.register_buffer(name, tensor.long())
        for name, tensor in {"threshold": threshold, "value": value, "bias": bias}.items():
            self.register_buffer(name, tensor.float())
        self.depth = _depth(self.left, self.right)
        if int(self.feature.min()) < 0 or int(self.feature.max()) >= len(center):
            raise CalibrationError(f"a tree looks at a feature that is none of the {len(center)} there are")

    @classmethod
    def from_estimator(cls, center: Tensor, scale: Tensor, boosted: Any) -> Self:
        """Take the trees of a fitted scikit-learn estimator.

        Args:
            center: see `Head`.
            scale: see `Head`.
            boosted: a binary ``GradientBoostingClassifier`` with the default loss and start.

        Raises:
            CalibrationError: an estimator of another kind.
        """
        found = type(boosted).__name__
        if found != "GradientBoostingClassifier" or boosted.init is not None or boosted.loss != "log_loss":
            raise CalibrationError(f"a {found} cannot become tensors here; expected a GradientBoostingClassifier as is")
        trees = [one.tree_ for one in boosted.estimators_[:, 0]]
        nodes = max(tree.node_count for tree in trees)
        prior = float(boosted.init_.class_prior_[1])
        return cls(
            center,
            scale,
            feature=_stacked([np.maximum(tree.feature, 0) for tree in trees], nodes),
            threshold=_stacked([_rounded_down(tree.threshold) for tree in trees], nodes),
            left=_children([tree.children_left for tree in trees], nodes),
            right=_children([tree.children_right for tree in trees], nodes),
            value=_stacked([boosted.learning_rate * tree.value[:, 0, 0] for tree in trees], nodes),
            bias=torch.tensor(np.log(prior / (1 - prior))),
        )

    @property
    def share(self) -> int:
        """How often it counts beside the distance from clean signatures, see `ce_detect.detector.head.FusedHead`."""
        return 2

    def forward(self, features: Tensor) -> Tensor:
        """Return log-odds ``(batch,)`` from a signature ``(batch, features)``."""
        return self.log_odds(self.squash(features))

    def log_odds(self, squashed: Tensor) -> Tensor:
        """Return log-odds ``(batch,)`` from squashed features."""
        return _taken(self.value, self.leaves(squashed)).sum(1) + self.bias

    def leaves(self, squashed: Tensor) -> Tensor:
        """The leaf of each input in each tree, ``(batch, trees)``, counted through all trees."""
        batch, width = squashed.shape
        trees, nodes = self.feature.shape
        row = width * torch.arange(batch, device=squashed.device)[:, None]
        at = torch.arange(0, trees * nodes, nodes, device=squashed.device).expand(batch, -1)
        for _ in range(self.depth):
            goes_left = _taken(squashed, row + _taken(self.feature, at)) <= _taken(self.threshold, at)
            at = torch.where(goes_left, _taken(self.left, at), _taken(self.right, at))
        return at


def _taken(table: Tensor, at: Tensor) -> Tensor:
    """Entries of a table, counted through its rows: the lookup that becomes a plain Gather in ONNX."""
    return F.embedding(at, table.reshape(-1, 1)).squeeze(-1)


def _stacked(rows: list[NDArray[Any]], nodes: int) -> Tensor:
    return torch.from_numpy(np.stack([np.pad(row, (0, nodes - len(row))) for row in rows]))


def _children(rows: list[NDArray[Any]], nodes: int) -> Tensor:
    """Where nodes lead, counted through all trees; scikit-learn writes -1 at a leaf, which leads to itself here."""
    own = np.arange(nodes)
    padded = np.stack([np.pad(row, (0, nodes - len(row)), constant_values=-1) for row in rows])
    return torch.from_numpy(np.where(padded < 0, own, padded) + nodes * np.arange(len(rows))[:, None])


def _rounded_down(threshold: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 numbers that are not above: ``x <= t`` holds of a float32 ``x`` for both or for neither."""
    single = threshold.astype(np.float32)
    return np.where(single.astype(np.float64) > threshold, np.nextafter(single, np.float32(-np.inf)), single)


def _depth(left: Tensor, right: Tensor) -> int:
    """Steps after which every path from a root stands still.

    Raises:
        CalibrationError: a node leads to an earlier one, or out of its tree.
    """
    own = torch.arange(left.numel()).view(left.shape)
    leaf = (left == own) & (right == own)
    down = (torch.minimum(left, right) > own) & (torch.maximum(left, right) <= own[:, -1:])
    if not bool((leaf | down).all()):
        raise CalibrationError("a tree with a node that leads neither down nor to itself has no leaves to come to")
    level = torch.zeros(left.numel(), dtype=torch.long)
    for column in range(left.shape[1]):  # children come after their parents
        for child in (left[:, column], right[:, column]):
            step = (child != own[:, column]).long()
            level[child] = torch.maximum(level[child], level[own[:, column]] + step)
    return int(level.max())
