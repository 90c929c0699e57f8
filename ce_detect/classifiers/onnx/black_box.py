"""Black-box classifiers: graphs that ONNX Runtime runs, cut into sub-graphs where one tensor carries everything."""

from __future__ import annotations

from typing import Any

import onnx
import torch
from onnx import ModelProto, NodeProto
from torch import Tensor

from ce_detect.classifiers import sites as _sites
from ce_detect.classifiers.base import INPUT, PENULTIMATE, Trace
from ce_detect.classifiers.interface import Interface, ModuleClassifier, agree
from ce_detect.classifiers.layout import channels_last, to_first, to_last
from ce_detect.classifiers.onnx import placeholder, session
from ce_detect.classifiers.onnx.convert.module import site_name
from ce_detect.classifiers.onnx.convert.rewriting import FOLLOWING
from ce_detect.classifiers.onnx.file import FLOATS, OnnxFile
from ce_detect.classifiers.onnx.session import RuntimeModule
from ce_detect.core.errors import ModelError

_PARAMETRIC = frozenset({"Conv", "ConvInteger", "Gemm", "MatMul", "MatMulInteger", "QLinearConv", "QLinearMatMul"})
_DERIVING = frozenset({
    "AveragePool", "DequantizeLinear", "Dropout", "Flatten", "GlobalAveragePool", "GlobalMaxPool", "Identity",
    "MaxPool", "Pad", "QuantizeLinear", "ReduceMean", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze",
})  # fmt: skip
"""What holds what the tensor before it holds, padded, pooled, rearranged or rounded."""


