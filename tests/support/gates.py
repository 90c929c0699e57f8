"""Gates in front of tiny models, with heads of random weights."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import onnx
import torch

from ce_detect.classifiers import onnx as onnx_models
from ce_detect.classifiers.base import site_shapes
from ce_detect.classifiers.onnx.black_box import OnnxClassifier
from ce_detect.classifiers.wrapping import wrap
from ce_detect.demo.model import fashion_cnn
from ce_detect.detector.gate import GateModule
from ce_detect.export.fused_graph import fused
from ce_detect.features.layer_consistency import LayerConsistency
from ce_detect.features.signature import Signature
from ce_detect.fitting import shapley, untrained
from ce_detect.interventions import (
    Downscale,
    Flip,
    GaussianNoise,
    Rotate,
    Scale,
)
from support.models import TINY, tiny_classifier, tiny_images, tiny_model
from support.onnx_files import quantized, tiny_file


@functools.cache
def graph(
    name: str = "plain", kind: str = "mlp", *, uint8: bool = False, one_pass: bool = False
) -> tuple[GateModule, bytes]:
    """A gate and its graph."""
    made = gate(name, kind)
    return made, fused(made, MANIFEST, uint8=uint8, one_pass=one_pass).SerializeToString(deterministic=True)


OUTPUTS = ["logits", "label", "score", "p_value", "probability", "is_adversarial"]


MANIFEST = {"b": [1, 2], "a": {"text": "ä"}}


def gate(name: str, kind: str, *, interventions: list[Any] | None = None, multi_label: bool = False) -> GateModule:
    """A gate in front of a tiny model, with a head of random weights and a threshold amid the scores of its images."""
    tiny = TINY[name]
    classifier = (
        wrap(tiny_model(name), input_shape=tiny.shape, bounds=tiny.bounds, multi_label=True)
        if multi_label
        else tiny_classifier(name)
    )
    if interventions is None:
        latent = [Scale(site=classifier.sites[0]), GaussianNoise(channels=tiny.shape[0], width=tiny.bounds[1])]
        interventions = [Flip(), Rotate(), Downscale(), *latent] if tiny.elastic else latent
    recovery = values = None
    if name == "plain":
        sites = classifier.sites[:2]
        recovery = LayerConsistency(sites, tuple(2 * site_shapes(classifier)[site][0] for site in sites))
        values = shapley.fitted(classifier, tiny_images(name, 8, seed=1).numpy())
    signature = Signature(
        classifier, interventions, sites=classifier.sites[:1], layer_consistency=recovery, shapley=values, chunk=16
    )
    x = tiny_images(name, 8)
    with torch.no_grad():
        features = signature(x)[1]
    head = untrained.head(len(signature.names), kind)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    for buffer in head.buffers():
        if buffer.is_floating_point() and buffer.ndim:
            buffer.add_(0.1 * torch.rand(buffer.shape, generator=generator))
    if kind != "distance":
        head.slope.fill_(1.0)
        head.offset.fill_(0.0)
    scores = head(features)
    made = GateModule(
        signature, head, clean_scores=scores, threshold=float(scores.sort().values[3:5].mean()), prevalence=0.1
    )
    return made.eval()


def black_box(name: str, folder: Path) -> OnnxClassifier:
    """A tiny model behind operations that cannot be converted."""
    onnx.save(quantized(tiny_file(name)), folder / "quantized.onnx")
    tiny = TINY[name]
    classifier = wrap(onnx_models.load(folder / "quantized.onnx"), input_shape=tiny.shape, bounds=tiny.bounds)
    assert isinstance(classifier, OnnxClassifier)
    return classifier


@functools.cache
def demo() -> Any:
    """The demo model, wrapped."""
    return wrap(fashion_cnn(), input_shape=(1, 28, 28), bounds=(0.0, 1.0))
