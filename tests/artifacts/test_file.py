"""A calibrated detector on disk: whole, sealed, and never executed."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import signal
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from safetensors.numpy import save_file
from support.manifests import manifest, plain, tensors

from ce_detect.artifacts import file
from ce_detect.artifacts.file import FORMAT, Artifact
from ce_detect.artifacts.manifest import Manifest
from ce_detect.core.errors import ArtifactError
from ce_detect.storage import atomic

KILLED = """
import os, signal, sys
import numpy as np
from ce_detect.artifacts.file import Artifact
before = Artifact.load(sys.argv[1])
os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
Artifact({"x": np.zeros(1000)}, before.manifest).save(sys.argv[1])
"""


def detector() -> Artifact:
    """Tensors of several types and shapes, one of them not contiguous, and a manifest."""
    return Artifact(tensors(plain()), manifest())


def edited(path: Path, change: Any) -> None:
    """Change the metadata in the header of a safetensors file, leaving the file well-formed."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    change(header["__metadata__"])
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A file with the detector in it."""
    path = tmp_path / "detector.safetensors"
    detector().save(path)
    return path


# --- round trips


def test_what_was_saved_is_loaded(saved: Path) -> None:
    """Tensors come back with their bytes, types and shapes, and the manifest as it was."""
    loaded, before = Artifact.load(saved), detector()
    assert loaded.manifest == before.manifest
    assert set(loaded.tensors) == set(before.tensors)
    for name, tensor in before.tensors.items():
        assert loaded.tensors[name].dtype == tensor.dtype
        np.testing.assert_array_equal(loaded.tensors[name], tensor)


def test_save_load_save_gives_the_same_bytes(saved: Path, tmp_path: Path) -> None:
    """Nothing is lost or added on the way, and equal content gives equal files whatever the order of its parts."""
    Artifact.load(str(saved)).save(str(tmp_path / "again"))
    assert (tmp_path / "again").read_bytes() == saved.read_bytes()
    before = detector()
    backwards = Artifact(
        dict(reversed(before.tensors.items())), Manifest.of(dict(reversed(before.manifest.plain().items())))
    )
    assert backwards.to_bytes() == saved.read_bytes()


def test_file_is_plain_safetensors(saved: Path) -> None:
    """Any other program can read the tensors and the manifest without ce-detect."""
    content = saved.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    manifest = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["ce_detect"])
    assert manifest["format"] == FORMAT
    assert manifest["fpr"] == 0.01


# --- damage


def test_truncated_files_are_refused(saved: Path) -> None:
    """Wherever the file is cut, it is refused."""
    content = saved.read_bytes()
    for length in [*range(0, len(content) - 1, 37), len(content) - 1]:
        saved.write_bytes(content[:length])
        with pytest.raises(ArtifactError, match=r"detector\.safetensors is not a whole safetensors file"):
            Artifact.load(saved)


def test_longer_files_are_refused(saved: Path) -> None:
    """Bytes behind the end are not ignored."""
    saved.write_bytes(saved.read_bytes() + b"\0")
    with pytest.raises(ArtifactError, match="not a whole safetensors file"):
        Artifact.load(saved)


@pytest.mark.parametrize("bit", [0, 5])
def test_no_flipped_bit_goes_unnoticed(saved: Path, bit: int) -> None:
    """With one bit of a byte flipped, in tensors, manifest or header, nothing else is loaded than what was saved."""
    content, whole = saved.read_bytes(), detector().to_bytes()
    refused = 0
    for position in range(bit, len(content), 5):
        damaged = bytearray(content)
        damaged[position] ^= 1 << bit
        saved.write_bytes(damaged)
        try:
            loaded = Artifact.load(saved)
        except ArtifactError:
            refused += 1
        else:
            assert loaded.to_bytes() == whole, position
    assert refused > 0.99 * len(content) / 5


@pytest.mark.parametrize("name", ["clean_scores", "threshold"])
def test_edited_tensor_is_named_damaged(saved: Path, name: str) -> None:
    """Tensors of another file under an honest manifest are refused with a reason."""
    honest = detector().to_bytes()
    before = detector().tensors[name].tobytes()
    at = honest.rindex(before)
    saved.write_bytes(honest[:at] + before[:-1] + bytes([before[-1] ^ 1]) + honest[at + len(before) :])
    with pytest.raises(ArtifactError, match="edited or damaged since it was made"):
        Artifact.load(saved)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{not json", "manifest of .* cannot be read"),
        ("{}", "cannot be read"),
        ("[1, 2]", "cannot be read"),
        ("null", "cannot be read"),
        ('"text"', "cannot be read"),
    ],
)
def test_manifest_that_is_none_is_refused(saved: Path, text: str, message: str) -> None:
    """Whatever stands in the place of the manifest, the error is ours."""
    edited(saved, lambda metadata: metadata.__setitem__("ce_detect", text))
    with pytest.raises(ArtifactError, match=message):
        Artifact.load(saved)


def test_edited_manifest_is_refused(saved: Path) -> None:
    """A threshold or rate changed by hand breaks the seal."""
    edited(saved, lambda m: m.__setitem__("ce_detect", m["ce_detect"].replace('"fpr": 0.01', '"fpr": 0.02')))
    with pytest.raises(ArtifactError, match="edited or damaged since it was made"):
        Artifact.load(saved)


def test_newer_format_is_refused(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of a later version says which format it has and which is read."""
    monkeypatch.setattr(file, "KIND", dataclasses.replace(file.KIND, format=FORMAT + 1))
    detector().save(saved)
    monkeypatch.undo()
    with pytest.raises(ArtifactError, match=f"has format {FORMAT + 1}, this version .* reads format {FORMAT}"):
        Artifact.load(saved)


