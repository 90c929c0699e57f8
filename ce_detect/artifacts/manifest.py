"""The manifest: what was calibrated, on what, how, and the figures measured then.

Typed here, and plain data as JSON: in the header of an artifact, in the metadata of a graph, and where users see it.
The names in JSON stay as they are, for what reads them is not ours alone; where a better name came later, it is the one
in Python.
"""

from __future__ import annotations

import json
from typing import Any, Literal, Self

import msgspec
from msgspec import Struct, field

from ce_detect.artifacts.heads import HeadsPart
from ce_detect.core.errors import ArtifactError
from ce_detect.core.resizing import Resizing
from ce_detect.core.types import Bounds

Spec = dict[str, Any]
"""Kind and settings of what can be made again; whoever makes it checks them."""


class Readable(Struct, frozen=True):
    """What can be read from plain data, checked field by field."""

    @classmethod
    def of(cls, plain: Any) -> Self:
        """Read from plain data; what is not known is left out.

        Raises:
            ArtifactError: a field is missing or of another type; names it.
        """
        try:
            return msgspec.convert(plain, cls)
        except msgspec.ValidationError as error:
            raise ArtifactError(str(error)) from error

    def plain(self) -> dict[str, Any]:
        """Plain data, as JSON gives it back.

        Raises:
            ValueError: a number that JSON does not have.
        """
        found: dict[str, Any] = json.loads(json.dumps(msgspec.to_builtins(self), allow_nan=False))
        return found


class RecipePart(Struct, frozen=True, kw_only=True):
    """What the calibration followed.

    Attributes:
        name: of the recipe.
        head: ``"mlp"``, ``"logistic"`` or ``"distance"``.
        prevalence: share of attacked inputs at which ``probability`` is reported.
        splits: share of the images by name of the split.
        attacks: arguments of `ce_detect.Attack.of` or ``custom``.
        learned_from: names of those that succeeded often enough.
        corruptions: kind and severity of each natural change that counts as clean.
        corrupted: share of such images in the mixture for which the threshold holds too.
    """

    name: str
    head: str
    prevalence: float
    splits: dict[str, float]
    attacks: list[Spec]
    learned_from: list[str]
    corruptions: list[Spec]
    corrupted: float


