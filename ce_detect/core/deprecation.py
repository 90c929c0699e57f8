"""Names that are on their way out: for one release they still work, and a warning says what takes their place."""

from __future__ import annotations

import warnings
from typing import NamedTuple


class Moved(NamedTuple):
    """A public name that has another place.

    Attributes:
        module: where it is now.
        gone_in: the release that no longer knows the old name.
    """

    module: str
    gone_in: str


def warn(old: str, new: str, *, gone_in: str, level: int = 2) -> None:
    """Warn that a name is on its way out.

    Args:
        old: the name that was used.
        new: what to use in its place.
        gone_in: the release that no longer knows the old name.
        level: which caller the warning points at: 2 is the one who called the caller of this.
    """
    warnings.warn(f"{old} will be gone in ce-detect {gone_in}; use {new}", DeprecationWarning, stacklevel=level + 1)
