"""Pretrained models behind what prepares their images, in the forms of three libraries, and in none of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from support.models import TINY, tiny_model
from support.pictures import picture

from ce_detect import DetectedModel, Resizing
from ce_detect.adapters.pretrained import from_pretrained, normalized, preprocessing
from ce_detect.core.errors import ModelError
from ce_detect.data.resizing import resized, waves

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


class Theirs:
    """A processor with the settings of Hugging Face's; ``does`` is what it does to a Pillow image."""

    do_resize = do_rescale = do_normalize = True
    rescale_factor = 1 / 255
    image_mean, image_std = MEAN, STD
    resample = Image.Resampling.BICUBIC

    def __init__(self, does: Resizing, **settings: Any) -> None:
        self.does = does
        vars(self).update(settings)

    def __call__(self, *, images: Image.Image, return_tensors: str) -> dict[str, NDArray[np.float32]]:
        """Resize, crop and normalise with Pillow and NumPy."""
        assert return_tensors == "np"
        height, width = self.does.resized(images.height, images.width)
        drawn = images.resize((width, height), Image.Resampling[self.does.interpolation.upper()])
        if self.does.cut is not None:
            tall, wide = self.does.cut
            top, left = round((height - tall) / 2), round((width - wide) / 2)
            drawn = drawn.crop((left, top, left + wide, top + tall))
        unit = np.asarray(drawn, np.float32) * self.rescale_factor - getattr(self, "rescale_offset", False)
        for mean, std in [(self.image_mean, self.image_std)] * self.do_normalize:
            unit = (unit - np.float32(mean)) / np.float32(std)
        return {"pixel_values": unit.transpose(2, 0, 1)[None]}


@pytest.mark.parametrize(
    ("does", "settings"),
    [
        (Resizing((32, 40), None, "bicubic"), {"size": {"height": 32, "width": 40}}),
        (Resizing(40, 32, "bicubic"), {"size": {"shortest_edge": 40}, "crop_size": 32, "do_center_crop": True}),
        (Resizing(36, 32, "bicubic"), {"size": {"shortest_edge": 32}, "crop_pct": 0.875}),
        (Resizing((32, 32), None, "bicubic"), {"size": SimpleNamespace(shortest_edge=32), "crop_pct": 0.875}),
        (Resizing(36, 32, "bicubic"), {"size": 28, "do_center_crop": True, "crop_size": 32, "crop_pct": 0.77}),
        (Resizing((32, 32), None, "bilinear"), {"size": (32, 32), "resample": 2, "do_normalize": False}),
        (
            Resizing((32, 32), None, "lanczos"),
            {"size": [32, 32], "resample": 1, "rescale_offset": True, "rescale_factor": 1 / 127.5},
        ),
    ],
)
def test_a_processor_is_read_by_what_it_does(does: Resizing, settings: dict[str, Any]) -> None:
    """Where its settings may mean several things, the one is taken that gives its images."""
    theirs = Theirs(does, **settings)
    found = preprocessing(theirs)
    assert found.resizing is not None
    assert found.resizing.interpolation == does.interpolation
    image = waves(90, 120)
    expected = theirs(images=Image.fromarray(image), return_tensors="np")["pixel_values"][0]
    unit = expected.transpose(1, 2, 0) * found.std + found.mean
    assert np.abs(255 * unit - resized(image, found.resizing, "x")).mean() < 2


class Flips(Theirs):
    """Also does what no setting says."""

    def __call__(self, **given: Any) -> dict[str, NDArray[np.float32]]:
        """Turn the image upside down."""
        return {name: value[..., ::-1, :] for name, value in super().__call__(**given).items()}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"does": Resizing((16, 16))}, "Theirs does more than to resize, crop and normalise: .* by inf steps of 255"),
        ({"size": {"longest_edge": 32}}, "expected a shortest edge, or height"),
        ({"resample": "trilinear"}, "interpolation 'trilinear' is not known here"),
    ],
)
def test_what_is_not_understood_is_refused(settings: dict[str, Any], said: str) -> None:
    """A gate behind other pixels than the model saw would be calibrated for nothing."""
    given = {"does": Resizing((32, 32), None, "bicubic"), "size": (32, 32)}
    with pytest.raises(ModelError, match=said):
        preprocessing(Theirs(**{**given, **settings}))
    with pytest.raises(ModelError, match=r"Flips does more .* by \d+\.\d steps of 255"):
        preprocessing(Flips(**given))


def test_torchvision_and_timm() -> None:
    """By their settings: transforms are held against what they give, a config is taken at its word."""
    does = Resizing(40, 32)

    class Transforms(SimpleNamespace):
        def __call__(self, drawn: Image.Image) -> NDArray[np.float32]:
            return Theirs(does)(images=drawn, return_tensors="np")["pixel_values"][0]

    settings = {"mean": list(MEAN), "std": list(STD)}
    theirs = Transforms(resize_size=[40], crop_size=[32], interpolation=SimpleNamespace(name="BILINEAR"), **settings)
    assert preprocessing(theirs).resizing == does
    config = {"input_size": (3, 176, 176), "interpolation": "bicubic", "crop_pct": 0.875, **settings}
    assert preprocessing(config).resizing == Resizing(201, (176, 176), "bicubic")
    assert preprocessing({**config, "crop_mode": "squash"}).resizing == Resizing((201, 201), (176, 176), "bicubic")
    with pytest.raises(ModelError, match="crop_mode 'border'"):
        preprocessing({**config, "crop_mode": "border"})
    with pytest.raises(ModelError, match="has no crop_pct"):
        preprocessing({name: value for name, value in config.items() if name != "crop_pct"})
    with pytest.raises(ModelError, match="int prepares no images"):
        preprocessing(3)


def test_photographs_come_to_the_model_as_its_processor_brings_them(tmp_path: Any) -> None:
    """The guard reads files of any size, and its model normalises."""
    channels, height, width = TINY["plain"].shape
    model = tiny_model("plain")
    theirs = Theirs(Resizing((height, width), None, "bicubic"), size={"height": height, "width": width})
    guard = from_pretrained(model, theirs)
    assert isinstance(guard, DetectedModel)
    for i in range(3):
        picture(tmp_path / f"{i}.png", waves(60 + 9 * i, 50))
    images = guard.wrapped.read(tmp_path)
    guard.wrapped.fit(images)
    assert guard.classifier.bounds == (0.0, 1.0)
    assert images.pixels.shape == (3, channels, height, width)
    expected = theirs(images=Image.fromarray(waves(60, 50)), return_tensors="np")["pixel_values"]
    torch = pytest.importorskip("torch")
    with torch.no_grad():
        logits = model(torch.from_numpy(expected))
        again = normalized(model, theirs)(torch.from_numpy(images.x[:1]))
    np.testing.assert_allclose(again, logits, atol=1e-3)
