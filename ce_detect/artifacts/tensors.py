"""What the tensors of a calibrated detector must be: one table of shapes, types and ranges, checked before any is used.

A name in a shape stands for a length: the same one wherever it stands in one table, and ``features`` for all that the
signature has. Every number is finite, but where the table says that it may be unknown.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ce_detect.artifacts.features import FakenessPart
from ce_detect.artifacts.heads import Cascade, Disagreement, Fused, HeadPart, Mahalanobis, Network
from ce_detect.artifacts.manifest import Manifest, SignaturePart
from ce_detect.core.errors import ArtifactError

Tensors = Mapping[str, NDArray[Any]]

SEEN = "calibration_images"
"""Name of the tensor that keeps the identities of the images of a calibration."""

INTERVENTIONS = "signature.interventions."
"""Before the names of tensors that are an intervention's own; their shapes follow from its settings."""

FAKENESS = "signature.fakeness."
"""Before the names of those of a network that knows fakes; their shapes follow from its settings, too."""

DTYPES = ("F32", "I64", "U64", "BOOL")
"""Types of the tensors, as safetensors calls them."""

LEAST_SCALE = 1e-8
"""What a feature is divided by, at least."""

FAR = 1000.0
"""A threshold lies above all clean scores by at most so many times their range, and one more than that."""

_MAYBE_NONE = frozenset({"seen", "directions"})
"""Lengths that may be zero."""

LARGEST = 1e30
"""Magnitude of a number, at most: above it sums in float32 may not be finite."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a tensor must be.

    Attributes:
        shape: lengths, or names of lengths.
        kind: ``"float32"``, ``"int64"`` or ``"uint64"``.
        least: smallest number.
        largest: largest number.
        unknown: whether it may be NaN.
    """

    shape: tuple[int | str, ...]
    kind: str = "float32"
    least: float = -LARGEST
    largest: float = LARGEST
    unknown: bool = False


_POSITIVE = Expected((), least=LEAST_SCALE)
_HEAD = {
    "center": Expected(("features",)),
    "scale": Expected(("features",), least=LEAST_SCALE),
    "slope": Expected((), unknown=True),
    "offset": Expected((), unknown=True),
}
_NETWORK = {**_HEAD, "weight": Expected(("features", "attacks")), "bias": Expected(("attacks",))}
_MAHALANOBIS = {
    **_HEAD,
    "mean": Expected(("features",)),
    "precision": Expected(("features",), least=0),
    "directions": Expected(("features", "directions")),
}
_FUSED = {**_HEAD, "location": Expected(()), "spread": _POSITIVE, "middle": Expected(()), "width": _POSITIVE}
_DISAGREEMENT = {
    **_HEAD,
    "effect": Expected((), "int64", least=0),
    "odds": Expected((), "int64", least=0),
    "middle": Expected(()),
    "width": _POSITIVE,
    "meeting": Expected(()),
}
_CASCADE = {**_HEAD, "level": Expected(())}
_DETECTOR = {
    "clean_scores": Expected(("clean",)),
    "threshold": Expected(()),
    "prior": Expected((), least=-50, largest=50),
}
_LAYER_CONSISTENCY = {
    "center": Expected(("pooled",)),
    "scale": Expected(("pooled",), least=LEAST_SCALE),
    "weight": Expected(("deep", "early")),
    "error": Expected(("early",), least=LEAST_SCALE),
}


def check(manifest: Manifest, tensors: Tensors) -> None:
    """Hold tensors to the table.

    Args:
        manifest: says which there are.
        tensors: by name.

    Raises:
        ArtifactError: one is missing or not known, or of another shape, type or range; says which, what it is and what
            was expected.
    """
    known = _Known(tensors)
    features = manifest.signature.features
    known.table("", {SEEN: Expected(("seen",), "uint64", least=0, largest=2.0**64)} if SEEN in tensors else {})
    _check_signature(known, manifest.signature)
    if manifest.signature.fakeness is not None:
        _check_fakeness(known, manifest.signature.fakeness, manifest.model.input_shape[0])
    beside = manifest.heads.clean_only
    for prefix, head in (("", manifest.heads.head), ("clean_only.", beside)):
        if head is not None:
            known.table(prefix, _DETECTOR)
            _check_head(known, head, f"{prefix}head.", features)
            _check_scores(prefix, tensors, manifest)
    known.check_others(len(manifest.signature.interventions), fakeness=manifest.signature.fakeness is not None)


class _Known:
    """The tensors, and which of them a table has named."""

    def __init__(self, tensors: Tensors) -> None:
        self._tensors = tensors
        self._named: set[str] = set()

    def under(self, prefix: str) -> Iterator[str]:
        return (name.removeprefix(prefix) for name in self._tensors if name.startswith(prefix))

    def table(self, prefix: str, rows: Mapping[str, Expected], **lengths: int) -> dict[str, int]:
        """Check tensors under a prefix; gives the lengths by name."""
        for name, expected in rows.items():
            full = prefix + name
            if full not in self._tensors:
                raise ArtifactError(f"the tensor {full!r} is missing")
            self._named.add(full)
            _check(full, self._tensors[full], expected, lengths)
        return lengths

    def check_others(self, interventions: int, *, fakeness: bool) -> None:
        """Check what no table names: the interventions' own tensors, those of fakeness, and nothing else."""
        for name in self._tensors.keys() - self._named:
            place = name.removeprefix(INTERVENTIONS).partition(".")[0]
            own = name.startswith(INTERVENTIONS) and place.isascii() and place.isdigit() and len(place) < 6
            known = (own and int(place) < interventions) or (fakeness and name.startswith(FAKENESS))
            if not known:
                raise ArtifactError(f"the tensor {name!r} belongs to nothing that its manifest names")
            _check_numbers(name, self._tensors[name], Expected(self._tensors[name].shape))


