"""Maps whose channels come last: at a site they come first, and resuming takes them so."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from support.awkward import SHAPE, WRAP, Turning
from support.onnx_files import exported
from torch import nn

from ce_detect.classifiers import onnx as onnx_models
from ce_detect.classifiers.base import Classifier, site_shapes
from ce_detect.classifiers.hooked import HookClassifier
from ce_detect.classifiers.interface import Interface
from ce_detect.classifiers.layout import channels_last
from ce_detect.classifiers.onnx import RuntimeModule
from ce_detect.classifiers.wrapping import wrap


@pytest.mark.parametrize(
    ("shape", "image", "last"),
    [
        ((56, 56, 96), (3, 224, 224), True),
        ((96, 56, 56), (3, 224, 224), False),
        ((7, 7, 768), (3, 224, 224), True),
        ((1, 1, 64), (3, 32, 32), True),
        ((16, 16, 16), (3, 32, 32), False),
        ((60, 40, 64), (3, 480, 320), True),
        ((13, 9, 64), (3, 100, 70), True),
        ((60, 60, 40), (3, 480, 320), False),
        ((90, 60, 40), (3, 480, 320), False),
        ((197, 192), (3, 224, 224), False),
        ((64,), (3, 32, 32), False),
    ],
)
def test_which_come_last(shape: tuple[int, ...], image: tuple[int, ...], last: bool) -> None:
    """The two sides of a map are in the ratio of the image's; what could be both is taken as channels first."""
    assert channels_last(shape, image) is last


@pytest.mark.parametrize("kind", ["cut", "hooked", "converted", "black box"])
def test_channels_come_first_at_every_site(kind: str, tmp_path: Path) -> None:
    """Cut, hooked or run by ONNX Runtime: six channels of eight by eight positions, and resuming is exact."""
    model = Turning()
    if kind == "hooked":
        found: Classifier = HookClassifier(model, Interface(**WRAP), sites=("first.0", "then.1", "then.3"))
    elif kind == "cut":
        found = wrap(model, **WRAP)
    else:
        file = tmp_path / "turning.onnx"
        onnx.save(exported(model, torch.rand(2, *SHAPE), dynamo=False), file)
        loaded: nn.Module = onnx_models.load(file) if kind == "converted" else RuntimeModule(onnx_models.read(file))
        found = wrap(loaded, **WRAP)
    shapes = site_shapes(found)
    assert len(shapes) >= 3
    maps = {shape for shape in shapes.values() if len(shape) == 3 and shape[1] > 1}
    assert maps == {(6, 8, 8)}
    x = found.probe(3)
    with torch.no_grad():
        torch.testing.assert_close(found.logits(x), model(x), rtol=1e-3, atol=1e-4)
        trace = found.trace(x)
        for site, latent in trace.latents.items():
            torch.testing.assert_close(found.resume(site, latent, x), trace.logits, rtol=1e-4, atol=1e-5)
            _, made = found.trace_and_resume(x, found.sites, {site: lambda h: 0 * h})
            torch.testing.assert_close(made[site], found.resume(site, 0 * latent, x), rtol=1e-4, atol=1e-5)
        copy = found.copied(site)
        assert (copy is None) == (kind in ("hooked", "black box"))
        if copy is not None:
            torch.testing.assert_close(copy(x), latent, rtol=1e-4, atol=1e-5)
