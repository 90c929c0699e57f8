"""Learn interventions from clean images of the *fit* split; the classifier is frozen, in eval mode."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ce_detect.classifiers.base import Classifier
from ce_detect.classifiers.flops import flops
from ce_detect.data import tensors
from ce_detect.data.lazy import Pixels
from ce_detect.interventions import AblateConcept, LearnedIntervention

logger = logging.getLogger("ce_detect")

BATCH = 32
"""Images in a step of learning."""

STEPS = 60
"""Steps of learning, at most."""

LEAST_STEPS = 10
"""Steps below which nothing useful is learned."""

WORK = 3e11
"""Floating-point operations of one forward pass each, over all steps: larger classifiers learn in fewer steps."""


def teach(
    classifier: Classifier, interventions: list[LearnedIntervention], x: Pixels, *, seed: int
) -> list[LearnedIntervention]:
    """Learn the parameters of interventions, in place.

    Each step takes `BATCH` images, traces them once, and moves every intervention by one step of Adam. Gradients are
    taken for the interventions alone. The number of steps follows from the size of the classifier, not from the clock.

    Args:
        classifier: what they are learned for.
        interventions: what to learn.
        x: clean images ``(n, channels, height, width)`` of the *fit* split.
        seed: seed of starts and of the order of images.

    Returns:
        Those that could be learned; a log line says why another could not.
    """
    steps = _steps(classifier)
    if not interventions or steps < LEAST_STEPS or not len(x):
        for intervention in interventions:
            logger.info("not learned: %s; the classifier is too large to learn from on this budget", intervention.name)
        return []
    generator = torch.Generator().manual_seed(seed)
    order = torch.cat([torch.randperm(len(x), generator=generator) for _ in range(-(-steps * BATCH // len(x)))])
    wanted = {intervention.site for intervention in interventions}
    sites = tuple(site for site in classifier.sites if site in wanted)
    left: dict[LearnedIntervention, Any] = dict.fromkeys(interventions)
    for some in order[: steps * BATCH].split(BATCH):
        images = torch.from_numpy(x[some.numpy()]).to(classifier.device)
        with torch.no_grad():
            z, latents = classifier.trace(images, sites)
        for intervention, optimiser in list(left.items()):
            h = latents.get(intervention.site, images)
            optimiser = left[intervention] = optimiser or _started(intervention, h, generator)
            problem = _step(classifier, intervention, optimiser, h, z, images)
            if problem:
                logger.info("not learned: %s; %s", intervention.name, problem)
                del left[intervention]
    for intervention in interventions:
        intervention.requires_grad_(False)
    return list(left)


def _started(intervention: LearnedIntervention, h: Tensor, generator: torch.Generator) -> torch.optim.Optimizer:
    with torch.no_grad():
        intervention.to(h.device).start(h, generator)
    return torch.optim.Adam(intervention.requires_grad_(True).parameters(), lr=intervention.learning_rate)


def _step(
    classifier: Classifier, intervention: LearnedIntervention, optimiser: Any, h: Tensor, z: Tensor, x: Tensor
) -> str:
    """Move an intervention by one step; return what is in the way, or nothing."""
    parameters = list(intervention.parameters())

    def resume(latent: Tensor) -> Tensor:
        followed: Tensor = classifier.resume(intervention.site, latent, x)
        if not followed.requires_grad:
            raise RuntimeError("the classifier gives no gradient")
        return followed

    try:
        with torch.enable_grad():
            loss = intervention.loss(h, z, resume, multi_label=classifier.multi_label)
            gradients = torch.autograd.grad(loss, parameters)
    except RuntimeError as error:  # no gradient, or a tensor that the classifier refuses
        return str(error).splitlines()[0]
    if not all(bool(torch.isfinite(gradient).all()) for gradient in gradients):
        return "its loss has no finite gradient"
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    optimiser.step()
    optimiser.zero_grad()
    with torch.no_grad():
        intervention.project()
    return ""


def _steps(classifier: Classifier) -> int:
    return int(min(STEPS, WORK / (flops(classifier) * BATCH)))


def inserted(classifier: Classifier, intervention: AblateConcept, x: Pixels, y: NDArray[Any] | None) -> dict[str, Any]:
    """How well the classifier does with a concept autoencoder inserted, on clean images.

    Returns:
        ``agreement``: share of images whose decision stays; and where the classes ``y`` ``(n,)`` are known,
        ``accuracy`` without and ``accuracy_inserted`` with the autoencoder.
    """
    before, after = [], []
    with torch.inference_mode():
        for images in tensors.batches(x, 128, classifier.device):
            z, latents = classifier.trace(images, (intervention.site,))
            reconstructed = intervention.reconstruct(latents[intervention.site])
            before.append(z.argmax(1).cpu().numpy())
            after.append(classifier.resume(intervention.site, reconstructed, images).argmax(1).cpu().numpy())
    plain, changed = np.concatenate(before), np.concatenate(after)
    found: dict[str, Any] = {"agreement": round(float(np.mean(plain == changed)), 4)}
    if y is not None and y.ndim == 1:
        found["accuracy"] = round(float(np.mean(plain == y)), 4)
        found["accuracy_inserted"] = round(float(np.mean(changed == y)), 4)
    return found