def test_manifest_of_other_types_is_refused(saved: Path) -> None:
    """A whole file whose manifest cannot be read names the field, and the remedy."""
    before = detector()
    wrong = msgspec.structs.replace(before.manifest, fpr="low")  # nothing checks what code puts there
    Artifact(before.tensors, wrong).save(saved)
    with pytest.raises(ArtifactError, match=r"detector\.safetensors cannot be read .*`\$\.fpr`.*; calibrate again"):
        Artifact.load(saved)


def test_foreign_safetensors_are_refused(tmp_path: Path) -> None:
    """Somebody else's safetensors file, with metadata or without, is named as such."""
    for metadata in (None, {"format": "pt"}):
        save_file({"weight": np.zeros(3)}, tmp_path / "model.safetensors", metadata=metadata)
        with pytest.raises(ArtifactError, match=r"model\.safetensors is no detector that ce-detect wrote"):
            Artifact.load(tmp_path / "model.safetensors")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a zip", b"\x80\x04K\x01.", b"\xff" * 64, b"{}" * 40])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    """Empty files, archives, pickles and noise are refused and not executed."""
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ArtifactError, match="not a whole safetensors file"):
        Artifact.load(tmp_path / "file")


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    """An absent file is named; a folder is no artifact either."""
    with pytest.raises(ArtifactError, match=r"no artifact at .*absent\.safetensors"):
        Artifact.load(tmp_path / "absent.safetensors")
    with pytest.raises(ArtifactError, match=str(tmp_path)):
        Artifact.load(tmp_path)


# --- saving that fails


def test_killed_process_leaves_the_old_detector(saved: Path) -> None:
    """A process killed while it saves leaves a file that loads as before."""
    before = saved.read_bytes()
    process = subprocess.run([sys.executable, "-c", KILLED, str(saved)], check=False)
    assert process.returncode == -signal.SIGKILL
    assert saved.read_bytes() == before
    assert Artifact.load(saved).manifest == detector().manifest


def test_full_disk_leaves_the_old_detector_and_no_litter(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is reported as such; the old file stays, alone in its folder."""
    before = saved.read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ArtifactError, match=r"cannot write .*No space left on device.*untouched"):
        Artifact({"x": np.zeros(1000)}, manifest()).save(saved)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, "Permission denied"), OSError("odd")])
def test_folder_that_refuses_leaves_the_old_detector(
    saved: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    """Whatever the system says about the folder is passed on in our error."""

    def refuse(*_: object, **__: object) -> None:
        raise error

    before = saved.read_bytes()
    monkeypatch.setattr(atomic.tempfile, "mkstemp", refuse)
    with pytest.raises(ArtifactError, match=f"cannot write .*{error.strerror or error}"):
        detector().save(saved)
    assert saved.read_bytes() == before


def test_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    """The error names the path; no folder is made."""
    with pytest.raises(ArtifactError, match=r"cannot write .*absent/detector"):
        detector().save(tmp_path / "absent" / "detector")
    assert not list(tmp_path.iterdir())


def test_manifest_with_nan_is_not_written(tmp_path: Path) -> None:
    """Figures that are not numbers would make a file that other JSON readers refuse."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        Artifact({}, msgspec.structs.replace(manifest(), search={"auroc": float("nan")})).save(tmp_path / "file")
    assert not list(tmp_path.iterdir())


# --- content that makes no sense, under a seal of its own


@pytest.mark.parametrize("kind", ["BF16", "F8_E4M3", "F8_E5M2", "F16", "I8"])
def test_types_that_no_detector_has(saved: Path, kind: str) -> None:
    """The header names the type, and so does the error: also one that NumPy has not."""
    width = 2 if kind in ("BF16", "F16") else 1
    header = {"__metadata__": {"ce_detect": "{}"}, "x": {"dtype": kind, "shape": [2], "data_offsets": [0, 2 * width]}}
    text = json.dumps(header).encode()
    saved.write_bytes(struct.pack("<Q", len(text)) + text + bytes(2 * width))
    with pytest.raises(ArtifactError, match=f"the tensor 'x' of .* is {kind}, expected one of F32, I64"):
        Artifact.load(saved)


@pytest.mark.parametrize("text", ["[" * 5000, '{"format": ' + "9" * 5000 + "}"])
def test_a_manifest_that_python_cannot_read(saved: Path, text: str) -> None:
    """Lists in lists, and digits without end."""
    edited(saved, lambda metadata: metadata.__setitem__("ce_detect", text))
    with pytest.raises(ArtifactError, match=r"manifest of .* cannot be read .*; calibrate again"):
        Artifact.load(saved)


def test_tensors_that_do_not_fit_are_not_loaded(saved: Path) -> None:
    """The seal is a checksum without a key: the table of tensors is what refuses them."""
    before = detector()
    Artifact({**before.tensors, "threshold": np.array(np.inf, np.float32)}, before.manifest).save(saved)
    with pytest.raises(ArtifactError, match=r"tensors of .*detector\.safetensors.*'threshold' holds inf.*; calibrate"):
        Artifact.load(saved)


def test_six_thousand_interventions(saved: Path) -> None:
    """More than any search finds is refused before one of them is made."""
    before = detector()
    many = msgspec.structs.replace(
        before.manifest.signature, interventions=[{"kind": "Flip"}] * 6000, names=["Flip"] * 6000
    )
    Artifact(before.tensors, msgspec.structs.replace(before.manifest, signature=many)).save(saved)
    with pytest.raises(ArtifactError, match=r"length <= 256.*signature.interventions"):
        Artifact.load(saved)
