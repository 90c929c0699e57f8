"""A gate on a GPU: calibrated there, exported, and held against itself on the CPU, with what it costs.

    python -m benchmarks.gpu.gpu [--without tensorrt]

One prepared run of eight minutes at most, which needs no download beyond the wheels: the demo's model and images are in
the package, and CIFAR-10 with ResNet-20 is added where ``CE_DETECT_DATA`` has both. Each gate is calibrated on the
device, exported on the CPU, and run in PyTorch (as it is, and compiled) and by ONNX Runtime's providers for CUDA and
TensorRT with inputs and outputs that lie on the device. Printed are the time of a gated forward over that of the model
alone, run the same way, and how far scores and verdicts are from those of the same gate on the CPU. TF32 is off.

Exits with 1 where a bound is broken, a provider is not there or left its work to the CPU, a part came to nothing, or
anything else failed. Rows that there was no time for are said, and what ``--without`` names is left out; both are no
failures. With ``--device cpu`` the provider of the CPU stands in for CUDA. Writes ``results/gpu.json`` where the device
is CUDA.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.face import Images, attack_all
from benchmarks.gpu import parts
from benchmarks.gpu.graphs import PRECISIONS
from benchmarks.machine import environment
from benchmarks.program import parser, quiet, write
from benchmarks.subjects.images import cifar10
from benchmarks.subjects.networks import cifar10_resnet20
from benchmarks.subjects.settings import SEED
from ce_detect import Attack, DetectedModel, load_data, load_model

RESULT = Path(__file__).parent / "results" / "gpu.json"
SHARES = {"calibrate": 0.35, "eager": 0.05, "compiled": 0.2, "cuda": 0.1, "cpu": 0.1, "tensorrt": 0.2}
"""What each part may take of the time of a subject."""

OPTIONAL = ("compiled", "tensorrt")
"""What may be left out: both need more than PyTorch and ONNX Runtime, a C compiler and the libraries of TensorRT."""

ATTACKING = 0.5
"""What attacks may take of the time of a calibration."""

BATCHES = (1, 8, 32, 128)
FPR, BUDGET = 0.05, 3.0


def demo() -> tuple[nn.Module, Images]:
    return load_model("demo"), load_data("demo")


def resnet20() -> tuple[nn.Module, Images]:
    return cifar10_resnet20(), Images(*cifar10())


SUBJECTS: dict[str, Callable[[], tuple[nn.Module, Images]]] = {"demo": demo, "cifar10-resnet20": resnet20}


def main() -> None:
    program = parser(__doc__)
    at_hand = [name for name in SUBJECTS if name == "demo" or os.environ.get("CE_DETECT_DATA")]
    program.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    program.add_argument("--subjects", choices=tuple(SUBJECTS), nargs="+", default=at_hand)
    program.add_argument("--without", choices=OPTIONAL, nargs="+", default=[], help="leave this out")
    program.add_argument("--seconds", type=float, default=460.0, help="for all subjects together")
    program.add_argument("--batches", type=int, nargs="+", default=list(BATCHES))
    program.add_argument("--recipe", default="quick", help="of the calibration")
    program.add_argument("--images", type=int, default=1200, help="that calibrate")
    program.add_argument("--judged", type=int, default=128, help="further ones, judged as they are and attacked")
    program.add_argument("--output", type=Path, help="where to write the result")
    options = program.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit(f"no CUDA device: torch {torch.__version__} sees none, or was built without CUDA")
    quiet()
    _without_tf32()
    end, runs = time.monotonic() + options.seconds, [Run(name, options) for name in options.subjects]
    for position, run in enumerate(runs):
        run.do((end - time.monotonic()) / (len(runs) - position))
    where = options.output or (RESULT if options.device == "cuda" else None)
    if where:
        device = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
        write(where, {"environment": {**environment(), "device": device}, "runs": [run.outcome() for run in runs]})
    failures = [failure for run in runs for failure in run.failures]
    for failure in failures:
        print(f"FAILED {failure}", file=sys.stderr)
    sys.exit(1 if failures else 0)


def _without_tf32() -> None:
    """Compute float32 as float32, also in TensorRT, which only asks the environment."""
    os.environ["NVIDIA_TF32_OVERRIDE"] = "0"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False


class Run:
    """One subject: what was measured, what there was no time for, what failed."""

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        self.name, self.options = name, options
        self.rows: list[parts.Row] = []
        self.left_out: list[str] = []
        self.failures: list[str] = []
        self.seconds: dict[str, float] = {}
        self._all = self._end = 0.0

    def outcome(self) -> dict[str, Any]:
        """Plain data for JSON."""
        kept = ("rows", "left_out", "failures", "seconds")
        return {"subject": self.name, **{name: getattr(self, name) for name in kept}}

    def do(self, seconds: float) -> None:
        """Do all parts, each in its share of the time; a part that fails does not end the others."""
        self._all, self._end = seconds, time.monotonic() + seconds
        model, images = SUBJECTS[self.name]()
        model = model.to(self.options.device)
        guard = self._try("calibrate", lambda: self._calibrated(model, images))
        made = guard and self._try("export", lambda: self._exported(guard, model, images))
        if made is None:
            return
        todo: dict[str, Callable[[], parts.Todo]] = {
            "eager": lambda: parts.in_pytorch(made, "eager"),
            "compiled": lambda: parts.in_pytorch(made, "compiled"),
            **{name: lambda name=name: _by_provider(made, name) for name in (self.options.device, "tensorrt")},
        }
        for part, rows in todo.items():
            if part not in self.options.without:
                self._try(part, lambda part=part, rows=rows: self._measure(part, rows()))
        for left in self.left_out:
            print(f"{self.name}: no time for {left}", flush=True)

    def _calibrated(self, model: nn.Module, images: Images) -> DetectedModel:
        some = images.subset(slice(self.options.images))
        seconds = ATTACKING * SHARES["calibrate"] * self._all
        return DetectedModel(model, bounds=(0.0, 1.0)).calibrate(
            some.x, some.y, recipe=self.options.recipe, fpr=FPR, budget=BUDGET, seed=SEED, attack_time=seconds
        )

    def _exported(self, guard: DetectedModel, model: nn.Module, images: Images) -> parts.Rig:
        return parts.rig(guard, model, self._judged(guard, images), tuple(self.options.batches))

    def _judged(self, guard: DetectedModel, images: Images) -> NDArray[np.float32]:
        """Images that calibration did not see, as they are and attacked."""
        first = self.options.images
        clean = images.subset(slice(first, first + self.options.judged)).x
        attacked = attack_all(guard.classifier, clean, (Attack.of("fgsm"),), seed=SEED)
        return np.concatenate([clean, *(twins.x for twins in attacked.values())])

    def _try(self, part: str, do: Callable[[], Any]) -> Any:
        """Do a part, and note its time, and what went wrong."""
        start = time.monotonic()
        try:
            return do()
        except Exception as error:  # noqa: BLE001  compilers and providers raise many types; the rest is still measured
            reason = (str(error).strip().splitlines() or [""])[0]
            otherwise = f"; --without {part} leaves it out" if part in OPTIONAL else ""
            self.failures.append(f"{self.name}, {part}: {type(error).__name__}: {reason}{otherwise}")
        finally:
            self.seconds[part] = round(time.monotonic() - start, 1)
            print(f"{self.name}: {part} took {self.seconds[part]:.0f} s", flush=True)

    def _measure(self, part: str, rows: parts.Todo) -> None:
        """Measure rows while there is time.

        Raises:
            TimeoutError: there was none.
        """
        end, before = min(time.monotonic() + SHARES[part] * self._all, self._end), len(self.rows)
        for name, measure in rows:
            if time.monotonic() > end:
                self.left_out.append(name)
                continue
            row = {"name": name, **measure()}
            self.rows.append(row)
            said = (
                f"{row['ratio']:.2f} times the model's {row['model_ms']:.2f} ms, scores within {row['score']:.2g}, "
                f"{row['flips']} of {row['images']} verdicts flip"
            )
            print(f"{self.name}, {name}: {said}{'' if row['agrees'] else '  TOO FAR FROM THE CPU'}", flush=True)
            if not row["agrees"]:
                self.failures.append(f"{self.name}, {name}: {said}")
        if len(self.rows) == before:
            raise TimeoutError("nothing was measured, the time was up; give more --seconds or fewer --subjects")


def _by_provider(made: parts.Rig, name: str) -> parts.Todo:
    return chain.from_iterable(parts.in_onnxruntime(made, name, precision) for precision in PRECISIONS)


if __name__ == "__main__":
    main()
