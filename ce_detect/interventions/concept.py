"""do(take a concept away): an autoencoder inserted at a site, one of its concept channels set to zero."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ce_detect.core.errors import CalibrationError
from ce_detect.interventions.base import LearnedIntervention, Range, Resume, check_size

SHALLOW, DEEP, INTERPRETABLE = 1.0, 1.0, 0.1
"""Weights of the three losses."""


class AblateConcept(LearnedIntervention):
    """Insert an autoencoder at a feature map and set one of its ``concepts`` channels to zero, each in its own draw.

    Draw 0 sets nothing to zero: it is the classifier with the autoencoder inserted. Effects of the other draws are
    measured against its logits, so that they are those of a concept and not of the reconstruction; how far insertion
    itself moves the decision is kept as a feature of its own.

    The autoencoder is two convolutions with a ReLU between them, so that 0 means absence of a concept. It is trained
    with three losses (Harradon et al.; Yang et al.), the weights being ours: `shallow_loss`, `deep_loss` and
    `interpretability_loss`.
    """

    family = "concept"
    label_preserving = False
    latents = True
    reference = True
    learning_rate = 0.001
    paper = "Yang et al. 2019, arXiv 1902.03380; Harradon et al. 2018, arXiv 1802.00541"
    ranges: ClassVar = {"concepts": Range(1, 4095, whole=True), "size": (1, 3, 5)}

    keep: Tensor

    def __init__(self, *, site: str, channels: int, concepts: int = 8, size: int = 3) -> None:
        super().__init__(site=site, channels=channels, concepts=concepts, size=size)
        if concepts > channels:
            raise CalibrationError(f"concepts = {concepts} is more than the {channels} channels at {site!r}")
        check_size("AblateConcept", channels, concepts, size, size)
        self.draws = concepts + 1
        self.encoder = _convolution(channels, concepts, size)
        self.decoder = _convolution(concepts, channels, size)
        keep = 1 - torch.eye(concepts + 1, concepts, dtype=torch.float32).roll(1, 0)
        self.register_buffer("keep", keep.view(concepts + 1, 1, concepts, 1, 1), persistent=False)

    def encode(self, h: Tensor) -> Tensor:
        """Concept images ``(batch, concepts, height, width)``, not negative, of a feature map."""
        return F.relu(self.encoder(h))

    def reconstruct(self, h: Tensor) -> Tensor:
        """What the inserted autoencoder makes of a feature map, of the same shape."""
        reconstructed: Tensor = self.decoder(self.encode(h))
        return reconstructed

    def forward(self, h: Tensor) -> Tensor:
        """Reconstruct with all concepts, then without each, see `Intervention.forward`."""
        code = self.keep.to(h.dtype) * self.encode(h).unsqueeze(0)
        ablated: Tensor = self.decoder(code.flatten(0, 1))
        return ablated

    def start(self, h: Tensor, generator: torch.Generator) -> None:
        """Start at the principal components of the channels, shifted so that most of their values are above 0."""
        rows = h.movedim(1, -1).flatten(0, -2).cpu().double()  # not every device has doubles, or eigenvectors
        mean, deviation = rows.mean(0), rows.std()
        concepts = int(self.settings["concepts"])
        directions = torch.linalg.eigh((rows - mean).T @ (rows - mean))[1].flip(1)[:, :concepts]
        directions = directions * directions.sum(0).sign()  # eigenvectors come with either sign
        shift = 2 * ((rows - mean) @ directions).std(0) + 1e-3 * deviation
        middle = int(self.settings["size"]) // 2
        self.encoder.weight[:, :, middle, middle] = directions.T.float()
        self.decoder.weight[:, :, middle, middle] = directions.float()
        assert self.encoder.bias is not None
        assert self.decoder.bias is not None
        self.encoder.bias.copy_(shift - mean @ directions)
        self.decoder.bias.copy_(mean - directions @ shift)

    def loss(self, h: Tensor, z: Tensor, resume: Resume, *, multi_label: bool = False) -> Tensor:
        """Weighted sum of the three losses, see `LearnedIntervention.loss`."""
        code = self.encode(h)
        reconstructed = self.decoder(code)
        return (
            SHALLOW * shallow_loss(h, reconstructed)
            + DEEP * deep_loss(z, resume(reconstructed), multi_label=multi_label)
            + INTERPRETABLE * interpretability_loss(code)
        )


def shallow_loss(h: Tensor, reconstructed: Tensor) -> Tensor:
    """Mean absolute difference of the feature maps, relative to the mean absolute value: 0 for a perfect copy."""
    return (h - reconstructed).abs().mean() / (h.abs().mean() + 1e-12)


def deep_loss(z: Tensor, z_inserted: Tensor, *, multi_label: bool = False) -> Tensor:
    """``KL(p, p')`` between the classifier without and with the autoencoder, in nats, mean over images.

    ``p`` is ``softmax z``; where each logit is the log-odds of a label of its own, the labels' divergences add up.
    """
    if multi_label:
        return (z.sigmoid() * (z - z_inserted) + F.softplus(z_inserted) - F.softplus(z)).sum(1).mean()
    return F.kl_div(z_inserted.log_softmax(1), z.log_softmax(1), reduction="batchmean", log_target=True)


def interpretability_loss(code: Tensor) -> Tensor:
    """How far concept images are from being smooth, sparse and different from each other.

    The sum of their total variation, of the share of positions they cover (the squared L1 over the squared L2 norm),
    and of the mean cosine between the images of two concepts. Each is the same for all multiples of an image, so that
    a smaller code with a larger decoder gains nothing.

    Args:
        code: ``(batch, concepts, height, width)``, not negative.
    """
    mass = code.mean((2, 3)) + 1e-6
    jumps = code.diff(dim=2).abs().sum((2, 3)) + code.diff(dim=3).abs().sum((2, 3))
    variation = jumps / code[0, 0].numel()
    spread = mass.square() / (code.square().mean((2, 3)) + 1e-12)
    images = F.normalize(code.flatten(2), dim=2, eps=1e-6)
    cosines = images @ images.transpose(1, 2)
    concepts = code.shape[1]
    others = (cosines.sum((1, 2)) - cosines.diagonal(dim1=1, dim2=2).sum(1)) / max(1, concepts * (concepts - 1))
    return (variation / mass).mean() + spread.mean() + others.mean()


def _convolution(inputs: int, outputs: int, size: int) -> nn.Conv2d:
    """A convolution of zeros that keeps height and width; nothing is drawn from the global generator."""
    convolution: nn.Conv2d = nn.utils.skip_init(nn.Conv2d, inputs, outputs, size, padding=size // 2)
    for parameter in convolution.parameters():
        nn.init.zeros_(parameter)
        parameter.requires_grad_(False)
    return convolution
