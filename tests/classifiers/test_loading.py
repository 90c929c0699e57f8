"""Loading models by name, and the embedded demo classifier."""

from __future__ import annotations

import pickle
import sys
from importlib.resources import files
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from ce_detect.classifiers.loading import from_onnx, load_model
from ce_detect.core.errors import MissingExtraError, ModelError, UsageError
from ce_detect.data import load_data
from ce_detect.demo.model import FashionCNN, fashion_cnn

SOURCE = """
import torch

class Tiny(torch.nn.Module):
    size: int
    def __init__(self, classes=3):
        super().__init__()
        self.head = torch.nn.Linear(4, classes)

    def forward(self, x):
        return self.head(x.flatten(1))

def tiny():
    return Tiny()

def not_a_module():
    return {"head.weight": torch.zeros(3, 4)}

def needs_classes(classes):
    return Tiny(classes)

answer = 42
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A Python file with factories, good and bad."""
    path = tmp_path / "my_model.py"
    path.write_text(SOURCE)
    return path


@pytest.fixture
def tiny(source: Path) -> nn.Module:
    """The model of the good one."""
    return load_model(f"{source}:tiny")


def test_demo_classifies_most_packaged_images() -> None:
    """The packaged weights reach 90 % on the packaged images, none of which they were trained on."""
    images = load_data("demo", limit=500)
    with torch.inference_mode():
        predicted = load_model("demo")(torch.from_numpy(images.x)).argmax(1).numpy()
    assert images.y is not None
    assert (predicted == images.y).mean() >= 0.90


def test_demo_is_small_and_frozen() -> None:
    """The demo classifier is in eval mode, has at most 100,000 parameters and a file below 450 kB."""
    model = fashion_cnn()
    assert not model.training
    assert sum(parameter.numel() for parameter in model.parameters()) <= 100_000
    assert len((files("ce_detect.demo") / "assets" / "fashion_cnn.safetensors").read_bytes()) < 450_000


@pytest.mark.parametrize("size", [1, 14, 28, 45])
def test_demo_takes_any_input_size(size: int) -> None:
    """The demo classifier is fully convolutional, so a downscaled input gives logits too."""
    with torch.inference_mode():
        assert fashion_cnn()(torch.zeros(2, 1, size, size)).shape == (2, 10)


def test_module_factory_is_called() -> None:
    """A dotted module and a factory name give what the factory returns, in eval mode."""
    model = load_model("ce_detect.demo.model:FashionCNN")
    assert isinstance(model, FashionCNN)
    assert not model.training


def test_file_factory_is_called_and_pickles(tiny: nn.Module) -> None:
    """A model whose class lives in a file named by its path can be pickled and keeps its output."""
    x = torch.ones(2, 1, 2, 2)
    copy = pickle.loads(pickle.dumps(tiny))
    assert torch.equal(copy(x), tiny(x))


def test_file_is_run_by_its_own_rules(tiny: nn.Module) -> None:
    """Annotations in a user's file are what they would be in an ordinary import, not strings."""
    assert type(tiny).__annotations__["size"] is int


def test_file_is_run_once_until_it_changes(source: Path) -> None:
    """The same file gives the same class, and an edited file gives the edited one."""
    first = load_model(f"{source}:tiny")
    assert type(load_model(f"{source}:tiny")) is type(first)
    source.write_text(SOURCE.replace("classes=3", "classes=5"))
    assert load_model(f"{source}:tiny")(torch.ones(1, 4)).shape == (1, 5)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth"])
def test_weights_are_loaded(source: Path, tiny: nn.Module, tmp_path: Path, suffix: str) -> None:
    """A state dict in either kind of file replaces the weights that the factory gave."""
    path = tmp_path / f"weights{suffix}"
    save(tiny.state_dict(), path)
    other = load_model(f"{source}:tiny", path)
    assert torch.equal(other.get_parameter("head.weight"), tiny.get_parameter("head.weight"))


def test_demo_takes_other_weights(tmp_path: Path) -> None:
    """Weights given along with ``demo`` replace the packaged ones."""
    weights = tmp_path / "zero.safetensors"
    save({name: torch.zeros_like(value) for name, value in FashionCNN().state_dict().items()}, weights)
    assert not load_model("demo", str(weights)).get_parameter("head.weight").any()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("resnet18", "names no factory"),
        ("my_model.py:", "names no factory"),
        ("net.pt2", r"def model\(\): return torch.export.load\('net.pt2'\).module\(\), and name that: file.py:model"),
        ("net.safetensors", r"def model\(\): return MyNet\(\), give --weights net.safetensors, and name that"),
        ("no/such/file.py:tiny", "no Python file"),
        ("no_such_package.models:tiny", "no module 'no_such_package.models'"),
        ("ce_detect.demo.model:fashion_cn", "no factory 'fashion_cn'; it has fashion_cnn"),
        ("{source}:answer", "is a int that cannot be called"),
        ("{source}:needs_classes", "cannot be called without arguments"),
    ],
)
def test_spec_that_names_no_factory_is_a_usage_error(source: Path, spec: str, message: str) -> None:
    """Whatever is wrong with the name, the error says which part of it."""
    with pytest.raises(UsageError, match=message):
        load_model(spec.format(source=source))


