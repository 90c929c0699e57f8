"""``ce-detect sign`` and ``verify-signature``, and the commands that take a trusted key or a pin."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from support import fused, keys
from support.command_line import call
from support.manifests import manifest, plain, tensors

from ce_detect.artifacts.file import Artifact


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """An artifact and a graph."""
    Artifact(tensors(plain()), manifest()).save(tmp_path / "guard.safetensors")
    return tmp_path / "guard.safetensors", fused.write_graph(tmp_path)


def test_signing_and_checking(files: tuple[Path, Path], tmp_path: Path) -> None:
    """Both files at once; a file that changed, or the key of somebody else, is exit code 1."""
    private, public = keys.pair(tmp_path)
    done = call("sign", *files, "--key", private, "--json")
    assert (done.code, json.loads(done.out)["signatures"][str(files[1])]) == (0, f"{files[1]}.sig")
    assert call("verify-signature", *files, "--trusted-key", public).code == 0
    files[1].write_bytes(files[1].read_bytes() + b"\0")
    found = call("verify-signature", *files, "--trusted-key", public, "--json")
    assert found.code == 1
    assert json.loads(found.out)["signed"] == {str(files[0]): True, str(files[1]): False}
    other = keys.pair(tmp_path, "other")[1]
    assert "is no signature of" in " ".join(call("verify-signature", files[0], "--trusted-key", other).out.split())


def test_commands_refuse_other_files(files: tuple[Path, Path], tmp_path: Path) -> None:
    """By a key, and by a pin; what is signed or pinned is read."""
    private, public = keys.pair(tmp_path)
    artifact, graph = files
    scan = ("scan", graph, "demo", "--out", tmp_path / "out.parquet")
    for command in (("inspect", artifact), scan, ("serve", graph, "--port", 0)):
        unsigned = call(*command, "--trusted-key", public)
        assert (unsigned.code, "is not signed" in unsigned.err) == (2, True)
        other = call(*command, "--sha256", "0" * 64)
        assert (other.code, "it is another file" in other.err) == (2, True)
    assert call("sign", artifact, "--key", private).code == 0
    pin = hashlib.sha256(artifact.read_bytes()).hexdigest()
    assert call("inspect", artifact, "--trusted-key", public, "--sha256", pin).code == 0