class InputPart(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a classifier takes.

    Attributes:
        input_shape: ``(channels, height, width)``.
        bounds: smallest and largest valid pixel value.
        resizing: how image files come to that size; None where they have it.
    """

    input_shape: tuple[int, int, int]
    bounds: Bounds
    resizing: Resizing | None = None


class ModelPart(InputPart, frozen=True, kw_only=True, omit_defaults=True):
    """The classifier that the detector belongs to.

    Attributes:
        fingerprint: digest of its weights.
        probe_logits: what it says about a fixed input.
        num_classes: number of logits.
        multi_label: whether several labels may hold at once.
        label: the one that is watched, or None.
        sites: where one may intervene.
        output: which part of what the model returns was asked for as the logits, or None.
    """

    fingerprint: str
    probe_logits: list[float]
    num_classes: int
    multi_label: bool
    label: int | None
    sites: tuple[str, ...]
    output: str | int | None = None


class LayerConsistencyPart(Struct, frozen=True, kw_only=True):
    """Arguments of `ce_detect.features.layer_consistency.LayerConsistency`."""

    sites: tuple[str, ...]
    widths: tuple[int, ...]


class ShapleyPart(Struct, frozen=True, kw_only=True):
    """Arguments of `ce_detect.features.shapley.ShapleyValues` beside the classifier."""

    width: int


class ChunkPart(Struct, frozen=True, kw_only=True):
    """How much is computed at a time.

    Attributes:
        chunk: rows, in PyTorch; None for any number.
    """

    chunk: int | None


class SignaturePart(ChunkPart, frozen=True, kw_only=True, omit_defaults=True):
    """What a signature is made of.

    Attributes:
        interventions: arguments of `ce_detect.interventions.from_spec`.
        names: what tables call them.
        sites: where channel moments are taken.
        layer_consistency: what else is compared, or None.
        shapley: what gives Shapley values, or None.
        features: how many there are in all.
    """

    interventions: list[Spec]
    names: list[str]
    sites: tuple[str, ...]
    layer_consistency: LayerConsistencyPart | None = field(name="recovery")
    features: int
    shapley: ShapleyPart | None = None


class DeployPart(Readable, frozen=True, kw_only=True, omit_defaults=True):
    """What an exported graph computes with, where that is not float32, see `ce_detect.export.precision`.

    Attributes:
        precision: of the classifier in it.
        ranges: smallest and largest value of each tensor of the classifier on clean images, in the order of
            computation; empty where none are needed.
    """

    precision: Literal["fp16", "int8"]
    ranges: list[tuple[float, float]] = []


class DataPart(Struct, frozen=True, kw_only=True):
    """What the detector was calibrated on.

    Attributes:
        fingerprint: digest of the pixels.
        images: how many.
        splits: how many in each split.
    """

    fingerprint: str
    images: int
    splits: dict[str, int]


class CascadeFigures(Struct, frozen=True, kw_only=True):
    """What a cascade clears.

    Attributes:
        cleared: share of clean images.
        cleared_attacked: share of successful attacks, by name.
        cost_of_others: relative to the classifier alone, of what is not cleared.
        onnxruntime_cost_of_others: the same in ONNX Runtime, by size of the batch.
    """

    cleared: float
    cleared_attacked: dict[str, float]
    cost_of_others: float
    onnxruntime_cost_of_others: dict[str, float] = field(name="served_cost_of_others")


class Figures(Readable, frozen=True, kw_only=True, omit_defaults=True):
    """What was measured at calibration.

    Attributes:
        cost: of a gated forward, relative to the classifier alone.
        onnxruntime_cost: the same in ONNX Runtime, by size of the batch; empty where there was no budget.
        test: figures on the *test* split, see `ce_detect.evaluate.report.Report.to_dict`; None where there is none.
        hardening: figures of each round.
        cascade: None where there is no cascade.
        robust_copy: how the copy was trained; None where there is none.
    """

    cost: float
    onnxruntime_cost: dict[str, float] = field(name="served_cost")
    test: dict[str, Any] | None
    hardening: list[dict[str, Any]]
    cascade: CascadeFigures | None = None
    robust_copy: dict[str, Any] | None = field(default=None, name="hardened_copy")


class Promise(Readable, frozen=True, kw_only=True):
    """What a gate promises about clean inputs.

    Attributes:
        fpr: largest share of them that may be flagged.
        guarantee: whether that holds for this very gate (``"pac"``) or on average over calibrations.
        confidence: probability that ``"pac"`` holds.
    """

    fpr: float
    guarantee: Literal["pac", "marginal"]
    confidence: float


class Manifest(Promise, frozen=True, kw_only=True, omit_defaults=True):
    """Everything about a calibrated detector but its tensors.

    Attributes:
        budget: largest cost that was asked for; None for no limit.
        cascade: whether free statistics clear inputs first.
        seed: of splits, attacks and learning.
        secret_seed: whether random interventions draw from another one.
        recipe: what was followed.
        model: what it belongs to.
        signature: what it looks at.
        heads: what scores the signature.
        data: what it was calibrated on.
        search: what was considered, its costs and gains.
        versions: of Python and packages.
        figures: what was measured.
        deploy: what graph the threshold, the clean scores and the figures on *test* are those of; None for the gate
            itself, in float32.
    """

    budget: float | None
    cascade: bool
    seed: int
    secret_seed: bool
    recipe: RecipePart
    model: ModelPart
    signature: SignaturePart
    heads: HeadsPart
    data: DataPart
    search: dict[str, Any]
    versions: dict[str, str]
    figures: Figures
    deploy: DeployPart | None = None


class Runnable(Readable, frozen=True, kw_only=True):
    """The part of a manifest without which no graph can be run; that of a graph of any version has it."""

    model: InputPart
    signature: ChunkPart
