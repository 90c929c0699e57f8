"""What ONNX Runtime computes on, and the two distributions of it that hide each other."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Sequence
from typing import Any

from ce_detect.core import extras
from ce_detect.core.errors import UsageError

logger = logging.getLogger("ce_detect")

PREFERENCE = ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider")
"""Execution providers, the fastest first."""

CUDA = frozenset(PREFERENCE[:2])
"""Those whose tensors live on a CUDA device."""

WHEELS = ("onnxruntime", "onnxruntime-gpu")
"""Distributions that write the same import package."""

_CLASH = (
    "onnxruntime and onnxruntime-gpu are both installed: they write the same files, and whichever came last hides the "
    "other. Mend it: pip uninstall onnxruntime onnxruntime-gpu, then install the one you want"
)

Provider = str | tuple[str, dict[str, Any]]


def clash() -> str | None:
    """What is wrong, with the remedy, where both distributions are installed."""
    return _CLASH if all(extras.DEPENDENCIES[name].installed for name in WHEELS) else None


def onnxruntime() -> Any:
    """Import ONNX Runtime.

    Raises:
        MissingExtraError: it is not installed.
        UsageError: it cannot be imported because two distributions of it are.
    """
    found = clash()
    try:
        module = extras.module("onnxruntime", "A gate without torch")
    except ImportError as error:
        if found is None:
            raise
        raise UsageError(f"{found} ({error})") from error
    if found is not None:
        logger.warning(found)
    _preload(module)
    return module


def chosen(wanted: Sequence[Provider] | None, available: Sequence[str]) -> list[Provider]:
    """Execution providers to ask for, the first first.

    Args:
        wanted: names as ONNX Runtime spells them, or pairs of a name and options; None for the fastest that are there.
        available: those that the installed distribution has.

    Raises:
        UsageError: one of them is not there.
    """
    if wanted is None:
        return [name for name in PREFERENCE if name in available]
    for provider in wanted:
        name = provider if isinstance(provider, str) else provider[0]
        if name not in available:
            raise UsageError(
                f"execution provider {name!r} is not in the installed ONNX Runtime, which has {', '.join(available)}; "
                "those of NVIDIA come with pip install 'ce-detect[gpu]', after pip uninstall onnxruntime"
            )
    return list(wanted)


def check_loaded(wanted: Sequence[Provider] | None, available: Sequence[str], loaded: Sequence[str]) -> None:
    """Say what the graph runs on, and refuse where it is not what was asked for.

    ONNX Runtime goes on with the CPU where a provider's own libraries, such as those of CUDA, cannot be loaded.

    Args:
        wanted: see `chosen`.
        available: see `chosen`.
        loaded: providers of the session.

    Raises:
        UsageError: a provider that was asked for by name could not be loaded.
    """
    names = [provider if isinstance(provider, str) else provider[0] for provider in wanted or ()]
    lost = [name for name in names if name not in loaded]
    if lost:
        raise UsageError(
            f"{lost[0]} could not be loaded, only {', '.join(loaded)}: check that the driver and the libraries it "
            "needs are installed, or leave providers out to take what there is"
        )
    if wanted is None and CUDA & set(available) and not CUDA & set(loaded):
        logger.warning(
            "onnxruntime-gpu is installed, but CUDA could not be loaded, so the gate runs on the CPU: check that the "
            "driver and the CUDA libraries of its version are installed"
        )
    logger.info("the gate runs on %s", ", ".join(loaded))


def _preload(module: Any) -> None:
    """Load CUDA's libraries from the wheels of NVIDIA where these are installed; else the loader must find them.

    Whatever ONNX Runtime prints about it goes to stderr: what a command prints on stdout is for machines.
    """
    if CUDA & set(module.get_available_providers()) and hasattr(module, "preload_dlls"):
        with contextlib.redirect_stdout(sys.stderr):
            module.preload_dlls()
