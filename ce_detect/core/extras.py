"""Optional dependencies: one table of what brings each package, and the error that names the extra."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ce_detect.core.errors import MissingExtraError


@dataclass(frozen=True, slots=True)
class Dependency:
    """A package that ce-detect imports.

    Attributes:
        module: its import name.
        distribution: its name on the package index.
        extras: the extras that bring it, the usual one first; none for what always comes along.
    """

    module: str
    distribution: str
    extras: tuple[str, ...] = ()

    @property
    def installed(self) -> str | None:
        """Version of the installed distribution, None where it is absent."""
        from importlib.metadata import PackageNotFoundError, version  # slow, and --help needs neither

        try:
            return version(self.distribution)
        except PackageNotFoundError:
            return None


DEPENDENCIES: Mapping[str, Dependency] = MappingProxyType(
    {
        one.distribution: one
        for one in (
            Dependency("numpy", "numpy"),
            Dependency("safetensors", "safetensors"),
            Dependency("msgspec", "msgspec"),
            Dependency("click", "click"),
            Dependency("rich", "rich"),
            Dependency("platformdirs", "platformdirs"),
            Dependency("torch", "torch", ("calibrate",)),
            Dependency("art", "adversarial-robustness-toolbox", ("calibrate",)),
            Dependency("packaging", "packaging", ("calibrate",)),
            Dependency("sklearn", "scikit-learn", ("calibrate",)),
            Dependency("scipy", "scipy", ("calibrate", "console")),
            Dependency("joblib", "joblib", ("calibrate",)),
            Dependency("PIL", "pillow", ("calibrate", "scan", "serve", "console")),
            Dependency("matplotlib", "matplotlib", ("report", "explain")),
            Dependency("jinja2", "jinja2", ("report", "explain", "console")),
            Dependency("captum", "captum", ("explain",)),
            Dependency("onnx", "onnx", ("onnx",)),
            Dependency("onnxscript", "onnxscript", ("onnx",)),
            Dependency("onnxruntime", "onnxruntime", ("runtime", "onnx")),
            Dependency("onnxruntime", "onnxruntime-gpu", ("gpu",)),
            Dependency("pyarrow", "pyarrow", ("parquet", "scan")),
            Dependency("starlette", "starlette", ("serve", "console")),
            Dependency("uvicorn", "uvicorn", ("serve", "console")),
            Dependency("h11", "h11", ("serve",)),
            Dependency("prometheus_client", "prometheus-client", ("serve",)),
            Dependency("pythonjsonlogger", "python-json-logger", ("serve",)),
            Dependency("sqlalchemy", "sqlalchemy", ("console",)),
            Dependency("python_multipart", "python-multipart", ("console",)),
            Dependency("itsdangerous", "itsdangerous", ("console",)),
            Dependency("psycopg", "psycopg", ("postgres",)),
            Dependency("opentelemetry", "opentelemetry-sdk", ("otel",)),
            Dependency("opentelemetry", "opentelemetry-exporter-otlp-proto-http", ("otel",)),
            Dependency("model_signing", "model-signing", ("sign",)),
            Dependency("OpenSSL", "pyopenssl", ("sign",)),
            Dependency("redis", "redis", ("redis",)),
            Dependency("ray", "ray", ("ray",)),
            Dependency("dask", "dask", ("dask",)),
            Dependency("mlflow", "mlflow", ("mlflow",)),
        )
    }
)
"""Every dependency by the name of its distribution."""

_BY_MODULE = {one.module: one for one in reversed(list(DEPENDENCIES.values()))}


def missing(error: ModuleNotFoundError, purpose: str, *, extra: str | None = None) -> MissingExtraError | None:
    """What to tell the user where a package of an extra was not found; None where it is no such package.

    Args:
        error: of the import.
        purpose: what needs the package, as the beginning of a sentence.
        extra: the extra to name, by default the usual one of the package.
    """
    found = _BY_MODULE.get((error.name or "").partition(".")[0])
    if found is None or not found.extras:
        return None
    package, _, part = (error.name or "").partition(".")
    there = bool(part) and sys.modules.get(package) is not None  # so another version of it has that part
    installed = found.installed if there else None
    return MissingExtraError(found.distribution, extra or found.extras[0], purpose, installed=installed)


@contextmanager
def needed_for(purpose: str, *, extra: str | None = None) -> Iterator[None]:
    """Import in here what belongs to an extra, and an absent package names the extra that brings it.

    Args:
        purpose: see `missing`.
        extra: see there.

    Raises:
        MissingExtraError: a package is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise missing(error, purpose, extra=extra) or error from error


def module(name: str, purpose: str, *, extra: str | None = None) -> Any:
    """Import a package of an extra and return it.

    Args:
        name: import name.
        purpose: see `missing`.
        extra: see there.

    Raises:
        MissingExtraError: it is not installed.
    """
    with needed_for(purpose, extra=extra):
        return importlib.import_module(name)
