"""A training between two steps: everything that the next step depends on, as tensors."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Adam
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ce_detect.counterfactual.losses import NAMES
from ce_detect.counterfactual.networks import Generator, KPlusOne
from ce_detect.counterfactual.settings import TrainingSettings
from ce_detect.storage.cache import Arrays, Shapes

BETAS = (0.5, 0.99)
"""Of Adam, as GANs are usually trained."""


@dataclass
class State:
    """Two networks with their optimisers and moving averages.

    Attributes:
        network: the K+1 network.
        generator: see there.
        settings: of the training.
        step: steps that are done.
        losses: of each step ``(step, 8)``, see `ce_detect.counterfactual.losses.NAMES`.
    """

    network: KPlusOne
    generator: Generator
    settings: TrainingSettings
    step: int = 0
    losses: list[list[float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.network.requires_grad_(True)
        if self.settings.frozen:
            self.network.trunk.requires_grad_(False)
            self.network.classes.requires_grad_(False)
        average = get_ema_multi_avg_fn(self.settings.decay)
        self._averages = {name: AveragedModel(module, multi_avg_fn=average) for name, module in self._modules.items()}
        self.optimisers = {
            name: Adam([p for p in module.parameters() if p.requires_grad], lr=self.settings.rate, betas=BETAS)
            for name, module in self._modules.items()
        }

    @property
    def _modules(self) -> dict[str, nn.Module]:
        return {"network": self.network, "generator": self.generator}

    @property
    def averaged(self) -> tuple[KPlusOne, Generator]:
        """The networks with the moving averages of their weights."""
        network, generator = (self._averages[name].module for name in self._modules)
        assert isinstance(network, KPlusOne)
        assert isinstance(generator, Generator)
        return network, generator

    def average(self) -> None:
        """Move the averages on."""
        for name, module in self._modules.items():
            self._averages[name].update_parameters(module)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Everything, by name."""
        made = {name: value.detach().cpu().numpy() for name, value in self._tensors().items()}
        losses = np.array(self.losses, np.float64).reshape(-1, len(NAMES))
        return {**made, "losses": losses, "step": np.array([self.step])}

    def shapes(self) -> Shapes:
        """Shapes of `arrays`, once a step was made."""
        made: dict[str, tuple[int | None, ...]] = {name: tuple(v.shape) for name, v in self._tensors().items()}
        for name, optimiser in self.optimisers.items():
            for place, parameter in enumerate(optimiser.param_groups[0]["params"]):
                shapes = {"step": (), "exp_avg": tuple(parameter.shape), "exp_avg_sq": tuple(parameter.shape)}
                made |= {f"optimiser.{name}.{place}.{key}": shape for key, shape in shapes.items()}
        return {**made, "losses": (None, len(NAMES)), "step": (1,)}

    def resume(self, arrays: Arrays) -> None:
        """Go on where `arrays` were made."""
        found = {name: torch.from_numpy(np.array(value)) for name, value in arrays.items()}
        for name, module in (*self._modules.items(), *((f"average.{n}", m) for n, m in self._averages.items())):
            module.load_state_dict({key: found[f"{name}.{key}"] for key in module.state_dict()})
        for name, optimiser in self.optimisers.items():
            count = len(optimiser.param_groups[0]["params"])
            keys = ("step", "exp_avg", "exp_avg_sq")
            moments = {i: {key: found[f"optimiser.{name}.{i}.{key}"] for key in keys} for i in range(count)}
            optimiser.load_state_dict({"state": moments, "param_groups": optimiser.state_dict()["param_groups"]})
        self.step = int(arrays["step"][0])
        self.losses = arrays["losses"].tolist()

    def _tensors(self) -> dict[str, Tensor]:
        made: dict[str, Tensor] = {}
        for name, module in (*self._modules.items(), *((f"average.{n}", m) for n, m in self._averages.items())):
            made |= {f"{name}.{key}": value for key, value in module.state_dict().items()}
        for name, optimiser in self.optimisers.items():
            for place, moments in optimiser.state_dict()["state"].items():
                made |= {f"optimiser.{name}.{place}.{key}": value for key, value in moments.items()}
        return made
