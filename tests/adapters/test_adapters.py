"""What all adapters share."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "absent", "package"),
    [
        ("art", "art", "adversarial-robustness-toolbox"),
        ("sklearn", "sklearn", "scikit-learn"),
        ("ood", "torch", "torch"),
    ],
)
def test_an_absent_host_names_its_extra(module: str, absent: str, package: str) -> None:
    """Importing an adapter without its host says which package, and which extra brings it."""
    source = f"import sys; sys.modules[{absent!r}] = None; import ce_detect.adapters.{module}"
    told = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False).stderr
    assert f"needs the package {package!r}" in told
    assert "pip install 'ce-detect[calibrate]'" in told
