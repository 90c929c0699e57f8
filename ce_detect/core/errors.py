"""Every error that ce-detect raises on purpose.

::

    CeDetectError
    ├── InputError (ValueError)         an array that the gate cannot judge: shape, dtype, NaN, range, empty
    ├── ModelError (ValueError)         a model that cannot be wrapped as it is
    │   └── ModelMismatchError          an artifact that was calibrated for another model
    ├── CalibrationError (ValueError)   data, recipe or attacks that cannot give a detector
    │   └── TooFewSamplesError          the false-positive rate asked for needs more clean samples
    ├── NotCalibratedError              a gate was asked for a verdict before calibration
    ├── ArtifactError (ValueError)      a file that is truncated, edited, foreign or of another format
    ├── ExportError                     a graph that judges otherwise than the gate it was made from
    ├── UsageError (ValueError)         a command-line value or a configuration that makes no sense
    ├── AbstainedError                  the ``abstain`` policy met an adversarial input and was told to raise
    └── MissingExtraError (ImportError) a dependency of an optional extra is not installed
"""

from __future__ import annotations


class CeDetectError(Exception):
    """Root of every error that ce-detect raises on purpose."""


class InputError(CeDetectError, ValueError):
    """An input array that cannot be judged; the message names what was passed and what was expected."""


class ModelError(CeDetectError, ValueError):
    """A model that cannot be wrapped as it is."""


class ModelMismatchError(ModelError):
    """An artifact that was calibrated for another model."""


class CalibrationError(CeDetectError, ValueError):
    """Data, a recipe or attacks from which no detector can be made."""


class TooFewSamplesError(CalibrationError):
    """The false-positive rate asked for cannot be promised with so few clean samples.

    Attributes:
        needed: smallest number of clean samples that would do.
        given: number of clean samples there were.
    """

    def __init__(self, message: str, *, needed: int, given: int) -> None:
        super().__init__(message)
        self.needed = needed
        self.given = given


class NotCalibratedError(CeDetectError):
    """A verdict was asked for before calibration."""


class ArtifactError(CeDetectError, ValueError):
    """A file that is truncated, edited, foreign, or of another format version."""


class ExportError(CeDetectError):
    """A graph that judges otherwise than the gate it was made from, or that no file holds."""


class UsageError(CeDetectError, ValueError):
    """A command-line value or a configuration that makes no sense."""


class AbstainedError(CeDetectError):
    """Raised by ``Abstain(raise_error=True)`` when an input is judged adversarial.

    Attributes:
        indices: positions in the batch that were judged adversarial.
    """

    def __init__(self, message: str, *, indices: tuple[int, ...]) -> None:
        super().__init__(message)
        self.indices = indices


class MissingExtraError(CeDetectError, ImportError):
    """A dependency of an optional extra is not installed, or too old for what another package asks of it."""

    def __init__(self, package: str, extra: str, purpose: str, *, installed: str | None = None) -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed. "
            f"Install the extra that brings it: pip install 'ce-detect[{extra}]'"
            if installed is None
            else f"{purpose} needs a newer package {package!r}; version {installed} is installed. "
            f"Upgrade it: pip install --upgrade {package}"
        )
        self.package = package
        self.extra = extra
