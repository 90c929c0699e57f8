"""Signatures of artifacts and graphs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support import fused, keys
from support.manifests import manifest, plain, tensors

from ce_detect.artifacts import signing, trust
from ce_detect.artifacts.file import Artifact
from ce_detect.core.errors import ArtifactError, MissingExtraError, UsageError
from ce_detect.runtime import Gate


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """A graph."""
    return fused.write_graph(tmp_path)


def test_a_signed_graph_is_run(graph: Path, tmp_path: Path) -> None:
    """With the key that signed it, and wherever file and signature are put together."""
    private, public = keys.pair(tmp_path)
    assert signing.sign(graph, private) == tmp_path / "guard.onnx.sig"
    assert Gate(graph, trusted_key=public)(fused.images(2)).score.shape == (2,)
    (tmp_path / "else").mkdir()
    for suffix in ("", ".sig"):
        (tmp_path / "guard.onnx").with_name(f"guard.onnx{suffix}").rename(tmp_path / "else" / f"other.onnx{suffix}")
    Gate(tmp_path / "else" / "other.onnx", trusted_key=str(public))


def test_a_signed_artifact_is_read(tmp_path: Path) -> None:
    """Alone it is read as well, for a signature is no part of it."""
    private, public = keys.pair(tmp_path, password="secret")
    path = tmp_path / "guard.safetensors"
    Artifact(tensors(plain()), manifest()).save(path)
    signing.sign(path, private, "secret")
    assert Artifact.load(path, trusted_key=public).manifest == Artifact.load(path).manifest


def test_what_the_key_did_not_sign_is_refused(graph: Path, tmp_path: Path) -> None:
    """No signature, one of another key, one of another file, and one that is none."""
    private, public = keys.pair(tmp_path)
    with pytest.raises(ArtifactError, match=r"is not signed: there is no guard\.onnx\.sig beside it"):
        Gate(graph, trusted_key=public)
    signing.sign(graph, keys.pair(tmp_path, "other")[0])
    with pytest.raises(ArtifactError, match=r"guard\.onnx\.sig is no signature of .* by the key .*Key mismatch"):
        Gate(graph, trusted_key=public)
    signing.sign(graph, private)
    good = signing.signature_of(graph).read_bytes()
    other = fused.graph(said=fused.metadata(threshold="0.75"))
    with pytest.raises(ArtifactError, match=r"is no signature of .*mismatch"):
        trust.check(other, graph, trusted_key=public)
    for bad in (b"", b"{}", b"\xff", b"[" * 5000, good[:-20], good.replace(b'"payload":"', b'"payload":"A')):
        signing.signature_of(graph).write_bytes(bad)
        with pytest.raises(ArtifactError, match="is no signature"):
            Gate(graph, trusted_key=public)


def test_what_is_held_to_the_signature_are_the_bytes_in_use(graph: Path, tmp_path: Path) -> None:
    """Not those that lie at the path by then."""
    private, public = keys.pair(tmp_path)
    content = graph.read_bytes()
    signing.sign(graph, private)
    graph.write_bytes(b"another")
    assert trust.check(content, graph, trusted_key=public)


def test_keys_that_are_none(graph: Path, tmp_path: Path) -> None:
    """An absent key, no key, and the wrong half of a pair are mistakes of the caller, with the remedy."""
    private, public = keys.pair(tmp_path)
    (tmp_path / "text").write_text("hello")
    for key in (tmp_path / "absent", tmp_path / "text", public):
        with pytest.raises(UsageError, match=r"cannot be used as a private key.*openssl genpkey"):
            signing.sign(graph, key)
    for key in (tmp_path / "absent", tmp_path / "text", private):
        with pytest.raises(UsageError, match="cannot be used as a public key"):
            Gate(graph, trusted_key=key)
    with pytest.raises(ArtifactError, match=r"cannot sign .*absent"):
        signing.sign(tmp_path / "absent.onnx", private)


def test_without_the_extra(graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names it, and nothing else needs it."""
    monkeypatch.setitem(sys.modules, "model_signing", None)
    with pytest.raises(MissingExtraError, match=r"ce-detect\[sign\]"):
        Gate(graph, trusted_key=tmp_path / "key.pub")
    source = (
        "import sys; sys.modules.update(dict.fromkeys(('model_signing', 'cryptography', 'OpenSSL')))\n"
        f"from ce_detect.runtime import Gate; Gate({str(graph)!r})"
    )
    assert subprocess.run([sys.executable, "-c", source], check=False).returncode == 0


def test_other_programs_read_the_signature(graph: Path, tmp_path: Path) -> None:
    """OpenSSF's own command does."""
    private, public = keys.pair(tmp_path)
    signature = signing.sign(graph, private)
    verify = [sys.executable, "-m", "model_signing", "verify", "key", "--signature", signature, "--public_key", public]
    done = subprocess.run([*map(str, verify), str(graph)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
