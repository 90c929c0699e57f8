"""An ONNX graph as a PyTorch module, one submodule for each tensor that is worth a name."""

from __future__ import annotations

import re
from collections.abc import Iterable

from torch import Tensor, nn

from ce_detect.classifiers.onnx.convert.operations import applied
from ce_detect.classifiers.onnx.convert.reading import constants_of, nodes_of
from ce_detect.classifiers.onnx.convert.rewriting import folded, grouped, needed, of_any_batch, with_linear_layers
from ce_detect.classifiers.onnx.convert.values import Node, Numbers, Value, is_numbers
from ce_detect.classifiers.onnx.file import OnnxFile


class OnnxModule(nn.Module):
    """An ONNX graph, run by PyTorch: it has gradients and can be cut and exported like any other module.

    Constants become parameters of `weights` under the names that the file gives them. What depends on constants alone
    is computed once, here.

    Args:
        file: the graph.

    Raises:
        UnconvertibleError: an operation that PyTorch does not have, or has in another way.
    """

    def __init__(self, file: OnnxFile) -> None:
        super().__init__()
        self.file_name = file.name
        self.channels_last = file.channels_last
        self.input, self.output = file.input, file.output
        nodes, constants = folded(needed(nodes_of(file), file.output), constants_of(file))
        if file.batch is not None:
            nodes = [of_any_batch(node, constants, file.batch) for node in nodes]
        nodes = with_linear_layers(nodes, constants)
        self.weights = nn.Module()
        self.numbers: dict[str, Numbers] = {}
        self._bound: dict[str, str] = {}
        self._keep_constants(nodes, constants)
        self._steps = [Step(group) for group in grouped(nodes, file.output)]
        self._done = _last_uses(self._steps, file.output)
        for step in self._steps:
            self.add_module(_free(site_name(step.output), self), step)
        self.eval()

    def _keep_constants(self, nodes: Iterable[Node], constants: dict[str, Value]) -> None:
        for node in nodes:
            for name in node.inputs:
                value = constants.get(name)
                if value is None or name in self._bound or name in self.numbers:
                    continue
                if is_numbers(value):
                    self.numbers[name] = value
                    continue
                key = self._bound[name] = _free(re.sub(r"\W", "_", name), self.weights)
                if value.is_floating_point():
                    self.weights.register_parameter(key, nn.Parameter(value, requires_grad=False))
                else:
                    self.weights.register_buffer(key, value)

    def forward(self, x: Tensor) -> Tensor:
        """Map pixels ``(batch, channels, height, width)`` to logits."""
        values: dict[str, Value] = dict(self.numbers)
        values |= {name: getattr(self.weights, key) for name, key in self._bound.items()}
        values[self.input] = x.permute(0, 2, 3, 1) if self.channels_last else x
        for step, done in zip(self._steps, self._done, strict=True):
            results = step(*(values.get(name) for name in step.inputs))
            values.update(zip(step.outputs, results, strict=False))
            for name in done:
                values.pop(name, None)
        logits = values[self.output]
        assert isinstance(logits, Tensor)
        return logits


class Step(nn.Module):
    """An operation and what follows it at once, such as a convolution, its batch norm and its activation."""

    def __init__(self, nodes: list[Node]) -> None:
        super().__init__()
        self.nodes = nodes
        inside = {name for node in nodes[:-1] for name in node.outputs}
        self.inputs = tuple(name for node in nodes for name in node.inputs if name not in inside)
        self.outputs = nodes[-1].outputs

    @property
    def output(self) -> str:
        """Name of the tensor that it gives, the first where it gives several."""
        return self.outputs[0]

    def forward(self, *given: Value | None) -> tuple[Value, ...]:
        """Values of `outputs` from those of `inputs`."""
        left = list(given)
        result: tuple[Value, ...] = ()
        for i, node in enumerate(self.nodes):
            own = [result[0] if i and name == self.nodes[i - 1].outputs[0] else left.pop(0) for name in node.inputs]
            result = applied(node, own)
        return result


def _last_uses(steps: list[Step], output: str) -> list[tuple[str, ...]]:
    """For each step, names of the values that no later one needs."""
    later, found = {output}, []
    for step in reversed(steps):
        own = {*step.inputs, *step.outputs}
        found.append(tuple(sorted(own - later)))
        later |= set(step.inputs)
    return found[::-1]


def site_name(tensor: str) -> str:
    """Name of a tensor as a site: without what exporters put around it, and slashes for dots, which modules refuse."""
    return tensor.removesuffix("_output_0").strip("/").replace(".", "/") or "tensor"


def _free(name: str, module: nn.Module) -> str:
    """The name, with underscores behind it where the module has an attribute of that name."""
    while hasattr(module, name):
        name += "_"
    return name
