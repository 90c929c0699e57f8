"""Attacks that are functions of the user's: found, and told apart."""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from ce_detect.core.errors import CalibrationError, UsageError
from ce_detect.storage.importing import find

IDENTITY = frozenset({"source", "version"})
"""Settings that tell a function from others with its name, and are not passed on to it."""


def load(name: str) -> Callable[..., Any]:
    """Return the function that a name stands for.

    Raises:
        CalibrationError: there is no such module, file or function.
    """
    try:
        return find(name)
    except UsageError as error:
        raise CalibrationError(f"attack {name!r} cannot be found: {error}") from error


def place(function: Callable[..., Any]) -> str:
    """Name of a function for cache keys and tables: its module and its own name, with dots."""
    inner: Any = function.func if isinstance(function, functools.partial) else function
    named = inner if hasattr(inner, "__qualname__") else type(inner)
    return f"{named.__module__}.{named.__qualname__}"


def check_settings(kind: str, settings: Mapping[str, object]) -> None:
    """Refuse settings that a recipe cannot hold, or that are kept for other use.

    Raises:
        CalibrationError: such a setting.
    """
    for key, value in settings.items():
        if key in {"kind", *IDENTITY} or not isinstance(value, bool | int | float | str):
            raise CalibrationError(
                f"{key} = {value!r} of attack {kind!r}: settings are numbers, strings and bools, and none is called "
                "kind, source or version"
            )


def source_digest(function: Callable[..., Any], kind: str) -> str:
    """Tell a function by its source.

    Raises:
        CalibrationError: its source cannot be had, or does not tell everything.
    """
    try:
        source = inspect.getsource(function) if inspect.isfunction(function) else None
    except (OSError, TypeError):
        source = None
    if source is None or getattr(function, "__closure__", None):
        raise CalibrationError(
            f"attack {kind!r} cannot be told by its source (a closure, a functools.partial, an object, or typed at a "
            "prompt), so attacked images could not be kept: give it a version, Attack.custom(..., version='1'), and "
            "another one whenever it changes; or pass values as settings of a plain function"
        )
    return hashlib.sha256(source.encode()).hexdigest()[:16]
