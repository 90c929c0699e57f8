"""The trained pair: counterfactuals of images, and how fake anything looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from ce_detect.artifacts.counterfactual import CounterfactualArtifact, CounterfactualManifest
from ce_detect.classifiers import wrapping
from ce_detect.classifiers.base import Classifier, is_classifier
from ce_detect.core.errors import ArtifactError, ModelMismatchError, UsageError
from ce_detect.core.types import Bounds, Floats, Index
from ce_detect.counterfactual.networks import ClassLogits, Generator, KPlusOne, fakeness, kplusone, runner_up
from ce_detect.data import tensors as inputs

BATCH = 64
"""Images that are shown to the networks at a time."""


@dataclass(frozen=True, slots=True)
class Counterfactuals:
    """Images as they would look in another class; arrays have an entry an image.

    Attributes:
        images: ``(batch, channels, height, width)``, within the bounds.
        mask: ``|x - G(x)|`` in parts of the pixel range, mean over channels, ``(batch, height, width)``.
        target: class that was asked for.
        label: class of the image, by the K+1 network.
        label_after: class of its counterfactual.
        fakeness: probability of "fake" of the image, in [0, 1].
        fakeness_after: the same of its counterfactual.
    """

    images: Floats
    mask: Floats
    target: Index
    label: Index
    label_after: Index
    fakeness: Floats
    fakeness_after: Floats

    def to_dict(self) -> list[dict[str, Any]]:
        """Plain data for JSON, an entry an image; masks are nested lists."""
        names = ("target", "label", "label_after", "fakeness", "fakeness_after")
        return [
            {
                **{name: getattr(self, name)[place].item() for name in names},
                "changed": float(self.mask[place].mean()),
                "mask": self.mask[place].round(6).tolist(),
            }
            for place in range(len(self.mask))
        ]


class Counterfactual:
    """A K+1 network and a generator, trained together; see `ce_detect.counterfactual.fit`.

    Attributes:
        network: the K+1 network, in eval mode.
        generator: see `ce_detect.counterfactual.networks.Generator`.
        manifest: what was trained, and what came of it.
    """

    def __init__(self, network: KPlusOne, generator: Generator, manifest: CounterfactualManifest) -> None:
        self.network = network.eval().requires_grad_(False)
        self.generator = generator.eval().requires_grad_(False)
        self.manifest = manifest

    @property
    def bounds(self) -> Bounds:
        """Smallest and largest valid pixel value."""
        return self.manifest.bounds

    @property
    def classifier(self) -> nn.Module:
        """The K classes of the K+1 network, for the place of a plain classifier: pixels to logits ``(batch, K)``."""
        return ClassLogits(self.network).eval()

    def generate(self, x: Any, target: int | Index | None = None) -> Counterfactuals:
        """Show images as ones of another class.

        Args:
            x: NumPy array or tensor ``(batch, channels, height, width)``, within the bounds.
            target: a class for all, or one an image ``(batch,)``; by default the runner-up of each.

        Raises:
            InputError: images that cannot be judged.
            UsageError: a class that there is not.
        """
        checked = self._checked(x)
        asked = self._targets(target, len(checked))
        parts = []
        with torch.no_grad():
            for part, wanted in zip(checked.split(BATCH), asked, strict=True):
                z = self.network(part)
                to = runner_up(z[:, :-1]) if wanted is None else wanted
                made = self.generator(part, to)
                parts.append((made, (made - part).abs().mean(1), to, z, self.network(made)))
        made, mask, to, z, z_made = (torch.cat(column).cpu() for column in zip(*parts, strict=True))
        low, high = self.bounds
        return Counterfactuals(
            images=made.numpy(),
            mask=(mask / (high - low)).numpy(),
            target=to.numpy(),
            label=z[:, :-1].argmax(1).numpy(),
            label_after=z_made[:, :-1].argmax(1).numpy(),
            fakeness=fakeness(z).sigmoid().numpy(),
            fakeness_after=fakeness(z_made).sigmoid().numpy(),
        )

    def logits(self, x: Any) -> Floats:
        """Logits ``(batch, K + 1)`` of images, "fake" the last; see `generate`."""
        with torch.no_grad():
            found: Floats = torch.cat([self.network(part) for part in self._checked(x).split(BATCH)]).cpu().numpy()
        return found

    def fakeness(self, x: Any) -> Floats:
        """Log-odds of "fake" against all classes ``(batch,)``, in nats: larger = less like a training image."""
        return fakeness(torch.from_numpy(self.logits(x))).numpy()

    def save(self, path: str | Path) -> None:
        """Write everything to one safetensors file, atomically; see `CounterfactualArtifact.save`."""
        self.to_artifact().save(path)

    def to_artifact(self) -> CounterfactualArtifact:
        """Tensors and manifest."""
        state = {**_named("network", self.network), **_named("generator", self.generator)}
        return CounterfactualArtifact({name: value.cpu().numpy() for name, value in state.items()}, self.manifest)

    @classmethod
    def load(cls, path: str | Path, model: nn.Module | Classifier | None = None) -> Self:
        """Read what `save` wrote.

        Args:
            path: of the file.
            model: the classifier whose layers it has, where it was not trained from scratch; wrapped or not.

        Raises:
            ArtifactError: the file is missing, damaged or foreign, or needs the classifier.
            ModelMismatchError: another classifier.
        """
        artifact = CounterfactualArtifact.load(path)
        manifest = artifact.manifest
        classifier = None if manifest.classifier is None else _own(path, manifest, model)
        network, generator = untrained(manifest, classifier)
        try:
            for name, part in (("network", network), ("generator", generator)):
                own = {key: torch.from_numpy(value) for key, value in artifact.tensors.items()}
                part.load_state_dict(
                    {k.removeprefix(f"{name}."): v for k, v in own.items() if k.startswith(f"{name}.")}
                )
        except RuntimeError as error:
            raise ArtifactError(f"the tensors of {path} do not fit its manifest: {error}") from error
        return cls(network, generator, manifest)

    def _checked(self, x: Any) -> Tensor:
        device = next(self.generator.parameters()).device
        return inputs.checked(x, input_shape=self.manifest.input_shape, bounds=self.bounds).to(device)

    def _targets(self, target: int | Index | None, count: int) -> Iterator[Tensor | None]:
        """Classes that are asked for, a batch at a time."""
        batches = -(-count // BATCH)
        if target is None:
            return iter([None] * batches)
        found = np.broadcast_to(np.asarray(target), (count,)) if np.ndim(target) == 0 else np.asarray(target)
        most = self.manifest.classes - 1
        whole = np.issubdtype(found.dtype, np.integer)
        if found.shape != (count,) or not whole or found.min() < 0 or found.max() > most:
            raise UsageError(
                f"target = {target!r}, expected a class from 0 to {most}, or one for each of the {count} images"
            )
        device = next(self.generator.parameters()).device
        return iter(torch.from_numpy(found.astype(np.int64)).to(device).split(BATCH))


def untrained(manifest: CounterfactualManifest, classifier: Classifier | None) -> tuple[KPlusOne, Generator]:
    """The two networks of a manifest, with weights drawn from the seed of the training."""
    size = {key: manifest.settings[key] for key in ("width", "depth")}
    channels = manifest.input_shape[0]

    def make() -> tuple[KPlusOne, Generator]:
        network = kplusone(classifier, channels, manifest.classes, bounds=manifest.bounds, **size)
        return network, Generator(channels, manifest.classes, bounds=manifest.bounds, **size)

    network, generator = seeded(int(manifest.settings["seed"]), make)
    return network, generator if classifier is None else generator.to(classifier.device)


def seeded(seed: int, make: Callable[[], Any]) -> Any:
    """What a function makes with the global generator seeded, which is then as it was before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def wrapped(model: nn.Module | Classifier, input_shape: tuple[int, int, int], bounds: Bounds) -> Classifier:
    """A classifier, wrapped where it is not yet.

    Raises:
        ModelError: a model that cannot be wrapped.
    """
    if is_classifier(model):
        return model
    return wrapping.wrap(cast(nn.Module, model), input_shape=input_shape, bounds=bounds)


def _own(path: str | Path, manifest: CounterfactualManifest, model: nn.Module | Classifier | None) -> Classifier:
    if model is None:
        raise ArtifactError(f"{path} has layers of the classifier that it was trained from: give that model, too")
    classifier = wrapped(model, manifest.input_shape, manifest.bounds)
    if classifier.fingerprint() != manifest.classifier:
        raise ModelMismatchError(
            f"{path} was trained from a classifier with fingerprint {str(manifest.classifier)[:12]}, but the model "
            f"given has {classifier.fingerprint()[:12]}. Train it again for the new weights"
        )
    return classifier


def _named(prefix: str, module: nn.Module) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": value.detach() for name, value in module.state_dict().items()}