def _check_signature(known: _Known, described: SignaturePart) -> None:
    compared, shapley = described.layer_consistency, described.shapley
    if compared is not None:
        *early, deep = compared.widths
        lengths = {"pooled": sum(early) + deep, "early": sum(early), "deep": deep}
        known.table("signature.layer_consistency.", _LAYER_CONSISTENCY, **lengths)
    if shapley is not None:
        known.table("signature.shapley.", {"background": Expected((shapley.width,))})


def _check_fakeness(known: _Known, described: FakenessPart, channels: int) -> None:
    """Hold the sizes of a network that knows fakes to its first and its last layers."""
    rows = {"classes.bias": Expected((described.classes,)), "fake.bias": Expected((1,))}
    if not described.own:
        rows["trunk.first.0.weight"] = Expected((described.width, channels, 3, 3))
        depth = len({name.split(".")[2] for name in known.under(f"{FAKENESS}network.") if ".stages." in f".{name}"})
        if depth != described.depth:
            raise ArtifactError(f"the network of fakeness has {depth} stages, expected {described.depth}")
    known.table(f"{FAKENESS}network.", rows)


def _check_head(known: _Known, head: HeadPart, prefix: str, features: int) -> None:
    match head:
        case Network():
            rows = {**_NETWORK, **_layers(prefix, sum(name.startswith("weight") for name in known.under(prefix)) - 1)}
            known.table(prefix, rows, features=features)
        case Mahalanobis():
            known.table(prefix, _MAHALANOBIS, features=features)
        case Fused():
            known.table(prefix, _FUSED, features=features)
            _check_head(known, Network(), f"{prefix}network.", features)
            _check_head(known, Mahalanobis(), f"{prefix}clean.", features)
        case Disagreement():
            columns = {name: Expected((), "int64", least=0, largest=features - 1) for name in ("effect", "odds")}
            known.table(prefix, {**_DISAGREEMENT, **columns}, features=features)
            _check_head(known, head.inner, f"{prefix}inner.", features)
        case Cascade():
            free = known.table(f"{prefix}first.", {"center": Expected(("free",))})["free"]
            if free > features:
                raise ArtifactError(f"the first head of the cascade has {free} features, expected at most {features}")
            known.table(prefix, _CASCADE, features=features)
            _check_head(known, head.first, f"{prefix}first.", free)
            _check_head(known, head.second, f"{prefix}second.", features)


def _layers(prefix: str, depth: int) -> dict[str, Expected]:
    """Tensors of the layers of an ensemble of networks: none, or two layers at least."""
    if depth == 1 or depth > 64:
        raise ArtifactError(f"the networks under {prefix!r} have {depth} layers, expected none, or 2 to 64")
    ends = ["features", *(f"width{i}" for i in range(1, depth)), "attacks"]
    rows = {}
    for i in range(depth):
        rows[f"weight{i}"] = Expected(("members", ends[i], ends[i + 1]))
        rows[f"bias{i}"] = Expected(("members", 1, ends[i + 1]))
    return rows


def _check_scores(prefix: str, tensors: Tensors, manifest: Manifest) -> None:
    """Hold a threshold to the clean scores that it was set by, and the prior to the recipe."""
    scores, threshold = tensors[f"{prefix}clean_scores"], float(tensors[f"{prefix}threshold"])
    if not (np.diff(scores) >= 0).all():
        raise ArtifactError(f"{prefix}clean_scores are not in order, expected ascending scores")
    least, largest = float(scores[0]), float(scores[-1])
    most = largest + FAR * (largest - least + 1)
    above = float((scores > threshold).mean())
    if threshold > most or above > manifest.fpr + 1e-9:
        raise ArtifactError(
            f"{prefix}threshold is {threshold:g}, above which {above:.3g} of the clean scores lie (from {least:g} to "
            f"{largest:g}), expected at most {most:g}, and at most {manifest.fpr:g} of them above it"
        )
    prevalence, prior = manifest.recipe.prevalence, float(tensors[f"{prefix}prior"])
    if not math.isclose(prior, math.log(prevalence / (1 - prevalence)), abs_tol=1e-3):
        raise ArtifactError(f"{prefix}prior is {prior:g}, expected the log-odds of prevalence = {prevalence:g}")


def _check(name: str, x: NDArray[Any], expected: Expected, lengths: dict[str, int]) -> None:
    """Hold one tensor to its row; lengths that were not known before are known then."""
    shape = tuple(lengths.get(one, one) if isinstance(one, str) else one for one in expected.shape)
    if x.dtype != expected.kind:
        raise ArtifactError(f"the tensor {name!r} is {x.dtype}, expected {expected.kind}")
    fits = x.ndim == len(shape) and all(
        here == one or (isinstance(one, str) and (here > 0 or one in _MAYBE_NONE))
        for here, one in zip(x.shape, shape, strict=True)
    )
    if not fits:
        listed = ", ".join(map(str, shape))
        raise ArtifactError(f"the tensor {name!r} has shape {x.shape}, expected ({listed})")
    lengths |= {one: here for here, one in zip(x.shape, shape, strict=True) if isinstance(one, str)}
    _check_numbers(name, x, expected)


def _check_numbers(name: str, x: NDArray[Any], expected: Expected) -> None:
    if not x.size:
        return
    wrong = ~((x >= expected.least) & (x <= expected.largest))  # also where one is NaN
    if expected.unknown:
        wrong &= ~np.isnan(x)
    if wrong.any():
        found = x[wrong].reshape(-1)[0]
        raise ArtifactError(
            f"the tensor {name!r} holds {found:g}, expected finite numbers from {expected.least:g} to "
            f"{expected.largest:g}"
        )
