"""Training: it learns what changes, and it is the same after it was stopped."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support.counterfactuals import SHORT, fresh_folder, squares, trained, zeros_and_ones
from support.digits import DigitCNN, classifier_of_digits, digits

from ce_detect.core.errors import CalibrationError
from ce_detect.counterfactual import TrainingSettings, fit, training


def test_it_finds_what_makes_the_class() -> None:
    """Where the class is a square in one quarter, the network tells the classes and the mask is in that quarter."""
    x, y = squares()
    settings = TrainingSettings(
        steps=150, batch=16, width=4, depth=1, rate=3e-3, sparsity=2.0, cycle=2.0, identity=2.0, decay=0.9
    )
    made = fit(x, y, settings, cache=fresh_folder(), progress=False)
    found = made.generate(x[:40], 1 - y[:40])
    assert made.manifest.figures["accuracy"] == 1
    assert made.manifest.problems == ()
    mass = found.mask / found.mask.sum((1, 2), keepdims=True)
    assert mass[:, :4, :4].sum((1, 2)).mean() > 0.4  # a quarter of the picture
    bright = found.images[:, 0, 1:4, 1:4].mean((1, 2))
    assert bright[y[:40] == 0].mean() > bright[y[:40] == 1].mean()  # squares appear, and go


def test_the_same_seed_gives_the_same_bytes() -> None:
    """Another one gives others."""
    first, second = (fit(*zeros_and_ones(), SHORT, cache=fresh_folder(), progress=False) for _ in range(2))
    assert first.to_artifact().to_bytes() == second.to_artifact().to_bytes()
    other = TrainingSettings(**{**SHORT.plain(), "seed": 1})
    assert trained(other).to_artifact().to_bytes() != first.to_artifact().to_bytes()


def test_ctrl_c_loses_nothing_that_matters(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The same call again goes on at the checkpoint, and gives the bytes and losses of an undisturbed training."""
    monkeypatch.setattr(training, "KEPT_EVERY", 0.0)
    steps: list[float] = []

    def interrupted(what: str, done: float, total: float) -> None:
        steps.append(done)
        if len(steps) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(*zeros_and_ones(), SHORT, cache=tmp_path, losses_to=tmp_path / "a.csv", progress=interrupted)
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 1 + 3
    made = fit(*zeros_and_ones(), SHORT, cache=tmp_path, losses_to=tmp_path / "a.csv", progress=interrupted)
    assert steps == [1, 2, 3, 4, 4, 5, 6]
    whole = fit(*zeros_and_ones(), SHORT, cache=fresh_folder(), losses_to=tmp_path / "b.csv", progress=False)
    assert made.to_artifact().to_bytes() == whole.to_artifact().to_bytes()
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert (
        (tmp_path / "a.csv").read_text().startswith("step,real,fake,r1,augment,adversarial,sparsity,cycle,identity\n")
    )


def test_kill_9_loses_nothing_that_matters(tmp_path: Path) -> None:
    """A process that is killed in the middle of a step leaves a whole checkpoint."""
    source = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from support.counterfactuals import SHORT, zeros_and_ones\n"
        "from ce_detect.counterfactual import fit, training\n"
        "training.KEPT_EVERY = 0.0\n"
        "told = lambda what, done, total: done < 4 or os.kill(os.getpid(), signal.SIGKILL)\n"
        "fit(*zeros_and_ones(), SHORT, cache=Path(sys.argv[1]), progress=told)\n"
    )
    environment = {"PYTHONPATH": ":".join(sys.path), "PATH": "", "OMP_NUM_THREADS": "1"}
    killed = subprocess.run([sys.executable, "-c", source, str(tmp_path)], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    steps: list[float] = []
    made = fit(*zeros_and_ones(), SHORT, cache=tmp_path, progress=lambda what, done, total: steps.append(done))
    assert steps == [4, 5, 6]
    assert made.to_artifact().to_bytes() == trained().to_artifact().to_bytes()


def test_a_damaged_checkpoint_is_not_believed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is told, and the training starts anew."""
    fit(*zeros_and_ones(), SHORT, cache=tmp_path, progress=False)
    (kept,) = (tmp_path / "counterfactual").iterdir()
    kept.write_bytes(kept.read_bytes()[:-100])
    made = fit(*zeros_and_ones(), SHORT, cache=tmp_path, progress=False)
    assert "cannot be read" in caplog.text
    assert made.to_artifact().to_bytes() == trained().to_artifact().to_bytes()


def test_a_frozen_classifier_stays_as_it_is() -> None:
    """Its logits are the K classes, and "fake" alone is trained."""
    model, (x, y) = classifier_of_digits(DigitCNN), digits()
    settings = TrainingSettings(**{**SHORT.plain(), "frozen": True})
    made = fit(x, y, settings, model=model, cache=fresh_folder(), progress=False)
    with torch.no_grad():
        np.testing.assert_allclose(made.logits(x[:50])[:, :10], model(torch.from_numpy(x[:50])), atol=1e-3)
    assert np.ptp(made.fakeness(x[:50])) > 0
    with pytest.raises(CalibrationError, match="no model was given"):
        fit(x, y, settings, progress=False)


def test_pixels_of_another_range() -> None:
    """Bounds are found in the images, or named; counterfactuals are in the same range."""
    x, y = zeros_and_ones()
    made = fit(x * 255, y, SHORT, cache=fresh_folder(), progress=False)
    assert made.bounds == (0.0, 255.0)
    assert made.generate(x[:3] * 255).images.max() > 2
    assert fit(x * 2 - 1, y, SHORT, bounds=(-1.0, 1.0), cache=fresh_folder(), progress=False).bounds == (-1.0, 1.0)


@pytest.mark.slow
def test_256_pixels_are_a_matter_of_settings() -> None:
    """One step of large colour images, deeper networks."""
    x = np.random.default_rng(0).random((8, 3, 256, 256), np.float32)
    settings = TrainingSettings(steps=1, batch=2, width=8, depth=5)
    made = fit(x, np.arange(8) % 2, settings, cache=fresh_folder(), progress=False)
    assert made.generate(x[:1]).images.shape == (1, 3, 256, 256)
