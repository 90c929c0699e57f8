"""The detector under the interfaces of other libraries; each module imports its host, so import the one you need."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ce_detect import _missing_extra


@contextmanager
def needed_for(purpose: str) -> Iterator[None]:
    """Import in here what an adapter needs, and a missing package names the extra that brings it.

    Raises:
        MissingExtraError: a package is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise _missing_extra(error, purpose) or error from error
