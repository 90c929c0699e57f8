"""Fixtures of all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from support.models import TINY, Subject, subject

from ce_detect.classifiers.segmented import TorchClassifier
from ce_detect.classifiers.wrapping import wrap
from ce_detect.data import Images, load_data
from ce_detect.demo.model import fashion_cnn

settings.register_profile("ce-detect", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("ce-detect")


@pytest.fixture(params=TINY)
def any_model(request: pytest.FixtureRequest) -> Subject:
    """Every tiny model in turn."""
    return subject(request.param)


@pytest.fixture(params=[name for name, tiny in TINY.items() if tiny.cut])
def cut_model(request: pytest.FixtureRequest) -> Subject:
    """Every tiny model that can be cut, in turn."""
    return subject(request.param)


@pytest.fixture
def plain() -> Subject:
    """The plain CNN, where one model is enough."""
    return subject("plain")


@pytest.fixture(scope="session")
def fashion() -> TorchClassifier:
    """The packaged demo classifier, wrapped; leave it as it is."""
    classifier = wrap(fashion_cnn(), input_shape=(1, 28, 28), bounds=(0.0, 1.0))
    assert isinstance(classifier, TorchClassifier)
    return classifier


@pytest.fixture(scope="session")
def demo_images() -> Images:
    """The first 512 packaged images."""
    return load_data("demo", limit=512)


@pytest.fixture(autouse=True)
def _cache_in_a_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests out of the user's cache."""
    monkeypatch.setenv("CE_DETECT_CACHE", str(tmp_path / "cache"))


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """Tiny models are slower on several threads, and sums come out in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
