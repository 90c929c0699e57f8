"""Holds an exported graph against PyTorch: the same inputs through both, and the largest differences."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ce_detect.artifacts import graph_digest, plain_data, trust
from ce_detect.artifacts.graph_format import INPUT, MANIFEST_KEY, PIXEL_TYPES, metadata
from ce_detect.artifacts.trust import Trust
from ce_detect.attacks import Attack
from ce_detect.attacks.generation import attack_all
from ce_detect.core.errors import ArtifactError, ExportError
from ce_detect.core.types import Floats, Precision, Progress
from ce_detect.data import Images, rows, tensors, validation
from ce_detect.data.lazy import Pixels
from ce_detect.data.tensors import quantised
from ce_detect.detector.cascade import First
from ce_detect.detector.detector import Verdict
from ce_detect.detector.gate import GateModule
from ce_detect.heads.cascade import CascadedHead
from ce_detect.runtime.graph import session_options
from ce_detect.verdict import conformal

if TYPE_CHECKING:  # onnxruntime comes with an extra
    from onnxruntime import InferenceSession

SCORE_TOLERANCE = conformal.ROUNDING
"""Largest difference of two scores that is rounding."""

FLIPS: Mapping[Precision, float] = MappingProxyType({"fp32": 0.0, "fp16": 0.02, "int8": 0.1})
"""Share of inputs whose verdict may be another than PyTorch's, at most, by the precision of the graph.

