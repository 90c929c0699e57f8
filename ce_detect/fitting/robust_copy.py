"""Train a robust copy of a classifier: adversarial training against its own decisions, by fast gradient signs.

Nothing is asked of the images but that they look like those of the deployment: labels are the classifier's own
decisions, and it does no harm that the classifier was trained on them. Half of them change naturally, where a recipe
names such change. The copy starts at the classifier's weights.
Each step changes a batch within the radius by one step along the sign of the gradient from a random start, and moves
the copy towards the decisions on what was changed (Wong et al. 2020, arXiv 2001.03994). While it learns, a batch norm
stands behind each of its convolutions: those that the classifier had are folded away. Its weights are then rounded, so
that a graph stores them in a quarter of the bytes of the classifier's, see `ce_detect.artifacts.int8`.
"""

from __future__ import annotations

import logging
from copy import deepcopy
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ce_detect.artifacts import int8
from ce_detect.classifiers import batchnorm
from ce_detect.classifiers.base import INPUT, Classifier
from ce_detect.classifiers.flops import flops
from ce_detect.core.errors import CalibrationError
from ce_detect.core.types import Progress
from ce_detect.core.version import VERSION
from ce_detect.data.corruptions import Corruption, mixture
from ce_detect.data.lazy import Pixels
from ce_detect.data.splits import fingerprint
from ce_detect.interventions import RobustCopy
from ce_detect.storage.cache import Arrays, Cache, digest

logger = logging.getLogger("ce_detect")

RADII = 3.0
"""Radius of the training, as a multiple of the median perturbation that fools the classifier."""

BATCH = 128
"""Images in a step."""

IMAGES = 96_000
"""Images in all steps, each as often as it comes up, at most."""

WORK = 8e12
"""Floating-point operations of one forward pass each, over all steps: larger classifiers learn in fewer steps."""

LEAST_STEPS = 50
"""Steps below which a copy learns nothing useful."""

RATE = 1e-3
"""Largest step size of Adam; it rises over the first fifth of the steps and falls to nothing over the rest."""

OVERSHOOT = 1.25
"""Step of the attack over the radius."""

CORRUPTED = 0.5
"""Share of the images that change naturally."""

SHIFT = 8
"""Images are shifted by up to this part of their sides."""

_FORMAT = 2


def untrained(classifier: Classifier, scale: float = 1.0) -> RobustCopy | None:
    """A copy at the classifier's last site, with its weights; None where none can be trained, as a warning says."""
    if not classifier.differentiable:
        return _without("the classifier gives no gradient")
    if not learns(classifier, scale):
        return _without("the classifier is too large to train a copy of it")
    try:
        copy = RobustCopy(site=classifier.sites[-1] if classifier.sites else INPUT, scale=scale)
        copy.attach(classifier)
    except CalibrationError as error:
        return _without(str(error))
    return copy


def learns(classifier: Classifier, scale: float) -> bool:
    """Whether a copy that looks at images of this scale is small enough to learn something."""
    return _steps(classifier, scale) >= LEAST_STEPS


def for_timing(copy: RobustCopy) -> RobustCopy:
    """The same with other weights than the classifier's: ONNX Runtime computes what is equal only once."""
    other = deepcopy(copy)
    with torch.no_grad():
        for weights in other.parameters():
            weights.mul_(1.01)
    return other


def trained(
    classifier: Classifier, copy: RobustCopy, x: Pixels, reach: float, *, seed: int, folder: Path,
    corruptions: tuple[Corruption, ...] = (), progress: Progress | None = None,
) -> RobustCopy | None:  # fmt: skip
    """Train a copy in place, or take its weights from the cache.

    Args:
        classifier: what was copied.
        copy: see `untrained`.
        x: images ``(n, channels, height, width)``.
        reach: median perturbation that fools the classifier, in pixel values.
        seed: of the order of images, of shifts and of random starts.
        folder: the cache.
        corruptions: natural change, to half of the images in a step: else the copy would doubt what changed naturally.
        progress: called now and then.

    Returns:
        The copy; None where the images are too few, as a warning says.
    """
    if len(x) < BATCH:
        return _without(f"{len(x)} images are too few to train it on, at least {BATCH} are needed")
    assert copy.layers is not None
    layers = copy.layers

    def weights() -> Arrays:
        _train(classifier, copy, x, RADII * reach, seed, corruptions, progress)
        return {name: value.cpu().numpy() for name, value in layers.state_dict().items()}

    known = Cache(folder, "hardened", content="weights of a hardened copy")
    shapes = {name: tuple(value.shape) for name, value in layers.state_dict().items()}
    found = known.get(_key(classifier, copy, x, reach, seed, corruptions), shapes, weights)
    layers.load_state_dict({name: torch.from_numpy(value) for name, value in found.items()})
    rounded(copy)
    return copy


