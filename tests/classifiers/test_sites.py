"""Where models of several shapes are cut, and what the places are called."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from support.awkward import WRAP, Turning
from support.digits import DigitCNN, DigitViT, DigitWary, seeded
from support.models import PLAIN, Subject, subject, tiny_images, tiny_model
from torch import Tensor, nn

from ce_detect.classifiers.base import PENULTIMATE
from ce_detect.classifiers.hooked import HookClassifier
from ce_detect.classifiers.segmented import TorchClassifier
from ce_detect.classifiers.sites import Place, chosen
from ce_detect.classifiers.wrapping import wrap
from ce_detect.core.errors import ModelError

OPT_IN = pytest.mark.skipif(os.environ.get("CE_DETECT_OPT_IN") != "1", reason="set CE_DETECT_OPT_IN=1 to run it")
DIGIT = {"input_shape": (1, 8, 8), "bounds": (0.0, 1.0)}


class Inverted(nn.Module):
    """EfficientNet's block: expand, pad, convolve each channel, project; a shortcut where the shape stays."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        wide = 4 * inputs
        self.expand, self.norm0 = nn.Conv2d(inputs, wide, 1, bias=False), nn.BatchNorm2d(wide)
        self.padding = nn.ZeroPad2d((0, 1, 0, 1) if stride == 2 else 1)
        self.depthwise = nn.Conv2d(wide, wide, 3, stride, groups=wide, bias=False)
        self.norm1, self.act = nn.BatchNorm2d(wide), nn.ReLU6()
        self.project, self.norm2 = nn.Conv2d(wide, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's feature map."""
        h = self.act(self.norm0(self.expand(x)))
        h = self.norm2(self.project(self.act(self.norm1(self.depthwise(self.padding(h))))))
        return h + x if self.shortcut else h


class Inverting(nn.Module):
    """A small EfficientNet: pads before it convolves, pools, flattens and drops out before a linear head."""

    def __init__(self, *shapes: tuple[int, int, int]) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8)
        self.blocks = nn.ModuleList([Inverted(*shape) for shape in shapes])
        self.pool, self.dropout, self.fc = nn.AdaptiveAvgPool2d(1), nn.Dropout(0.2), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(batch, 5)``."""
        h = F.relu6(self.norm(self.stem(x)))
        for block in self.blocks:
            h = block(h)
        return self.fc(self.dropout(self.pool(h).view(h.shape[0], -1)))


def test_sites_of_resnet_20_and_of_the_demo_stay(monkeypatch: pytest.MonkeyPatch, fashion: TorchClassifier) -> None:
    """Attacks, costs and results that are kept on disk belong to these sites."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2])
    from benchmarks.subjects.networks import CifarResNet

    sites = wrap(CifarResNet(3).eval(), input_shape=(3, 32, 32), bounds=(0.0, 1.0)).sites
    assert sites == ("relu", "layer1.2", "layer2.1", "layer2.2", "layer3.1", "layer3.2", PENULTIMATE)
    assert fashion.sites == ("stage1.2", "stage1.5", "stage2.4", "stage2.8", "stage3.2", "stage3.5", PENULTIMATE)


def test_padding_and_pooling_are_no_sites() -> None:
    """Sites of inverted residual blocks are what the blocks return: nothing padded, pooled, flattened or half-way."""
    model = seeded(lambda: Inverting((8, 8, 1), (8, 12, 2), (12, 12, 1))).eval()
    classifier = wrap(model, input_shape=(3, 32, 32), bounds=(0.0, 1.0))
    assert classifier.sites == ("relu6", "blocks.0", "blocks.1", "blocks.2", PENULTIMATE)
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    seen: dict[str, Tensor] = {}
    for name in classifier.sites[1:-1]:
        model.get_submodule(name).register_forward_hook(lambda *a, name=name: seen.__setitem__(name, a[2]))
    with torch.inference_mode():
        model(x)
        latents = classifier.trace(x).latents
    for name, output in seen.items():
        torch.testing.assert_close(latents[name], output, rtol=1e-4, atol=1e-4)


