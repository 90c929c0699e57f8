"""Training, resumable: the same seed gives the same bytes, also after it was killed and started again."""

from __future__ import annotations

import csv
import importlib.metadata
import io
import logging
import platform
import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ce_detect.artifacts.counterfactual import CounterfactualManifest
from ce_detect.artifacts.manifest import DataPart
from ce_detect.classifiers.base import Classifier, is_classifier
from ce_detect.core.errors import CalibrationError
from ce_detect.core.progress import reported
from ce_detect.core.types import Bounds, Floats, Index, Progress
from ce_detect.core.version import VERSION
from ce_detect.counterfactual import checks, losses
from ce_detect.counterfactual.model import Counterfactual, untrained, wrapped
from ce_detect.counterfactual.settings import TrainingSettings
from ce_detect.counterfactual.state import State
from ce_detect.data import Images, as_images, splits, validation
from ce_detect.data import tensors as inputs
from ce_detect.storage import atomic
from ce_detect.storage.cache import Cache, digest
from ce_detect.storage.folders import cache_folder

logger = logging.getLogger("ce_detect")

KEPT_EVERY = 15.0
"""Seconds from one checkpoint to the next."""

HELD_OUT = 0.1
"""Share of the images that figures are measured on."""

_FORMAT = 1


def fit(
    x: Any,
    y: Any = None,
    settings: TrainingSettings | None = None,
    *,
    model: nn.Module | Classifier | None = None,
    bounds: Bounds | None = None,
    losses_to: str | Path | None = None,
    cache: str | Path | None = None,
    device: str | torch.device | None = None,
    progress: Progress | bool | None = None,
) -> Counterfactual:
    """Train a K+1 network and a generator of counterfactuals.

    A checkpoint goes to the cache now and then. The same call again goes on there, and gives the bytes that an
    undisturbed training gives on this machine.

    Args:
        x: images, see `ce_detect.data.as_images`.
        y: their classes ``(n,)``, from 0 on, unless ``x`` brings them.
        settings: of the training.
        model: a classifier of one's own, wrapped or not, whose layers the K+1 network starts from, with one output
            added. None trains one from scratch.
        bounds: smallest and largest valid pixel value; by default those of the model or of the images.
        losses_to: CSV file for the losses of each step.
        cache: folder for checkpoints; None for ``CE_DETECT_CACHE`` or the user's cache.
        device: where to train from scratch; None for a GPU where there is one. A model trains where it is.
        progress: called with what is being done, work done and work in all; None or True shows it on stderr.

    Raises:
        InputError: images or labels that nothing can be learned from, see `ce_detect.counterfactual.checks.before`.
        ModelError: a model that no output can be added to.
        CalibrationError: a setting that makes no sense, or a disk that is full.
    """
    asked = settings or TrainingSettings()
    if asked.frozen and model is None:
        raise CalibrationError("frozen = True keeps a classifier of one's own as it is, but no model was given")
    images = _read(x, y, bounds, model)
    channels, height, width = images.pixels.shape[1:]
    assert images.bounds is not None
    classifier = None if model is None else wrapped(model, (channels, height, width), images.bounds)
    with torch.no_grad():
        classes = checks.before(images, asked, classifier)
    made = _Training.of(images, asked, classifier, classes, device)
    with reported(progress) as told:
        state = made.run(Cache(Path(cache) if cache else cache_folder(), "counterfactual", content="a training"),
                         None if losses_to is None else Path(losses_to), told)  # fmt: skip
    return made.finished(state)


def _read(x: Any, y: Any, bounds: Bounds | None, model: nn.Module | Classifier | None) -> Images:
    """Images within bounds, which are theirs."""
    images = as_images(x, y)
    if bounds is None and is_classifier(model):
        bounds = model.bounds
    bounds = bounds or images.bounds or validation.found_bounds(images.pixels)
    images = replace(images.within(bounds), bounds=bounds)
    validation.check_all(images.pixels, input_shape=images.pixels.shape[1:], bounds=bounds)
    return images