class OnnxClassifier(ModuleClassifier):
    """An ONNX graph without gradients, see `ce_detect.classifiers.base.Classifier`.

    Resuming from a site runs the sub-graph behind it, cut out by onnx, so that everything before it is skipped. While
    ``torch.export`` looks on, a run becomes a node that stands for it, see `ce_detect.classifiers.onnx.placeholder`.
    """

    differentiable = False
    portable = True
    head_weight: Tensor | None = None

    def __init__(self, model: RuntimeModule, interface: Interface, *, sites: tuple[str, ...] | None = None) -> None:
        super().__init__(model, interface)
        self.model = model
        self._sessions: dict[str, Any] = {}
        probe = interface.probe(2)
        self._tensors, places = found_sites(model, probe)
        self._shapes = {site: place.shape for site, place in places.items()}
        self._returned = model(probe)
        self.sites = _sites.chosen(places, sites, self.input_shape)
        self._turned = {site for site in self.sites if channels_last(self._shapes[site], self.input_shape)}
        self.elastic = self._takes_another_size()

    def _takes_another_size(self) -> bool:
        """Whether smaller inputs give logits, and a site gives what they say."""
        probe = self.interface.probe(2, scale=0.75)
        try:
            trace = self.trace(probe)
            return all(agree(trace.logits, self.resume(site, h, probe)) for site, h in trace.latents.items())
        except ModelError:
            return False

    def logits(self, x: Tensor) -> Tensor:
        """Return logits ``(batch, classes)``, without gradients."""
        (z,) = self._run(self.model.as_fed(x), ())
        return self.interface.logits(z.to(x.device))

    forward = logits

    def trace(self, x: Tensor, sites: tuple[str, ...] | None = None) -> Trace:
        """Return logits and the latents at ``sites`` (all by default) from one forward pass."""
        wanted = tuple(site for site in self.sites if sites is None or site in sites)
        z, *latents = self._run(self.model.as_fed(x), wanted)
        named = {site: h.float().to(x.device) for site, h in zip(wanted, latents, strict=True)}
        shown = {site: to_first(h) if site in self._turned else h for site, h in named.items()}
        return Trace(self.interface.logits(z.to(x.device)), shown)

    def resume(self, site: str, latent: Tensor, x: Tensor) -> Tensor:
        """Return the logits ``(draws * batch, classes)`` that follow from ``latent``; ``x`` is not looked at."""
        if site == INPUT:
            return self.logits(latent)
        _, kind = self._tensors[site]
        latent = to_last(latent) if site in self._turned else latent
        (z,) = self._run(latent.to(getattr(torch, FLOATS[kind])), (), after=site)
        return self.interface.logits(z.to(latent.device))

    def graph(self, sites: tuple[str, ...], after: str | None) -> ModelProto:
        """The graph that shows these sites behind the logits, from the input or from a site on."""
        if after is not None:
            return session.after(self.model.file, *self._tensors[after])
        return session.showing(self.model.file, dict(self._tensors[site] for site in sites))

    def filled(self, model: ModelProto) -> ModelProto:
        """Put the graph where an exported model has runs of this classifier; see `placeholder.filled`."""
        return placeholder.filled(model, self.model.file, self.graph)

    def _run(self, fed: Tensor, sites: tuple[str, ...], *, after: str | None = None) -> list[Tensor]:
        """Run that graph, which is opened once; gives the output of the model and the latents."""
        if torch.compiler.is_exporting():
            expected = [self._returned, *(self._latent(site) for site in sites)]
            return placeholder.run(fed, expected, sites, after)
        key = f"{sites} after {after}"
        if key not in self._sessions:
            proto = self.graph(sites, after)
            self._sessions[key] = session.session(proto.SerializeToString(), self.model.file.name)
        return session.outputs(self._sessions[key], fed, batch=self.model.file.batch)

    def _latent(self, site: str) -> Tensor:
        """A tensor of the shape and the type of a latent, of no memory."""
        kind = getattr(torch, FLOATS[self._tensors[site][1]])
        return torch.empty((2, *self._shapes[site]), dtype=kind, device="meta")

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the sessions, which each process opens for itself."""
        return {**self.__dict__, "_sessions": {}}


def found_sites(model: RuntimeModule, probe: Tensor) -> tuple[dict[str, tuple[str, int]], dict[str, _sites.Place]]:
    """Tensors through which everything passes, after the first layer with weights.

    Returns:
        Name of the tensor and its element type for each site, and places by site, in the order of computation.
    """
    file = model.file
    nodes = list(file.proto.graph.node)
    kinds = _kinds(file)
    names = [name for name in cuts(nodes, file.input, file.output) if kinds.get(name) in FLOATS]
    shapes = _shapes(model, {name: kinds[name] for name in names}, probe)
    made = {name: node for node in nodes for name in node.output}
    users: dict[str, list[NodeProto]] = {}
    for node in nodes:
        for name in node.input:
            users.setdefault(name, []).append(node)
    head = next((node.input[0] for node in nodes if file.output in node.output and node.op_type == "Gemm"), None)
    tensors, places = {}, {}
    for name, shape in shapes.items():
        goes_on = [user.op_type for user in users.get(name, [])]
        promising = made[name].op_type not in _DERIVING and not (len(goes_on) == 1 and goes_on[0] in FOLLOWING)
        site = PENULTIMATE if name == head else site_name(name)
        tensors[site] = (name, kinds[name])
        places[site] = _sites.Place(shape, False, promising)
    return tensors, places


def cuts(nodes: list[NodeProto], start: str, output: str) -> list[str]:
    """Names of the tensors that alone carry everything the rest of the graph needs, in the order of computation."""
    carried: set[str] = {start}
    carriers = []
    for node in nodes:
        if carried & set(node.input):
            carriers.append(node)
            carried |= set(node.output)
    last = {name: i for i, node in enumerate(carriers) for name in node.input if name in carried}
    alive, found, parametric = {start}, [], False
    for i, node in enumerate(carriers):
        alive = {name for name in alive if last[name] > i} | {name for name in node.output if last.get(name, -1) > i}
        parametric = parametric or node.op_type in _PARAMETRIC
        if parametric and len(alive) == 1 and alive <= set(node.output) and node.output[0] != output:
            found.append(node.output[0])
    return found


def _kinds(file: OnnxFile) -> dict[str, int]:
    """Element types of the tensors of the graph by name."""
    graph = onnx.shape_inference.infer_shapes(file.proto).graph
    return {value.name: value.type.tensor_type.elem_type for value in graph.value_info}


def _shapes(model: RuntimeModule, kinds: dict[str, int], probe: Tensor) -> dict[str, tuple[int, ...]]:
    """Shapes without the batch of those tensors that have one, and two to four dimensions in all."""
    opened = session.session(session.showing(model.file, kinds).SerializeToString(), model.file.name)
    _, *latents = session.outputs(opened, model.as_fed(probe), batch=model.file.batch)
    return {
        name: tuple(h.shape[1:])
        for name, h in zip(kinds, latents, strict=True)
        if h.ndim in (2, 3, 4) and len(h) == len(probe)
    }
