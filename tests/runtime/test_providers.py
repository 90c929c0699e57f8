"""What ONNX Runtime computes on."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ce_detect.core.errors import MissingExtraError, UsageError
from ce_detect.runtime import Gate, providers


def test_the_fastest_provider_is_taken() -> None:
    """TensorRT before CUDA before the CPU, and only what is there; what nobody knows is left out."""
    assert providers.chosen(None, ["CPUExecutionProvider", "CUDAExecutionProvider", "AzureExecutionProvider"]) == [
        "CUDAExecutionProvider", "CPUExecutionProvider",
    ]  # fmt: skip
    assert providers.chosen(None, list(reversed(providers.PREFERENCE)))[0] == "TensorrtExecutionProvider"
    named: Any = [("CUDAExecutionProvider", {"device_id": 1})]
    assert providers.chosen(named, ["CUDAExecutionProvider"]) == named


def test_providers_are_settable_and_logged(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A provider that is there is used and named; one that is not is an error with the remedy."""
    with caplog.at_level(logging.INFO, logger="ce_detect"):
        gate = Gate(path, providers=["CPUExecutionProvider"], threads=1)
    assert gate.providers == ("CPUExecutionProvider",)
    assert "the gate runs on CPUExecutionProvider" in caplog.text
    with pytest.raises(UsageError, match=r"'CUDAExecutionProvider' is not in .*ce-detect\[gpu\]"):
        Gate(path, providers=["CUDAExecutionProvider"])
    with pytest.raises(UsageError, match="threads = 0"):
        Gate(path, threads=0)


def test_provider_that_does_not_load_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """ONNX Runtime goes on with the CPU; whoever asked for CUDA by name gets an error, whoever did not a warning."""
    cpu, both = ["CPUExecutionProvider"], ["CUDAExecutionProvider", "CPUExecutionProvider"]
    with pytest.raises(UsageError, match="CUDAExecutionProvider could not be loaded, only CPUExecutionProvider"):
        providers.check_loaded(["CUDAExecutionProvider"], both, cpu)
    for available, loaded in ((cpu, cpu), (both, both), (["TensorrtExecutionProvider", *both], both)):
        providers.check_loaded(None, available, loaded)
    assert not caplog.text
    providers.check_loaded(None, both, cpu)
    assert "so the gate runs on the CPU: check that the driver" in caplog.text


def test_two_distributions_are_explained(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Both wheels at once: a warning with the remedy, and an error where neither can be imported."""
    monkeypatch.setattr("importlib.metadata.version", lambda name: "1.0")
    Gate(path)
    assert "pip uninstall onnxruntime onnxruntime-gpu" in caplog.text

    def broken(name: str) -> None:
        raise ImportError("libonnxruntime_providers_shared.so", name="onnxruntime.capi")

    monkeypatch.setattr("importlib.import_module", broken)
    with pytest.raises(UsageError, match=r"both installed.*providers_shared"):
        Gate(path)


@pytest.mark.parametrize("available", [["CPUExecutionProvider"], ["CUDAExecutionProvider", "CPUExecutionProvider"]])
def test_libraries_of_cuda_are_loaded_where_they_could_be_needed(
    available: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those in wheels of NVIDIA are found; what ONNX Runtime prints then does not mix with what a command prints."""
    module = SimpleNamespace(
        get_available_providers=lambda: available, preload_dlls=lambda: print("Failed to load libcudart.so")
    )
    monkeypatch.setitem(sys.modules, "onnxruntime", module)
    assert providers.onnxruntime() is module
    said = capsys.readouterr()
    assert said.out == ""
    assert ("libcudart" in said.err) == ("CUDAExecutionProvider" in available)


def test_absent_runtime_names_its_extra(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without ONNX Runtime the error says what to install."""
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'ce-detect\[runtime\]'"):
        Gate(path)
