"""Recipes: which attacks, splits, interventions and head a calibration uses, as TOML that users copy and edit."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

from ce_detect.attacks import Attack
from ce_detect.core.errors import CalibrationError
from ce_detect.core.types import HeadKind
from ce_detect.data.corruptions import Corruption

SPLITS = ("fit", "select", "calibrate", "test")
_KEYS = {"description", "head", "prevalence", "splits", "attack", "intervention", "corruption", "corrupted"}


@dataclass(frozen=True, slots=True)
class Recipe:
    """Settings of a calibration.

    Attributes:
        name: what it is called in reports.
        description: what it is for.
        attacks: what makes the calibration set; none for a detector that learns from clean data alone.
        splits: share of the images for each of *fit*, *select*, *calibrate* and *test*; they sum to 1.
        head: ``"mlp"``, ``"logistic"``, or ``"distance"`` (clean data alone).
        prevalence: share of attacked inputs at which ``probability`` is reported, in (0, 1).
        interventions: specifications to use as they are; empty to search within the budget.
        corruptions: natural changes whose outcome counts as clean, see `ce_detect.calibrate.variants`.
        corrupted: share of changed images in the mixture for which the threshold holds too, in (0, 1).
    """

    name: str
    description: str
    attacks: tuple[Attack, ...]
    splits: Mapping[str, float]
    head: HeadKind
    prevalence: float
    interventions: tuple[Mapping[str, Any], ...]
    corruptions: tuple[Corruption, ...]
    corrupted: float

    @classmethod
    def load(cls, name: str | Path) -> Recipe:
        """Read a recipe that ships with ce-detect, by name, or a TOML file, by path.

        Raises:
            CalibrationError: no such recipe or file, not TOML, or a key or value that makes no sense.
        """
        path = Path(name)
        if path.suffix != ".toml":
            path = recipe_folder() / f"{name}.toml"
            if not path.is_file():
                listed = ", ".join(shipped_recipes())
                raise CalibrationError(
                    f"no recipe {str(name)!r}; there are: {listed}; or give the path of a .toml file"
                )
        return cls.parse(path.stem, _read(path, "recipe"))

    def with_corruptions(self, corruptions: tuple[Corruption, ...]) -> Recipe:
        """Return the same with further natural changes that count as clean."""
        return replace(self, corruptions=tuple(dict.fromkeys((*self.corruptions, *corruptions))))

    @classmethod
    def parse(cls, name: str, raw: Mapping[str, Any]) -> Recipe:
        """Make a recipe from parsed TOML; see ``calibration/default.toml`` for the keys.

        Raises:
            CalibrationError: a key or value that makes no sense.
        """
        unknown = sorted(set(raw) - _KEYS)
        if unknown:
            known = ", ".join(sorted(_KEYS))
            raise CalibrationError(f"recipe {name!r} has an unknown key {unknown[0]!r}; known: {known}")
        head = raw.get("head", "mlp")
        attacks = tuple(_attack(name, table) for table in _tables(name, "attack", raw))
        if head not in get_args(HeadKind):
            raise CalibrationError(f"head = {head!r} in recipe {name!r} is none of {_listed(get_args(HeadKind))}")
        if bool(attacks) == (head == "distance"):
            wanted = "takes no" if attacks else "needs at least one"
            raise CalibrationError(f"recipe {name!r}: head = {head!r} {wanted} attack")
        return cls(
            name=name,
            description=str(raw.get("description", "")),
            attacks=attacks,
            splits=_splits(name, raw.get("splits", {})),
            head=head,
            prevalence=_share(name, "prevalence", raw.get("prevalence", 0.01)),
            interventions=_tables(name, "intervention", raw),
            corruptions=_corruptions(name, raw),
            corrupted=_share(name, "corrupted", raw.get("corrupted", 0.5)),
        )


def corruptions_of(path: str | Path) -> tuple[Corruption, ...]:
    """Read natural changes from a TOML file that has ``[[corruption]]`` tables and nothing else.

    Raises:
        CalibrationError: there is no such file, it is not TOML, or a table makes no sense.
    """
    raw = _read(Path(path), "natural changes")
    if list(raw) != ["corruption"]:
        raise CalibrationError(f"{path} has {', '.join(raw) or 'nothing'}; expected [[corruption]] tables alone")
    return _corruptions(str(path), raw)


def _read(path: Path, what: str) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CalibrationError(f"{what} {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CalibrationError(f"{what} {path} is not valid TOML: {error}") from error


def recipe_folder() -> Path:
    """Folder of the recipes that ship with ce-detect: in the package, or ``calibration/`` of a source checkout."""
    packaged = Path(str(files("ce_detect"))) / "recipes"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "calibration"


def shipped_recipes() -> tuple[str, ...]:
    """Names of the recipes that ship with ce-detect."""
    return tuple(sorted(path.stem for path in recipe_folder().glob("*.toml")))


def _listed(words: tuple[str, ...]) -> str:
    return ", ".join(map(repr, words))


def _tables(recipe: str, key: str, raw: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    tables = raw.get(key, [])
    if not isinstance(tables, list) or not all(isinstance(table, Mapping) for table in tables):
        raise CalibrationError(f"{key!r} in recipe {recipe!r} is {tables!r}, expected tables: [[{key}]]")
    return tuple(tables)


def _attack(recipe: str, table: Mapping[str, Any]) -> Attack:
    settings = dict(table)
    kind = settings.pop("kind", None)
    if kind is None:
        raise CalibrationError(f"an [[attack]] in recipe {recipe!r} has no kind")
    make = Attack.custom if ":" in str(kind) else Attack.of
    return make(str(kind), name=settings.pop("name", None), **settings)


def _corruptions(recipe: str, raw: Mapping[str, Any]) -> tuple[Corruption, ...]:
    found = tuple(_corruption(recipe, table) for table in _tables(recipe, "corruption", raw))
    if "corrupted" in raw and not found:
        raise CalibrationError(f"recipe {recipe!r} gives a share of corrupted images, but no [[corruption]]")
    if len(set(found)) < len(found):
        raise CalibrationError(f"recipe {recipe!r} lists the corruption {max(found, key=found.count).name!r} twice")
    return found


def _corruption(recipe: str, table: Mapping[str, Any]) -> Corruption:
    unknown = sorted(set(table) - {"kind", "severity"})
    if unknown:
        raise CalibrationError(
            f"a [[corruption]] in recipe {recipe!r} has a key {unknown[0]!r}; it has: kind, severity"
        )
    if "kind" not in table:
        raise CalibrationError(f"a [[corruption]] in recipe {recipe!r} has no kind")
    return Corruption(**table)


def _splits(recipe: str, table: Any) -> Mapping[str, float]:
    if not isinstance(table, Mapping):
        raise CalibrationError(f"'splits' in recipe {recipe!r} is {table!r}, expected a table: [splits]")
    shares = {"fit": 0.40, "select": 0.15, "calibrate": 0.30, "test": 0.15, **table}
    unknown = sorted(set(shares) - set(SPLITS))
    if unknown:
        raise CalibrationError(f"recipe {recipe!r} has a split {unknown[0]!r}; there are: {', '.join(SPLITS)}")
    numbers = all(isinstance(share, int | float) and share >= 0 for share in shares.values())
    if not numbers or not math.isclose(sum(shares.values()), 1):
        raise CalibrationError(f"the splits of recipe {recipe!r} must be shares that sum to 1, got {shares}")
    if not shares["fit"] or not shares["calibrate"]:
        raise CalibrationError(f"recipe {recipe!r} leaves no images to fit on or to calibrate on: {shares}")
    return {name: float(shares[name]) for name in SPLITS}


def _share(recipe: str, key: str, value: Any) -> float:
    if not isinstance(value, int | float) or not 0 < value < 1:
        raise CalibrationError(f"{key} = {value!r} in recipe {recipe!r} is not a share between 0 and 1")
    return float(value)
