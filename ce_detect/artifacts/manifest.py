"""The manifest: what was calibrated, on what, how, and the figures measured then.

Typed here, and plain data as JSON: in the header of an artifact, in the metadata of a graph, and where users see it.
The names in JSON stay as they are, for what reads them is not ours alone; where a better name came later, it is the one
in Python.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct, field

from ce_detect.artifacts.features import FakenessPart, LayerConsistencyPart, ShapleyPart
from ce_detect.artifacts.figures import Figures
from ce_detect.artifacts.heads import HeadsPart
from ce_detect.artifacts.plain_data import Readable
from ce_detect.artifacts.ranges import (
    LARGEST_SIDE,
    Chance,
    Cost,
    Count,
    Counts,
    Interventions,
    Logits,
    Name,
    Names,
    Seed,
    Share,
    Shares,
    Side,
    Sites,
    Size,
    Specs,
)
from ce_detect.core.resizing import Resizing
from ce_detect.core.types import Bounds


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

    name: Name
    head: Name
    prevalence: Chance
    splits: Shares
    attacks: Specs
    learned_from: Names
    corruptions: Specs
    corrupted: Share


class InputPart(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a classifier takes.

    Attributes:
        input_shape: ``(channels, height, width)``.
        bounds: smallest and largest valid pixel value.
        resizing: how image files come to that size; None where they have it.
    """

    input_shape: tuple[Side, Side, Side]
    bounds: Bounds
    resizing: Resizing | None = None

    def __post_init__(self) -> None:
        """Refuse bounds that are none, and sizes that no memory holds."""
        low, high = self.bounds
        if not low < high:
            raise ValueError(f"bounds = ({low:g}, {high:g}), expected the smaller one first")
        sizes = [] if self.resizing is None else [self.resizing.resize, self.resizing.crop]
        if any(side > LARGEST_SIDE for size in sizes for side in (size if isinstance(size, tuple) else (size or 0,))):
            raise ValueError(f"resizing = {self.resizing}, expected sides of at most {LARGEST_SIDE} pixels")


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

    fingerprint: Name
    probe_logits: Logits
    num_classes: Size
    multi_label: bool
    label: Count | None
    sites: Sites
    output: str | int | None = None


class ChunkPart(Struct, frozen=True, kw_only=True):
    """How much is computed at a time.

    Attributes:
        chunk: rows, in PyTorch; None for any number.
    """

    chunk: Size | None


class SignaturePart(ChunkPart, frozen=True, kw_only=True, omit_defaults=True):
    """What a signature is made of.

    Attributes:
        interventions: arguments of `ce_detect.interventions.from_spec`.
        names: what tables call them.
        sites: where channel moments are taken.
        layer_consistency: what else is compared, or None.
        shapley: what gives Shapley values, or None.
        features: how many there are in all.
        fakeness: what gives fakeness, or None.
    """

    interventions: Interventions
    names: Names
    sites: Sites
    layer_consistency: LayerConsistencyPart | None = field(name="recovery")
    features: Size
    shapley: ShapleyPart | None = None
    fakeness: FakenessPart | None = None

    def __post_init__(self) -> None:
        """Refuse names of other interventions."""
        if len(self.names) != len(self.interventions):
            raise ValueError(f"{len(self.interventions)} interventions and {len(self.names)} names, expected as many")


class DeployPart(Readable, frozen=True, kw_only=True, omit_defaults=True):
    """What an exported graph computes with, where that is not float32, see `ce_detect.export.precision`.

    Attributes:
        precision: of the classifier in it.
        ranges: smallest and largest value of each tensor of the classifier on clean images, in the order of
            computation; empty where none are needed.
    """

    precision: Literal["fp16", "int8"]
    ranges: list[tuple[float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Refuse ranges that are none."""
        if not all(low <= high for low, high in self.ranges):
            raise ValueError("a range of deploy.ranges ends before it begins, expected the smaller value first")


class DataPart(Struct, frozen=True, kw_only=True):
    """What the detector was calibrated on.

    Attributes:
        fingerprint: digest of the pixels.
        images: how many.
        splits: how many in each split.
    """

    fingerprint: Name
    images: Count
    splits: Counts


class Promise(Readable, frozen=True, kw_only=True):
    """What a gate promises about clean inputs.

    Attributes:
        fpr: largest share of them that may be flagged.
        guarantee: whether that holds for this very gate (``"pac"``) or on average over calibrations.
        confidence: probability that ``"pac"`` holds.
    """

    fpr: Chance
    guarantee: Literal["pac", "marginal"]
    confidence: Chance


class RecalibrationPart(Struct, frozen=True, kw_only=True):
    """What moved the threshold after the calibration, see `ce_detect.calibrate.recalibration`.

    Attributes:
        clean: inputs, drawn at random, that people found clean.
        doubtful: drawn inputs about which nothing is settled; the threshold holds whatever they are.
        attacks: drawn inputs that people found to be attacks, and that were left out.
        before: the threshold that was there.
    """

    clean: int
    doubtful: int
    attacks: int
    before: float


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
        recalibration: what moved the threshold and the clean scores since; None where nothing did.
    """

    budget: Cost | None
    cascade: bool
    seed: Seed
    secret_seed: bool
    recipe: RecipePart
    model: ModelPart
    signature: SignaturePart
    heads: HeadsPart
    data: DataPart
    search: dict[str, Any]
    versions: dict[Name, Name]
    figures: Figures
    deploy: DeployPart | None = None
    recalibration: RecalibrationPart | None = None


class Runnable(Readable, frozen=True, kw_only=True):
    """The part of a manifest without which no graph can be run; that of a graph of any version has it."""

    model: InputPart
    signature: ChunkPart
