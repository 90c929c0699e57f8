"""Objects by the name of the function that makes them: ``package.module:factory`` or ``path/to/file.py:factory``."""

from __future__ import annotations

import difflib
import hashlib
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from ce_detect.core.errors import UsageError


def call_factory(spec: str) -> object:
    """Return what the factory named ``package.module:factory`` or ``path/to/file.py:factory`` returns.

    A file is run once for each of its contents and registered in ``sys.modules``, so that its classes pickle.

    Raises:
        UsageError: there is no such module, file or factory, or it needs arguments. What the factory itself raises
            passes through.
    """
    factory = find(spec, "factory")
    if not _takes_no_arguments(factory):
        name = spec.rpartition(":")[2]
        raise UsageError(
            f"{spec!r} is a {type(factory).__name__} that cannot be called without arguments, "
            f"expected a factory that can: def {name}(): return ..."
        )
    result: object = factory()
    return result


def find(spec: str, what: str = "function") -> Callable[..., object]:
    """Return the callable named ``package.module:function`` or ``path/to/file.py:function``; see `call_factory`.

    Args:
        spec: the name.
        what: what errors call it.

    Raises:
        UsageError: there is no such module or file, or it has nothing callable of that name.
    """
    place, _, name = spec.rpartition(":")
    if not place or not name.isidentifier():
        raise UsageError(f"{spec!r} names no {what}, expected 'package.module:{what}' or 'path/to/file.py:{what}'")
    module = _module_from_file(Path(place)) if place.endswith(".py") else _module_by_name(place)
    found = getattr(module, name, None)
    if found is None:
        close = difflib.get_close_matches(name, vars(module)) or ["nothing like it"]
        raise UsageError(f"{place!r} has no {what} {name!r}; it has {', '.join(close)}")
    if not callable(found):
        raise UsageError(f"{spec!r} is a {type(found).__name__} that cannot be called, expected a {what}")
    result: Callable[..., object] = found
    return result


def _takes_no_arguments(factory: Callable[..., object]) -> bool:
    try:
        inspect.signature(factory).bind()
    except TypeError:
        return False
    except ValueError:  # a builtin without a signature: calling it will tell
        return True
    return True


def _module_by_name(name: str) -> ModuleType:
    with _importing(name):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if not f"{name}.".startswith(f"{error.name}."):
                raise
    raise UsageError(f"there is no module {name!r}; install it, or name its file: path/to/file.py:factory")


def _module_from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise UsageError(f"there is no Python file {str(path)!r}; check the path")
    path = path.resolve()
    source = path.read_bytes()
    name = f"_ce_detect_{path.stem}_{hashlib.sha256(bytes(path) + source).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    module = sys.modules[name] = ModuleType(name)
    module.__file__ = str(path)
    try:
        with _importing(str(path)):
            code = compile(source, path, "exec", dont_inherit=True)  # else it inherits our __future__ imports
            exec(code, vars(module))  # not by a loader, whose cache can outlive an edit
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextmanager
def _importing(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # a user's module may raise anything while it is imported
        raise UsageError(
            f"importing {what!r} raised {type(error).__name__}: {error}. "
            "If a module of its own is missing, put that module's folder in PYTHONPATH"
        ) from error
