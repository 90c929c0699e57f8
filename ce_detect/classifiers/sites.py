"""Where one may intervene: the names of the tensors at which a model can be cut or hooked, and a few good ones."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from torch import fx, nn

from ce_detect.classifiers.base import PENULTIMATE
from ce_detect.classifiers.cutting import Cut
from ce_detect.classifiers.interface import unwrapped_path
from ce_detect.classifiers.layout import channels_last
from ce_detect.core.errors import ModelError

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """A tensor where one may intervene.

    Attributes:
        shape: without the batch: ``(channels, height, width)`` or ``(height, width, channels)``, ``(tokens, width)`` or
            ``(features,)``.
        of_block: whether it is what a block returns.
        promising: whether it is worth a site that nobody asked for: it is what a block returns, or holds something new
            and lies in no block.
    """

    shape: Shape
    of_block: bool
    promising: bool


def from_cuts(found: list[Cut], model: nn.Module, head: fx.Node | None) -> tuple[dict[str, Place], dict[str, Cut]]:
    """Name the places where a graph can be cut, in the order of computation.

    A tensor is called after the block that returns it, else after the innermost module that computed it. What the model
    itself only rearranges is left out.

    Args:
        found: where the graph can be cut.
        model: the model that was captured.
        head: what feeds a linear last layer.

    Returns:
        Places and cuts by name.
    """
    blocks = _repeated(model, {path for cut in found for path in cut.returned})
    blocks = {path for path in blocks if not any(other.startswith(f"{path}.") for other in blocks)}
    places: dict[str, Place] = {}
    cuts: dict[str, Cut] = {}
    for cut in found:
        block = next((path for path in cut.returned if path in blocks), None)
        if cut.node is head:
            name = PENULTIMATE
        elif cut.inside:
            name = unwrapped_path(model, block or cut.name)
        elif cut.derived:
            continue
        else:
            name = cut.name
        inner = block is None and any(path in blocks for path in cut.inside)
        places.pop(name, None)  # what a block computes on the way to what it returns
        places[name] = Place(cut.shape, block is not None, block is not None or not (inner or cut.derived))
        cuts[name] = cut
    return places, cuts


def from_modules(shapes: dict[str, Shape], model: nn.Module) -> tuple[dict[str, Place], dict[str, str]]:
    """Name the modules whose outputs can be replaced by a hook, in the order of computation.

    Args:
        shapes: of their outputs, by path.
        model: the model that they are part of.

    Returns:
        Places and paths by name.
    """
    blocks = _repeated(model, shapes)
    blocks = {path for path in blocks if not any(path.startswith(f"{other}.") for other in blocks)}
    places, paths = {}, {}
    for path, shape in shapes.items():
        module = model.get_submodule(path)
        inner = any(path.startswith(f"{block}.") for block in blocks)
        derived = isinstance(module, nn.Sequential) or type(module).__module__ in _DERIVING
        name = unwrapped_path(model, path)
        places[name] = Place(shape, path in blocks, not (inner or derived))
        paths[name] = path
    return places, paths


_DERIVING = frozenset(f"torch.nn.modules.{kind}" for kind in ("dropout", "flatten", "padding", "pooling"))


def _repeated(model: nn.Module, there: Collection[str]) -> set[str]:
    """Paths of compound modules of a kind of which there are several, all of them ``there``: a network's blocks."""
    kinds: dict[type, list[str]] = {}
    for path, module in model.named_modules():
        if path and next(module.children(), None) is not None and not isinstance(module, nn.Sequential):
            kinds.setdefault(type(module), []).append(path)
    return {path for paths in kinds.values() if len(paths) > 1 and set(paths) <= set(there) for path in paths}


def chosen(places: dict[str, Place], wanted: tuple[str, ...] | None, image: Shape) -> tuple[str, ...]:
    """Names of the sites to keep, in the order of computation.

    By default these are the ends and middles of the stages of one resolution; quarters of a sequence of blocks, or of
    a network with one resolution; and the input of a linear last layer.

    Args:
        places: by name.
        wanted: names that were asked for.
        image: ``(channels, height, width)`` of the input.

    Raises:
        ModelError: a name that is not among the places.
    """
    kept = _by_default(places, image) if wanted is None else set(wanted)
    missing = [name for name in wanted or () if name not in places]
    if missing:
        listed = ", ".join(places) or "no place"
        raise ModelError(f"no site {missing[0]!r} in this model; it can be cut at: {listed}")
    return tuple(name for name in places if name in kept)


def _by_default(places: dict[str, Place], image: Shape) -> set[str]:
    promising = {name: place for name, place in places.items() if place.promising and name != PENULTIMATE}
    maps: dict[str, Shape] = {
        name: place.shape[:2] if channels_last(place.shape, image) else place.shape[1:]
        for name, place in promising.items()
        if len(place.shape) == 3
    }
    tokens: dict[str, Shape] = {name: place.shape for name, place in promising.items() if len(place.shape) == 2}
    blocks: dict[str, Shape] = {name: shape for name, shape in tokens.items() if promising[name].of_block}
    return _ends_of_runs(maps) | _ends_of_runs(blocks or tokens) | ({PENULTIMATE} & set(places))


def _ends_of_runs(resolutions: dict[str, Shape]) -> set[str]:
    runs: list[list[str]] = []
    last: Shape | None = None
    for name, resolution in resolutions.items():
        if resolution != last:
            runs.append([])
            last = resolution
        runs[-1].append(name)
    fractions: Iterable[float] = (0.5, 1.0) if len(runs) > 1 else (0.25, 0.5, 0.75, 1.0)
    return {run[max(0, round(len(run) * f) - 1)] for run in runs for f in fractions}
