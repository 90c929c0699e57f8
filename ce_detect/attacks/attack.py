"""An attack with its settings: from the registry, or a function of the user's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from ce_detect.attacks import custom as functions
from ce_detect.attacks.registry import ATTACKS, CUSTOM, AttackInfo
from ce_detect.core.errors import CalibrationError
from ce_detect.core.types import Setting

RULES = ("next", "second", "least-likely", "random")
"""How ``target`` can choose a class; see `Attack.of`."""

LENGTHS = frozenset({"eps", "eps_step", "theta"})
"""Settings that are fractions of the pixel range."""


@dataclass(frozen=True, slots=True)
class Attack:
    """An attack with its settings; two attacks with equal settings are equal.

    Attributes:
        kind: key in `ATTACKS`, or what names a function.
        settings: every setting by name, in a fixed order.
        name: what tables call it, for example ``"pgd 8/255"``.
        function: the user's own attack, None for one of the registry.
    """

    kind: str
    settings: tuple[tuple[str, Setting], ...]
    name: str
    function: Callable[..., Any] | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, kind: str, *, name: str | None = None, **changes: Setting) -> Attack:
        """Make an attack from the registry, with some settings changed.

        Attacks that can be aimed take the setting ``target``; without it any other class will do. It is the number of
        a class, or a rule: ``"next"`` (the class after the predicted one, the first after the last), ``"second"``
        (the runner-up), ``"least-likely"``, or ``"random"`` (another class, drawn from the seed). Images that have
        the target class already stay as they are.

        Raises:
            CalibrationError: no such attack or setting, or a value that makes no sense.
        """
        info = ATTACKS.get(kind)
        if info is None:
            raise CalibrationError(_unknown(kind))
        known = {**info.defaults, **({"target": "next"} if info.targeted else {})}
        unknown = sorted(set(changes) - set(known))
        if unknown:
            raise CalibrationError(f"attack {kind!r} has no setting {unknown[0]!r}; it has: {', '.join(known)}")
        settings = {**info.defaults, **changes}
        for key, value in changes.items():
            _check(info, key, value)
        return cls(kind, tuple(sorted(settings.items())), _named(kind, settings) if name is None else name)

    @classmethod
    def custom(
        cls, function: Callable[..., Any] | str, *, name: str | None = None, version: str | None = None,
        **settings: Setting,
    ) -> Attack:  # fmt: skip
        """Make an attack of a function of one's own.

        It is called as ``function(classifier, x, labels, **settings)``. Of the wrapped classifier, ``logits(x)`` is
        differentiable; ``bounds`` and ``num_classes`` are there. Images are ``(n, channels, height, width)`` float32
        within the bounds, labels ``(n,)`` are the classifier's own. Both are tensors on the classifier's device. It
        returns the attacked images, a tensor or an array of the same shape within the bounds. The global generators of
        Python, NumPy and torch are seeded beforehand.

        Attacked images are cached under the function's name, its settings and a digest of its source; what the
        function calls is not part of that digest. Only functions that were given by name run in worker processes.

        Args:
            function: the function, or its name: ``"package.module:function"`` or ``"path/to/file.py:function"``.
            name: what tables call it, by default the function's name.
            version: stands for the source in the cache. It is needed where the source cannot be had or does not tell
                everything: a closure, a ``functools.partial``, an object. Change it whenever those change.
            settings: numbers, strings or bools, passed on to the function and part of the cache key.

        Raises:
            CalibrationError: no such function, one whose source cannot be had and no version was given, or a setting
                that is no plain value.
        """
        kind = function if isinstance(function, str) else functions.place(function)
        found = functions.load(function) if isinstance(function, str) else function
        functions.check_settings(kind, settings)
        identity = {"source": functions.source_digest(found, kind)} if version is None else {"version": version}
        described = tuple(sorted({**settings, **identity}.items()))
        return cls(kind, described, name or kind.rpartition(":")[2].rpartition(".")[2], found)

    def __reduce__(self) -> tuple[Callable[..., Attack], tuple[Any, ...]]:
        """Pickle by the name of the function where it was given by name: its module may not be importable."""
        by_name = self.function is not None and self.portable
        return _unpickled, (self.kind, self.settings, self.name, None if by_name else self.function)

    @property
    def info(self) -> AttackInfo:
        """Metadata of the attack."""
        return ATTACKS.get(self.kind, CUSTOM)

    @property
    def passes(self) -> float:
        """Rough number of forward passes an image takes."""
        return self.info.passes(dict(self.settings))

    @property
    def portable(self) -> bool:
        """Whether a worker process can make it again: not so for a function that was not given by name."""
        return self.function is None or ":" in self.kind

    def spec(self) -> dict[str, Setting]:
        """Everything needed to make it again with `Attack.of` or `Attack.custom`, as plain data."""
        settings = dict(self.settings)
        if self.function is not None:
            settings.pop("source", None)
        return {"kind": self.kind, "name": self.name, **settings}


def _unpickled(
    kind: str, settings: tuple[tuple[str, Setting], ...], name: str, function: Callable[..., Any] | None
) -> Attack:
    if function is None and ":" in kind:
        function = functions.load(kind)
    return Attack(kind, settings, name, function)


def _unknown(kind: str) -> str:
    if {":", "."} & set(kind):
        return (
            f"attack {kind!r} is a function, which is never called because a file names it: pass it yourself, "
            "attacks=(Attack.custom(...), ...)"
        )
    return f"no attack {kind!r}; there are: {', '.join(ATTACKS)}"


def _named(kind: str, settings: dict[str, Setting]) -> str:
    parts = [kind]
    if "eps" in settings:
        parts.append(str(settings["eps"]))
    if "target" in settings and "target" not in ATTACKS[kind].defaults:
        parts.append(f"to {settings['target']}")
    return " ".join(parts)


def _check(info: AttackInfo, key: str, value: Setting) -> None:
    if key in LENGTHS:
        length(info.name, key, value)
        return
    if key == "target":
        _check_target(info, value)
        return
    wanted = (int,) if isinstance(info.defaults[key], int) else (int, float)
    if isinstance(value, bool) or not isinstance(value, wanted) or not value >= 0:
        number = "whole number" if wanted == (int,) else "number"
        raise CalibrationError(f"{key} = {value!r} of attack {info.name!r} is not a {number} of at least 0")


def _check_target(info: AttackInfo, value: Setting) -> None:
    is_class = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    if info.shared and not is_class:
        raise CalibrationError(
            f"target = {value!r} of attack {info.name!r} is not the number of a class; "
            "all images get one perturbation, so there is one target"
        )
    if not is_class and value not in RULES:
        raise CalibrationError(
            f"target = {value!r} of attack {info.name!r} is neither the number of a class nor one of {', '.join(RULES)}"
        )


def length(kind: str, key: str, value: Setting) -> float:
    """Return a setting that is a fraction of the pixel range.

    Raises:
        CalibrationError: not a positive number or fraction.
    """
    try:
        number = float(Fraction(str(value)))
    except (ValueError, ZeroDivisionError):
        number = -1.0
    if not number > 0:
        raise CalibrationError(
            f"{key} = {value!r} of attack {kind!r} is not a positive number or fraction such as '8/255'"
        )
    return number