def test_transformers_are_cut_after_blocks() -> None:
    """The latents of PyTorch's own encoder are what its layers return, with gradients, which its fast path lacks."""
    model = seeded(lambda: DigitViT(norm_first=False)).eval().requires_grad_(False)
    classifier = wrap(model, **DIGIT)
    assert isinstance(classifier, TorchClassifier)
    assert classifier.sites == ("patches", "encoder.layers.0", "encoder.layers.1", PENULTIMATE)
    x = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    seen: dict[str, Tensor] = {}
    for name in classifier.sites[1:-1]:
        model.get_submodule(name).register_forward_hook(lambda *a, name=name: seen.__setitem__(name, a[2]))
    with torch.inference_mode():
        logits, latents = classifier.trace(x)
        torch.testing.assert_close(logits, model(x), rtol=1e-4, atol=1e-4)
    for name, tokens in seen.items():
        assert tokens.shape == (5, 17, 32)
        torch.testing.assert_close(latents[name], tokens, rtol=1e-4, atol=1e-4)
    x.requires_grad_(True)
    (gradient,) = torch.autograd.grad(classifier.logits(x)[:, 0].sum(), x)
    assert gradient.flatten(1).abs().amax(1).gt(0).all()


def test_deep_transformers_have_sites_at_their_quarters() -> None:
    """However many blocks there are, four of them are sites."""
    between = {"embedding": Place((17, 32), of_block=False, promising=True)}
    blocks = {f"layers.{i}": Place((17, 32), of_block=True, promising=True) for i in range(12)}
    after = {"norm": Place((17, 32), of_block=False, promising=True)}
    assert chosen({**between, **blocks, **after}, None, (3, 32, 32)) == (
        "layers.2",
        "layers.5",
        "layers.8",
        "layers.11",
    )


def test_maps_whose_channels_come_last_are_of_one_resolution_with_the_others() -> None:
    """Blocks that return a reshape are blocks, few are sites, and logits that a convolution returns are none."""
    model = Turning()
    classifier = wrap(model, **WRAP)
    assert isinstance(classifier, TorchClassifier)
    assert classifier.sites == ("first.0", "first.1", "then.2", "then.3")
    x = classifier.probe(2)
    seen: list[Tensor] = []
    model.then[2].register_forward_hook(lambda *a: seen.append(a[2]))
    with torch.inference_mode():
        model(x)
        latent = classifier.trace(x).latents["then.2"]
    torch.testing.assert_close(latent, seen[0].permute(0, 3, 1, 2), rtol=1e-4, atol=1e-4)


def test_one_logit_leaves_the_names_alone() -> None:
    """Sites of a model with one output are those of the user's model, whether it is cut or hooked."""
    cut = wrap(seeded(lambda: DigitCNN(1)).eval(), **DIGIT)
    hooked = wrap(seeded(lambda: DigitWary(1)).eval(), **DIGIT)
    assert isinstance(hooked, HookClassifier)
    assert cut.sites == ("stage1.1", "stage1.2", "stage2.2", "stage3.2", PENULTIMATE)
    assert hooked.sites == cut.sites[:-1]


