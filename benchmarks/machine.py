"""What stands beside a figure: the processor, the versions, and the peak memory of this process."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

PACKAGES = ("ce-detect", "torch", "adversarial-robustness-toolbox", "scikit-learn", "numpy")


def environment() -> dict[str, Any]:
    """Python, machine, threads and versions."""
    import torch  # here: the peak memory of a process that has no torch is measured too

    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        **{name: importlib.metadata.version(name) for name in PACKAGES},
    }


def processor() -> str:
    """Name of the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def peak_memory() -> int:
    """Peak resident memory of this process in bytes, not of its parent's as in ``ru_maxrss``; Linux only."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