@dataclass(frozen=True)
class _Training:
    """What is trained on what: the images that are learned from, and those that are held out."""

    x: Floats
    y: Index
    held: Floats
    held_y: Index
    settings: TrainingSettings
    classifier: Classifier | None
    manifest: CounterfactualManifest
    device: torch.device

    @classmethod
    def of(
        cls, images: Images, settings: TrainingSettings, classifier: Classifier | None, classes: int,
        device: str | torch.device | None,
    ) -> _Training:  # fmt: skip
        assert images.y is not None
        assert images.bounds is not None
        parts = splits.split_by_identity(images.pixels, {"fit": 1 - HELD_OUT, "held": HELD_OUT}, settings.seed)
        fit, held = (images.subset(parts[name]) for name in ("fit", "held"))
        channels, height, width = images.pixels.shape[1:]
        versions = {name: importlib.metadata.version(name) for name in ("torch", "numpy")}
        manifest = CounterfactualManifest(
            input_shape=(channels, height, width),
            bounds=images.bounds,
            resizing=images.resizing,
            classes=classes,
            settings=settings.plain(),
            data=DataPart(
                fingerprint=splits.fingerprint(images.pixels),
                images=len(images),
                splits={name: len(part) for name, part in parts.items()},
            ),
            figures={},
            problems=(),
            versions={"python": platform.python_version(), "ce-detect": VERSION, **versions},
            classifier=None if classifier is None else classifier.fingerprint(),
        )
        assert fit.y is not None
        assert held.y is not None
        here = device or ("cuda" if torch.cuda.is_available() else "cpu")
        place = torch.device(here) if classifier is None else classifier.device
        return cls(fit.x, fit.y, held.x, held.y, settings, classifier, manifest, place)

    def run(self, cache: Cache, losses_to: Path | None, progress: Progress) -> State:
        """Train to the end, from the checkpoint where there is one."""
        network, generator = untrained(self.manifest, self.classifier)
        state = State(network.to(self.device), generator.to(self.device), self.settings)
        key = self._key()
        found = cache.read(key, state.shapes())
        if found is not None:
            state.resume(found)
        kept = time.monotonic()
        while state.step < self.settings.steps:
            self._step(state)
            progress("training a counterfactual", state.step, self.settings.steps)
            if time.monotonic() - kept > KEPT_EVERY or state.step == self.settings.steps:
                with cache.keeping():
                    cache.write(key, state.arrays())
                _write(losses_to, state)
                kept = time.monotonic()
        _write(losses_to, state)
        return state

    def finished(self, state: State) -> Counterfactual:
        """The averaged networks with their figures; what went wrong is logged."""
        made = Counterfactual(*state.averaged, self.manifest)
        figures = checks.figures(made, self.held, self.held_y)
        problems = checks.after(figures)
        for problem in problems:
            logger.warning("%s", problem)
        rounded = {name: float(f"{value:.5g}") for name, value in figures.items()}
        manifest = CounterfactualManifest.of({**self.manifest.plain(), "figures": rounded, "problems": problems})
        return Counterfactual(made.network, made.generator, manifest)

    def _step(self, state: State) -> None:
        """One step of each network; all that is random follows from the seed and the number of the step."""
        seeds = np.random.SeedSequence([self.settings.seed, state.step]).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(seeds[0]) >> 1)
        x, y, target = self._batch(state.step, generator)
        noise, noise_made = (self._noise(x.shape, generator).to(self.device) for _ in range(2))
        made = state.generator(x, target)
        penalised = self.settings.r1 > 0 and state.step % losses.R1_EVERY == 0
        total, parts = losses.of_network(
            state.network, x + noise, y, made.detach() + noise_made, self.settings, penalised=penalised
        )
        _descend(state, "network", total)
        total, others = losses.of_generator(
            state.network, state.generator, x, y, target, made, noise_made, self.settings
        )
        _descend(state, "generator", total)
        state.average()
        state.step += 1
        state.losses.append([float({**parts, **others}[name].detach()) for name in losses.NAMES])

    def _batch(self, step: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Images, their classes and others, as many of each class that there is."""
        present = np.array(list(self._rows))
        wanted = present[torch.randint(len(present), (self.settings.batch,), generator=generator).numpy()]
        draws = torch.rand(self.settings.batch, generator=generator).numpy()
        rows = np.array(
            [self._rows[label][int(draw * len(self._rows[label]))] for label, draw in zip(wanted, draws, strict=True)]
        )
        shift = torch.randint(1, len(present), (self.settings.batch,), generator=generator).numpy()
        target = present[(np.searchsorted(present, wanted) + shift) % len(present)]
        x = next(inputs.batches(self.x[rows], len(rows), self.device))
        if self.settings.mirror:
            turned = torch.rand((len(rows), 1, 1, 1), generator=generator) < 0.5
            x = torch.where(turned.to(self.device), x.flip(3), x)
        return x, torch.from_numpy(wanted).to(self.device), torch.from_numpy(target).to(self.device)

    @cached_property
    def _rows(self) -> dict[int, Index]:
        """Positions of the images of each class that there is, in order."""
        return {int(label): np.flatnonzero(self.y == label) for label in np.unique(self.y)}

    def _noise(self, shape: torch.Size, generator: torch.Generator) -> Tensor:
        low, high = self.manifest.bounds
        sizes = torch.rand((shape[0], 1, 1, 1), generator=generator) * self.settings.noise * (high - low)
        return sizes * torch.randn(shape, generator=generator)

    def _key(self) -> str:
        plain = self.manifest.plain()
        return digest(format=_FORMAT, labels=np.concatenate([self.y, self.held_y]), device=self.device.type, **plain)


def _descend(state: State, name: str, total: Tensor) -> None:
    """One step of an optimiser; the gradients of the other network are let go."""
    for optimiser in state.optimisers.values():
        optimiser.zero_grad()
    total.backward()
    state.optimisers[name].step()


def _write(path: Path | None, state: State) -> None:
    """Write the losses of all steps as CSV, atomically."""
    if path is None:
        return
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("step", *losses.NAMES))
    rows.writerows([step + 1, *(f"{value:.6g}" for value in row)] for step, row in enumerate(state.losses))
    atomic.write(path, text.getvalue().encode())