class Functional(nn.Module):
    """Computes between its modules, so that the tensors there belong to none of them."""

    def __init__(self, more: int = 0) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.inside = nn.Sequential(*[nn.ReLU() for _ in range(more)])
        self.head = nn.Linear(8 * 16, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(batch, 4)``."""
        h = F.relu(self.second(self.inside(F.relu(self.first(x)))))
        return self.head(h.view(h.shape[0], -1))


def test_names_do_not_depend_on_what_other_modules_compute() -> None:
    """A tensor outside all modules is called after its operation, numbered among its like; rearranging has no name."""
    plain, longer = (wrap(seeded(lambda more=more: Functional(more)).eval(), **DIGIT) for more in (0, 3))
    assert plain.sites == ("first", "relu", "second", "relu_1", PENULTIMATE)
    assert longer.sites == ("relu", "inside.2", "second", "relu_1", PENULTIMATE)


def test_sites_lie_at_the_ends_of_stages(plain: Subject) -> None:
    """Without names, the sites are ends and middles of the stages of one resolution, and the input of the head."""
    with torch.inference_mode():
        latents = plain.classifier.trace(plain.x).latents
    assert plain.classifier.sites[-1] == PENULTIMATE
    assert latents["stage1.2"].shape == (8, 8, 16, 16)
    assert latents["stage3.2"].shape == (8, 12, 8, 8)
    torch.testing.assert_close(latents[PENULTIMATE], latents["stage3.2"].mean((2, 3)))


@torch.inference_mode()
def test_latents_are_the_modules_outputs() -> None:
    """A site named by a module carries what that module returns, batch norm and activation included."""
    model = tiny_model("residual")
    classifier = wrap(model, input_shape=(3, 16, 16), bounds=(0.0, 255.0), sites=("block3", "block1"))
    assert classifier.sites == ("block1", "block3")
    seen: dict[str, Tensor] = {}
    for name in classifier.sites:
        model.get_submodule(name).register_forward_hook(lambda *a, name=name: seen.__setitem__(name, a[2]))
    x = tiny_images("residual", 4)
    model(x)
    for site, latent in classifier.trace(x).latents.items():
        torch.testing.assert_close(latent, seen[site], rtol=1e-4, atol=1e-3)


@torch.inference_mode()
def test_transformer_has_token_latents() -> None:
    """The blocks of a vision transformer are sites of shape (batch, tokens, width)."""
    part = subject("transformer")
    shapes = {site: tuple(latent.shape) for site, latent in part.classifier.trace(part.x).latents.items()}
    assert shapes["block1"] == (8, 10, 16)
    assert shapes[PENULTIMATE] == (8, 16)


def test_sites_the_user_names(plain: Subject) -> None:
    """Named sites are kept, in the order of computation, whatever the order of naming."""
    classifier = wrap(plain.model, **PLAIN, sites=("stage3.2", "stage1.2"))
    assert classifier.sites == ("stage1.2", "stage3.2")
    with torch.inference_mode():
        logits, latents = classifier.trace(plain.x)
        torch.testing.assert_close(classifier.resume("stage1.2", latents["stage1.2"], plain.x), logits)


def test_no_sites_are_possible(plain: Subject) -> None:
    """A classifier without sites still gives logits."""
    classifier = wrap(plain.model, **PLAIN, sites=())
    assert classifier.sites == ()
    assert classifier.head_weight is None
    with torch.inference_mode():
        torch.testing.assert_close(classifier.trace(plain.x).logits, plain.classifier.logits(plain.x))


@pytest.mark.parametrize(("name", "listed"), [("plain", "stage3.2"), ("branching", "conv3")])
def test_unknown_site_lists_what_there_is(name: str, listed: str) -> None:
    """The error names the site that is missing and those that there are."""
    part = subject(name)
    with pytest.raises(ModelError, match=rf"no site 'layer9' in this model; it can be cut at: .*{listed}"):
        wrap(part.model, input_shape=part.tiny.shape, bounds=part.tiny.bounds, sites=("layer9",))


@OPT_IN
def test_sites_of_efficientnet() -> None:
    """EfficientNet-Lite0 at 224 pixels: the ends and middles of its five stages, and what feeds the head."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        efficientnet = pytest.importorskip("efficientnet_lite_pytorch").EfficientNet
    classifier = wrap(efficientnet.from_name("efficientnet-lite0").eval(), input_shape=(3, 224, 224), bounds=(0.0, 1.0))
    blocks = tuple(f"_blocks.{i}" for i in (0, 1, 2, 3, 4, 7, 10, 14))
    assert classifier.sites == ("_bn0", *blocks, "_swish", PENULTIMATE)
