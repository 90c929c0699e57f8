"""Time of resuming from each site, relative to a whole forward of the model: the prefix is truly skipped.

    python -m benchmarks.cost.resume

Uses the embedded classifier, and ResNet-20 too where ``CE_DETECT_DATA`` is set. Writes ``results/resume.json``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.face import ratios, wrap
from benchmarks.machine import environment
from benchmarks.program import parser, write
from benchmarks.subjects.images import data_folder
from benchmarks.subjects.networks import cifar10_resnet20
from ce_detect import load_data, load_model

RESULT = Path(__file__).parent / "results" / "resume.json"
BATCH = 32


def main() -> None:
    parser(__doc__).parse_args()
    outcome: dict[str, Any] = {"environment": environment(), "batch": BATCH, "models": {}}
    outcome["models"]["FashionCNN"] = times(load_model("demo"), load_data("demo").x[:BATCH])
    if os.environ.get("CE_DETECT_DATA"):
        images = load_data(str(data_folder() / "cifar10.npz"), split="test", limit=BATCH)
        outcome["models"]["ResNet-20"] = times(cifar10_resnet20(), images.x)
    write(RESULT, outcome)
    for name, sites in outcome["models"].items():
        print(name)
        for site, ratio in sites.items():
            print(f"  resume from {site:12s} {ratio:5.2f} of a forward")


def times(model: nn.Module, images: Any) -> dict[str, float]:
    """A whole trace, and the rest of a forward from each site, over a forward of the model."""
    x = torch.from_numpy(images)
    classifier = wrap(model, input_shape=tuple(x.shape[1:]), bounds=(0.0, 1.0))
    with torch.inference_mode():
        latents = {"input": x, **classifier.trace(x).latents}
        resumes = [lambda s=s, h=h: classifier.resume(s, h, x) for s, h in latents.items()]
        found = ratios(lambda: model(x), [lambda: classifier.trace(x), *resumes], rounds=51, warm_up=5)
    return {name: round(ratio, 3) for name, ratio in zip(["(trace)", *latents], found, strict=True)}


if __name__ == "__main__":
    main()
