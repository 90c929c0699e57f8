"""RLT, "A Few Large Shifts": recovery testing and logit-layer testing, fused (Yun et al. 2025, arXiv 2505.12586).

*Recovery*: a network a site predicts its averaged features from the deepest ones; the score is large where the errors
are large and not concentrated on one site. *Logit layer*: learned multiplicative masks on the input; log of the change
of the softmax times its entropy, over the change of the features. Both are mapped to normal scores by their clean
quantiles, and the sum of their squares is the score. Clean images alone teach it.

Only the method is ported. The released protocol picks the best epoch for each attack on the test set, fits quantiles on
the clean images that it evaluates, and drops misclassified ones; here the last epoch counts, the quantiles come from
a quarter of the clean images that the networks did not see, and every image counts. Its entropy is NaN where a softmax
saturates; here it comes from log-probabilities. Its masks all start at 1 and so stay equal; here they start apart.

Reproduction: the paper's tables are of ResNet-110 under that protocol, and none of their figures is at hand, so none
is set against ours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.preprocessing import QuantileTransformer
from torch import Tensor, nn

from benchmarks.face import AttackedSet, Images
from benchmarks.peers.protocol import SMALL, Floats, Limits, Peer, Settings, batches, pooled
from benchmarks.subjects.settings import SEED

MASKS = 4
WIDTH = 128
EPOCHS = 60
STEPS = 150
"""Steps in which the masks are learned; a tenth of them where images are large."""

FLOOR = 1e-8


class RLT(Peer):
    """Recovery testing and logit-layer testing."""

    name = "rlt"
    title = "RLT (A Few Large Shifts)"
    source = "Yun et al. 2025, arXiv 2505.12586; github.com/c0510gy/AFLS-AED"
    settings = Settings(
        {
            "recovery": f"4 layers of {WIDTH} a site, {EPOCHS} epochs, AdamW 1e-3 (theirs: 100 of 50,000 images, 1e-4)",
            "masks": f"{MASKS}, from 1 +- 0.01, {STEPS} steps of 32 (a tenth, of 8, above {SMALL} pixels), Adam 1e-3",
            "fusion": "squared normal scores, quantiles of held-out clean images",
        }
    )
    forwards = 1 + MASKS
    large_limits = Limits(attacked=32, corrupted=10)

    def prepare(self, clean: Images, attacked: Mapping[str, AttackedSet]) -> None:
        """Train networks and masks on three quarters of the clean images; quantiles of the rest."""
        order = np.random.default_rng(SEED).permutation(len(clean))
        split = 3 * len(clean) // 4
        known, held_out = clean.subset(np.sort(order[:split])), clean.subset(np.sort(order[split:]))
        with torch.random.fork_rng([]):
            torch.manual_seed(SEED)
            self._train_recovery(known)
            self._train_masks(known)
        self.quantiles = None
        scores = self.features_of(held_out.pixels)
        count = min(1000, len(scores))
        self.quantiles = QuantileTransformer(n_quantiles=count, output_distribution="normal").fit(scores)

    def features(self, x: Tensor) -> Floats:
        """Scores of both tests; one score where their quantiles are known."""
        with torch.inference_mode():
            z, sites = self._trace(x)
            both = torch.stack([self._recovery(sites), self._logit_layer(x, z, sites)], dim=1).cpu().numpy()
        if self.quantiles is None:
            return both
        return np.square(self.quantiles.transform(both)).sum(1, keepdims=True)

    def _trace(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        z, latents = self.classifier.trace(x)
        return z, [pooled(latent) for latent in latents.values()]

    def _recovery(self, sites: list[Tensor]) -> Tensor:
        guesses = [network(sites[-1]) for network in self.networks]
        errors = torch.stack(
            [(site - guess).square().sum(1) for site, guess in zip(sites, guesses, strict=False)], dim=1
        )
        shares = errors.softmax(1)
        return (
            (math.log(errors.shape[1]) + shares * (shares + FLOOR).log()) * (errors.mean(1, keepdim=True) + FLOOR).log()
        ).sum(1)

    def _logit_layer(self, x: Tensor, z: Tensor, sites: list[Tensor]) -> Tensor:
        decision = F.one_hot(z.argmax(1), z.shape[1])
        entropy = -(z.softmax(1) * z.log_softmax(1)).sum(1)
        found = []
        for mask in self.masks:
            masked, changed = self._trace(x * mask)
            moved = (masked.softmax(1) - decision).square().mean(1) * entropy
            shifts = [(new - old).square().mean(1) for new, old in zip(changed, sites, strict=True)]
            found += [(moved + FLOOR).log() - (shift + FLOOR).log() for shift in shifts]
        return torch.stack(found).mean(0)

    def _train_recovery(self, clean: Images) -> None:
        with torch.no_grad():
            parts = [self._trace(batch)[1] for batch in batches(clean.pixels, self.classifier)]
        sites = [torch.cat(site) for site in zip(*parts, strict=True)]
        self.networks = nn.ModuleList(_network(sites[-1].shape[1], site.shape[1]) for site in sites[:-1])
        self.networks.to(self.classifier.device)
        optimizer = torch.optim.AdamW(self.networks.parameters(), lr=1e-3, weight_decay=1e-2)
        for _ in range(EPOCHS):
            for some in torch.randperm(len(clean)).split(64):
                if len(some) > 1:
                    optimizer.zero_grad()
                    pairs = zip(self.networks, sites, strict=False)
                    sum(F.mse_loss(network(sites[-1][some]), site[some]) for network, site in pairs).backward()
                    optimizer.step()
        self.networks.eval().requires_grad_(False)

    def _train_masks(self, clean: Images) -> None:
        steps, size = (STEPS, 32) if max(self.classifier.input_shape[1:]) <= SMALL else (STEPS // 10, 8)
        start = 1 + 0.01 * torch.randn(MASKS, *self.classifier.input_shape)
        self.masks = start.to(self.classifier.device).requires_grad_(True)
        optimizer = torch.optim.Adam([self.masks], lr=1e-3)
        for _ in range(steps):
            some = np.sort(torch.randperm(len(clean))[:size].numpy())
            x = torch.from_numpy(np.asarray(clean.pixels[some])).to(self.classifier.device)
            with torch.no_grad():
                z, sites = self._trace(x)
            (slope,) = torch.autograd.grad(self._logit_layer(x, z, sites).mean(), self.masks)
            self.masks.grad = slope  # the classifier's weights get none
            optimizer.step()
        self.masks = self.masks.detach()


def _network(inputs: int, outputs: int) -> nn.Module:
    layers: list[nn.Module] = []
    for width in (inputs, WIDTH, WIDTH):
        layers += [nn.Linear(width, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(WIDTH, outputs))
