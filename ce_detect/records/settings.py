"""What an operator may set about records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ce_detect.core.errors import UsageError

MEBIBYTE = 1 << 20

Fsync = Literal["never", "batch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSettings:
    """Where verdicts are written down.

    Attributes:
        path: file of JSON lines.
        most_bytes: size at which a new file begins.
        keep: full files that are kept beside it, ``.1`` the youngest.
        fsync: ``"batch"``: answers leave once their lines are on the disk, where they survive a power cut; ``"never"``:
            once the operating system has them, where they survive the death of this process.
    """

    path: Path
    most_bytes: int = 64 * MEBIBYTE
    keep: int = 8
    fsync: Fsync = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineSettings:
    """Where inputs are kept for review.

    Attributes:
        folder: one ``.npz`` file an input.
        most_bytes: size of all files at which no more are added; nothing is deleted, so that a flood of flagged inputs
            cannot push out what came before.
        sample: share of all inputs that is kept whatever the verdict, drawn at random.

    Raises:
        UsageError: a share outside [0, 1].
    """

    folder: Path
    most_bytes: int = 1024 * MEBIBYTE
    sample: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.sample <= 1:
            raise UsageError(f"sample = {self.sample}, expected a share from 0 to 1")
