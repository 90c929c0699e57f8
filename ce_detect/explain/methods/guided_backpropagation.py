"""Guided backpropagation, by Captum, also through models that were captured as a graph of operations."""

from __future__ import annotations

import copy
import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from ce_detect.classifiers.base import Classifier
from ce_detect.classifiers.fx_nodes import ATEN
from ce_detect.core import extras
from ce_detect.core.errors import UsageError
from ce_detect.explain.methods.base import Method


class _Between(nn.ReLU):
    """A ReLU with a ceiling; Captum knows it as a ReLU."""

    def __init__(self, most: float) -> None:
        super().__init__()
        self.most = most

    def forward(self, x: Tensor) -> Tensor:
        """Clip to 0 and ``most``."""
        return F.hardtanh(x, 0.0, self.most)


class GuidedBackpropagation(Method):
    """Gradient of the label's logit where only what is positive passes a ReLU back, its size over channels (Captum's).

    Captum looks for modules. In a captured graph ReLUs are operations, so the maps are made on a copy that has modules
    in their place.
    """

    name = "guided-backpropagation"
    title = "Guided backpropagation"
    paper = "Springenberg et al. 2014, arXiv 1412.6806"

    def _maps(self, classifier: Classifier, x: Tensor, labels: Tensor) -> Tensor:
        captum = extras.module("captum.attr", self.title, extra="explain")
        model = with_relu_modules(classifier)
        with torch.enable_grad(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Setting backward hooks on ReLU")  # what it does, not a fault
            found: Tensor = captum.GuidedBackprop(model).attribute(x.requires_grad_(), target=labels)
        return found.abs().sum(1)


def with_relu_modules(classifier: Classifier) -> nn.Module:
    """A copy of a classifier whose ReLUs are modules.

    Raises:
        UsageError: the classifier has no ReLU.
    """
    assert isinstance(classifier, nn.Module)  # whatever is differentiable is one
    copied = copy.deepcopy(classifier)
    for part in [part for part in copied.modules() if isinstance(part, fx.GraphModule)]:
        for node in list(part.graph.nodes):
            relu = _relu(node)
            if relu is not None:
                part.add_submodule(f"guided_{node.name}", relu)
                node.op, node.target = "call_module", f"guided_{node.name}"
                node.args, node.kwargs = node.args[:1], {}
        part.recompile()
    if not any(isinstance(part, nn.ReLU) for part in copied.modules()):
        raise UsageError(
            "guided backpropagation is made for ReLUs, and this model has none. Take another method, such as "
            "integrated-gradients"
        )
    return copied


def _relu(node: fx.Node) -> nn.Module | None:
    """The module for a node that is a ReLU, with a ceiling or without."""
    if node.op != "call_function":
        return None
    operation = getattr(node.target, "overloadpacket", node.target)
    if operation in (ATEN.relu, ATEN.relu_):
        return nn.ReLU()
    if operation in (ATEN.relu6, ATEN.relu6_):
        return _Between(6.0)
    if operation in (ATEN.hardtanh, ATEN.hardtanh_, ATEN.clamp) and node.args[1:2] == (0.0,) and len(node.args) == 3:
        return _Between(float(node.args[2]))  # type: ignore[arg-type]
    return None