@pytest.mark.parametrize("content", ["import no_such_dependency", "def broken(:", "raise RuntimeError('at import')"])
def test_file_that_fails_to_import_is_a_usage_error(tmp_path: Path, content: str) -> None:
    """The error names the file, keeps its cause, and the half-run module is forgotten."""
    path = tmp_path / "broken.py"
    path.write_text(content)
    for _ in range(2):
        with pytest.raises(UsageError, match=r"broken\.py' raised") as caught:
            load_model(f"{path}:tiny")
        assert caught.value.__cause__ is not None


def test_module_that_lacks_a_dependency_is_not_called_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that exists but imports something absent is reported with what is absent."""
    (tmp_path / "lacking_module.py").write_text("import no_such_dependency")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match="No module named 'no_such_dependency'"):
        load_model("lacking_module:tiny")


def test_error_inside_a_factory_passes_through(tmp_path: Path) -> None:
    """What a user's factory raises is the user's to see, unchanged."""
    path = tmp_path / "failing.py"
    path.write_text("def make():\n    raise KeyError('mine')")
    with pytest.raises(KeyError, match="mine"):
        load_model(f"{path}:make")


def test_factory_must_return_a_module(source: Path) -> None:
    """A factory that returns a state dict is refused by the type that it returned."""
    with pytest.raises(ModelError, match=r"returned dict, expected a torch\.nn\.Module"):
        load_model(f"{source}:not_a_module")


def test_weights_of_another_model_are_refused(source: Path, tmp_path: Path) -> None:
    """The error names the first missing and the first unexpected key."""
    save({"fc.weight": torch.zeros(3, 4), "fc.bias": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(ModelError, match=r"2 missing keys, first 'head.weight'; 2 unexpected keys, first 'fc.weight'"):
        load_model(f"{source}:tiny", tmp_path / "other.pt")


def test_weights_of_another_shape_are_refused(source: Path, tmp_path: Path) -> None:
    """The error names the tensor whose shape differs."""
    save({"head.weight": torch.zeros(5, 4), "head.bias": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(ModelError, match=r"does not fit Tiny: size mismatch for head\.weight"):
        load_model(f"{source}:tiny", tmp_path / "other.pt")


@pytest.mark.parametrize(
    ("name", "message"), [("weights.h5", r"end in '\.h5', expected"), ("absent.safetensors", "no weights file")]
)
def test_weights_must_be_a_file_of_a_known_kind(source: Path, name: str, message: str) -> None:
    """An unknown suffix and an absent file are usage errors."""
    with pytest.raises(UsageError, match=message):
        load_model(f"{source}:tiny", name)


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt"])
@pytest.mark.parametrize("content", [b"", b"not a state dict at all"])
def test_broken_weights_are_refused(source: Path, tmp_path: Path, name: str, content: bytes) -> None:
    """An empty or foreign file gives an error that says what to save instead."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=r"cannot be read as a state dict.*save model\.state_dict\(\)"):
        load_model(f"{source}:tiny", tmp_path / name)


def test_pickled_model_is_refused(source: Path, tiny: nn.Module, tmp_path: Path) -> None:
    """A whole pickled model is not executed but refused."""
    torch.save(tiny, tmp_path / "whole.pt")
    with pytest.raises(ModelError, match=r"save model\.state_dict\(\)"):
        load_model(f"{source}:tiny", tmp_path / "whole.pt")


@pytest.mark.parametrize(("content", "held"), [({"epoch": 3, "state_dict": {}}, "epoch"), (torch.zeros(3), "Tensor")])
def test_checkpoint_around_a_state_dict_is_refused(source: Path, tmp_path: Path, content: object, held: str) -> None:
    """A training checkpoint is refused with what it holds."""
    torch.save(content, tmp_path / "checkpoint.pt")
    with pytest.raises(ModelError, match=f"{held}.*expected tensors by name"):
        load_model(f"{source}:tiny", tmp_path / "checkpoint.pt")


def test_names_that_are_no_onnx_files() -> None:
    """A factory is not called because a string names it; weights are in the file already."""
    with pytest.raises(ModelError, match=r"not the name of an \.onnx file"):
        from_onnx("package.module:factory")
    with pytest.raises(UsageError, match="holds its weights"):
        load_model("classifier.onnx", "weights.safetensors")


def test_missing_torch_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without torch, importing the module says which extra brings it."""
    source = (files("ce_detect.classifiers") / "loading.py").read_text()
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"Loading a model needs .*ce-detect\[calibrate\]"):
        exec(compile(source, "loading.py", "exec"), {"__name__": "loading_without_torch"})


def save(state: dict[str, torch.Tensor], path: Path) -> None:
    """Write a state dict in the kind of file that the suffix asks for."""
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save(state, path)