def rounded(copy: RobustCopy) -> None:
    """Round the weights of a copy in place, see `ce_detect.artifacts.int8`."""
    with torch.no_grad():
        for weights in copy.parameters():
            if weights.ndim > 1:
                weights.copy_(torch.from_numpy(int8.rounded(weights.cpu().numpy())))


def _without(why: str) -> RobustCopy | None:
    """No copy, and a warning that says why."""
    logger.warning("no hardened copy: %s", why)
    return None


def _train(
    classifier: Classifier, copy: RobustCopy, x: Pixels, eps: float, seed: int, corruptions: tuple[Corruption, ...],
    progress: Progress | None,
) -> None:  # fmt: skip
    assert copy.layers is not None
    steps, device = _steps(classifier, copy.scale), classifier.device
    first = torch.from_numpy(x[: 2 * BATCH]).to(device)
    added = batchnorm.put_in(copy.layers, lambda: copy(first))
    parameters = list(copy.requires_grad_(True).parameters())
    optimiser = torch.optim.Adam(parameters, lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=RATE, total_steps=steps, pct_start=0.2)
    generator = torch.Generator().manual_seed(seed)
    order = torch.cat([torch.randperm(len(x), generator=generator) for _ in range(-(-steps * BATCH // len(x)))])
    for step, some in enumerate(order[: steps * BATCH].split(BATCH)):
        images = _moved(torch.from_numpy(x[some.numpy()]), generator)
        if corruptions:
            images = torch.from_numpy(
                mixture(images.numpy(), corruptions, share=CORRUPTED, bounds=classifier.bounds, seed=seed + step)
            )
        images = images.to(device)
        start = (torch.rand(images.shape, generator=generator) * 2 - 1).to(device) * eps
        gradients = _gradients(classifier, copy, images, start, eps)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
        if progress is not None:
            progress("harden: training a copy", step + 1, steps)
    optimiser.zero_grad()
    batchnorm.folded(copy.layers, added)
    copy.requires_grad_(False)


def _gradients(
    classifier: Classifier, copy: RobustCopy, images: Tensor, start: Tensor, eps: float
) -> tuple[Tensor, ...]:
    """How the loss on attacked images moves with each parameter of the copy.

    Args:
        classifier: what was copied.
        copy: what learns.
        images: a batch ``(batch, channels, height, width)``.
        start: random change of each pixel, at most ``eps``.
        eps: largest change of a pixel.
    """

    def loss(pixels: Tensor) -> Tensor:
        return _loss(classifier.resume(copy.site, copy(pixels), pixels), wanted)

    with torch.no_grad():
        wanted = _wanted(classifier.logits(images), classifier.multi_label)
    with torch.enable_grad():
        changed = (images + start).clamp(*classifier.bounds).requires_grad_()
        (slope,) = torch.autograd.grad(loss(changed), changed)
        further = changed.detach() + OVERSHOOT * eps * slope.sign()
        within = torch.minimum(torch.maximum(further, images - eps), images + eps).clamp(*classifier.bounds)
        return torch.autograd.grad(loss(within), list(copy.parameters()))


def _wanted(z: Tensor, multi_label: bool) -> Tensor:
    return (z > 0).to(z.dtype) if multi_label else z.argmax(1)


def _loss(z: Tensor, wanted: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(z, wanted) if wanted.is_floating_point() else F.cross_entropy(z, wanted)


def _moved(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images of a batch, each of them flipped or not, all of them shifted alike; the edges are mirrored."""
    flipped = torch.rand((len(images), 1, 1, 1), generator=generator) < 0.5
    images = torch.where(flipped, images.flip(3), images)
    height, width = images.shape[2:]
    down, right = max(1, height // SHIFT), max(1, width // SHIFT)
    top, left = (int(torch.randint(2 * most + 1, (), generator=generator)) for most in (down, right))
    padded = F.pad(images, (right, right, down, down), mode="reflect")
    return padded[:, :, top : top + height, left : left + width]


def _steps(classifier: Classifier, scale: float) -> int:
    return int(min(IMAGES, WORK / (flops(classifier) * scale**2)) / BATCH)


def _key(
    classifier: Classifier, copy: RobustCopy, x: Pixels, reach: float, seed: int, corruptions: tuple[Corruption, ...]
) -> str:
    return digest(
        format=_FORMAT,
        version=VERSION,
        classifier=[classifier.fingerprint(), classifier.bounds],
        copy=copy.name,
        images=fingerprint(x),
        reach=reach,
        seed=seed,
        training=[RADII, BATCH, _steps(classifier, copy.scale), RATE, OVERSHOOT, SHIFT, CORRUPTED],
        corruptions=[one.spec() for one in corruptions],
    )