Above what ``benchmarks/cost/precision.py`` found: up to 0.5 % and 6.5 % of the images of one attack, the latter of
C&W's, which lie where the label changes.
"""

BATCH = 32
"""Inputs that are judged at a time."""

SINGLE = 16
"""Inputs that are judged one by one before; in a cascade, graphs then see parts without any row."""


@dataclass(frozen=True, slots=True)
class Differences:
    """Between PyTorch and ONNX Runtime on the same inputs, the largest of each output.

    Attributes:
        inputs: how many were judged.
        logits: relative to the largest logit of the input.
        score: absolute, as all that follow.
        p_value: a step between two clean scores is 1 / (n + 1).
        probability: 0 where both are NaN.
        label_flips: number of inputs with another label.
        verdict_flips: number of inputs with another verdict.
        margin: smallest distance of a score from the threshold: how close the sample comes to a flip.
        either: number of inputs so near the level of a cascade that rounding decides which of its heads scores them;
            only their verdicts are compared.
        precision: of the classifier in the graph.
    """

    inputs: int
    logits: float
    score: float
    p_value: float
    probability: float
    label_flips: int
    verdict_flips: int
    margin: float
    either: int = 0
    precision: Precision = "fp32"

    @property
    def agree(self) -> bool:
        """Whether no more verdicts flip than `FLIPS` allows, and scores are as near as the precision lets them.

        That is `SCORE_TOLERANCE` in float32; in fewer bits they only have to be numbers.
        """
        near = self.score <= SCORE_TOLERANCE if self.precision == "fp32" else math.isfinite(self.score)
        return near and self.verdict_flips <= math.ceil(FLIPS[self.precision] * self.inputs)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**asdict(self), "agree": self.agree}


def session(model: bytes | Path, **asked: Unpack[Trust]) -> InferenceSession:
    """Open a graph on the CPU.

    Args:
        model: a file, or a graph that is no file yet.
        asked: which file it must be, see `ce_detect.artifacts.trust.Trust`.

    Raises:
        ArtifactError: no such file, not an ONNX graph, or not the one it must be.
    """
    import onnxruntime

    try:
        content = model if isinstance(model, bytes) else model.read_bytes()
        if not isinstance(model, bytes):
            graph_digest.check(content, str(model), vouched=trust.check(content, model, **asked))
        return onnxruntime.InferenceSession(content, session_options(onnxruntime), providers=["CPUExecutionProvider"])
    except OSError as error:
        raise ArtifactError(f"{model!s} cannot be read: {error.strerror}") from error
    except ArtifactError:
        raise
    except Exception as error:  # ONNX Runtime has a dozen types of its own
        name = "the graph" if isinstance(model, bytes) else str(model)
        raise ArtifactError(f"ONNX Runtime cannot open {name}: {str(error).splitlines()[0]}") from error


def manifest_of(opened: InferenceSession) -> dict[str, Any]:
    """The manifest inside a graph.

    Raises:
        ArtifactError: the graph is not one that ce-detect exported.
    """
    text = metadata(opened).get(MANIFEST_KEY)
    if text is None:
        raise ArtifactError(f"the ONNX file holds no gate of ce-detect: there is no {MANIFEST_KEY!r} in its metadata")
    manifest: dict[str, Any] = plain_data.parsed(text)
    return manifest


def precision_of(opened: InferenceSession) -> Precision:
    """What the classifier inside a graph computes with."""
    deploy: dict[str, Any] = manifest_of(opened).get("deploy", {})
    precision: Precision = deploy.get("precision", "fp32")
    return precision


def verify(
    gate: GateModule,
    manifest: dict[str, Any],
    opened: InferenceSession,
    images: Images,
    *,
    attacks: tuple[Attack, ...] | None = None,
    seed: int = 1,
    cache: Path | None = None,
    jobs: int | None = None,
    seconds: float | None = None,
    progress: Progress | None = None,
) -> dict[str, Differences]:
    """Judge images as they are and under attack with both.

    Args:
        gate: a calibrated gate.
        manifest: of its artifact.
        opened: its graph.
        images: clean.
        attacks: by default those of the recipe.
        seed: seed of the attacks.
        cache: see `ce_detect.attacks.generation.attack_all`, as all that follow.
        jobs: processes.
        seconds: limit.
        progress: callback.

    Returns:
        Differences on ``"clean"`` and on each attack.
    """
    classifier = gate.signature.classifier
    x = images.within(classifier.bounds).pixels
    validation.check_all(x, input_shape=classifier.input_shape, bounds=classifier.bounds)
    if attacks is None:
        attacks = tuple(Attack.of(**spec) for spec in manifest["recipe"]["attacks"])
    attacked = attack_all(classifier, x, attacks, seed=seed, cache=cache, jobs=jobs, seconds=seconds, progress=progress)
    sets = {"clean": x, **{name: twins.pixels for name, twins in attacked.items()}}
    return {name: differences(gate, opened, pixels) for name, pixels in sets.items()}


def differences(gate: GateModule, opened: InferenceSession, x: Pixels) -> Differences:
    """Judge inputs ``(n, channels, height, width)`` within the bounds with both.

    A graph that takes bytes 0-255 gets the nearest ones, and PyTorch what they stand for.
    """
    classifier = gate.signature.classifier
    levels = PIXEL_TYPES.get(opened.get_inputs()[0].type) == "UINT8"
    expected: list[Verdict] = []
    got: list[list[NDArray[Any]]] = []
    near: list[NDArray[np.bool_]] = []
    single = min(SINGLE, len(x))
    first, others = rows(x, slice(single)), rows(x, slice(single, None))
    for batch in chain(tensors.batches(first, 1, "cpu"), tensors.batches(others, BATCH, "cpu")):
        pixels = given = batch
        if levels:
            given, pixels = quantised(batch, classifier.bounds)
        with torch.inference_mode():
            expected.append(gate(pixels.to(classifier.device)))
            near.append(_near_the_level(gate, pixels.to(classifier.device)))
        got.append(ran(opened, given))
    ours = [np.concatenate([part.cpu().numpy() for part in parts]) for parts in zip(*expected, strict=True)]
    theirs = [np.concatenate(parts) for parts in zip(*got, strict=True)]
    found = _compared(_named(ours), _named(theirs), float(gate.threshold), np.concatenate(near))
    return replace(found, precision=precision_of(opened))


def ran(opened: InferenceSession, x: Tensor) -> list[NDArray[Any]]:
    """Outputs for one batch.

    Raises:
        ExportError: ONNX Runtime fails in the graph.
    """
    try:
        return list(opened.run(None, {INPUT: x.numpy()}))
    except Exception as error:  # ONNX Runtime has a dozen types of its own
        reason = str(error).splitlines()[0]
        raise ExportError(f"ONNX Runtime opens the graph, but cannot run it on {len(x)} inputs: {reason}") from error


def _near_the_level(gate: GateModule, x: Tensor) -> NDArray[np.bool_]:
    """Which inputs either head of a cascade may score."""
    if not isinstance(gate.head, CascadedHead):
        return np.zeros(len(x), bool)
    first = First(gate)(x)[2]
    return np.asarray(((first - gate.head.level).abs() <= SCORE_TOLERANCE).cpu())


def _named(outputs: list[NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return dict(zip(Verdict._fields, outputs, strict=True))


def _compared(
    ours: dict[str, NDArray[Any]], theirs: dict[str, NDArray[Any]], threshold: float, either: NDArray[np.bool_]
) -> Differences:
    off = {name: np.abs(ours[name] - theirs[name]) for name in ("logits", "score", "p_value", "probability")}
    off |= {name: np.where(either, 0, off[name]) for name in ("score", "p_value", "probability")}
    unknown = np.isnan(ours["probability"]) & np.isnan(theirs["probability"])
    flips = {name: int((ours[name] != theirs[name]).sum()) for name in ("label", "is_adversarial")}
    return Differences(
        inputs=len(ours["score"]),
        logits=_largest(off["logits"] / np.abs(ours["logits"]).max(1, keepdims=True)),
        score=_largest(off["score"]),
        p_value=_largest(off["p_value"]),
        probability=_largest(np.where(unknown, 0, off["probability"])),
        label_flips=flips["label"],
        verdict_flips=flips["is_adversarial"],
        margin=float(np.abs(ours["score"] - threshold).min()),
        either=int(either.sum()),
    )


def _largest(values: NDArray[Any]) -> float:
    """The largest; infinite where one is not a number, for that is no agreement."""
    return float(np.nan_to_num(values, nan=np.inf).max())


def sample(gate: GateModule, count: int = 64, seed: int = 0) -> Floats:
    """Inputs within the bounds where there are no images: the classifier's probe, and blocks and noise from a seed.

    Returns:
        ``(count, channels, height, width)``.
    """
    classifier = gate.signature.classifier
    (low, high), (channels, height, width) = classifier.bounds, classifier.input_shape
    generator = torch.Generator().manual_seed(seed)
    blocks = torch.rand(count - 1, channels, -(-height // 4), -(-width // 4), generator=generator)
    blocks = blocks.repeat_interleave(4, 2).repeat_interleave(4, 3)[..., :height, :width]
    noise = torch.rand(count - 1, channels, height, width, generator=generator)
    share = torch.rand(count - 1, 1, 1, 1, generator=generator)
    mixed = low + (high - low) * ((1 - share) * blocks + share * noise)
    return torch.cat([classifier.probe().cpu(), mixed.clamp(low, high)]).numpy()
