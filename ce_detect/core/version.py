"""The version of this installation."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("ce-detect")
except PackageNotFoundError:  # a source checkout that is on the path but not installed
    VERSION = "0+unknown"
