"""Images by name and from memory: what they may be, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support.pictures import FLOATS, GREY, LABELS, labels_of, npz

from ce_detect.core.errors import InputError, UsageError
from ce_detect.data import as_images, load_data


def test_limit_keeps_the_first_images(tmp_path: Path) -> None:
    """A limit takes images and labels alike, and may exceed what there is."""
    path = npz(tmp_path / "set.npz", x=FLOATS, y=LABELS)
    assert labels_of(load_data(path, limit=2)) == [0, 1]
    assert len(load_data(path, limit=100)) == 6


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("absent.npz", "no data file"),
        ("absent.npy", "no data file"),
        ("no/such/folder", "no data that can be loaded: expected a folder"),
        ("absent.py:make", "no Python file"),
        ("no_such_package:make", "no module"),
    ],
)
def test_spec_that_names_nothing_is_a_usage_error(spec: str, message: str) -> None:
    """Whatever the kind of data, an absent one is a usage error."""
    with pytest.raises(UsageError, match=message):
        load_data(spec)


def test_senseless_options_are_usage_errors(tmp_path: Path) -> None:
    """A limit below one, and a split of something that has none, are refused."""
    with pytest.raises(UsageError, match="limit is 0"):
        load_data("demo", limit=0)
    with pytest.raises(UsageError, match=r"split 'train' applies to \.npz files and folders of parquet files only"):
        load_data("demo", split="train")
    with pytest.raises(UsageError, match="name the 'test' part"):
        load_data(tmp_path, split="test")


def test_demo_images() -> None:
    """The packaged images are 2,000 grey ones of ten classes."""
    images = load_data("demo", split="test")
    assert images.x.shape == (2000, 1, 28, 28)
    assert images.bounds == (0.0, 1.0)
    assert set(labels_of(images)) == set(range(10))


@pytest.mark.parametrize(
    ("result", "labels", "bounds"),
    [
        ("np.zeros((3, 4, 5), np.uint8), [0, 1, 2]", [0, 1, 2], (0.0, 1.0)),
        ("np.zeros((3, 1, 4, 5))", None, None),
        ("[(np.zeros((1, 1, 4, 5)), np.array([i])) for i in range(3)]", [0, 1, 2], None),
    ],
)
def test_factory_of_data(
    tmp_path: Path, result: str, labels: list[int] | None, bounds: tuple[float, float] | None
) -> None:
    """A factory may return a pair, images alone, or batches."""
    path = tmp_path / "mine.py"
    path.write_text(f"import numpy as np\ndef make():\n    return {result}\n")
    images = load_data(f"{path}:make", limit=3)
    assert images.x.shape == (3, 1, 4, 5)
    assert images.bounds == bounds
    assert (None if images.y is None else images.y.tolist()) == labels
    assert len(load_data(f"{path}:make", limit=2)) == 2


def test_arrays_and_tensors_agree() -> None:
    """A tensor that requires grad, of any float type, gives what the array gives."""
    expected = as_images(FLOATS, LABELS)
    got = as_images(torch.tensor(FLOATS, dtype=torch.float64, requires_grad=True), torch.tensor(LABELS)[:, None])
    np.testing.assert_array_equal(got.x, expected.x)
    assert labels_of(got) == labels_of(expected) == LABELS.tolist()
    assert as_images(torch.tensor(FLOATS).bfloat16()).x.dtype == np.float32


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ({"train": FLOATS}, None, "x is dict, expected an array or tensor"),
        (7, None, "x is int"),
        ([], None, "no batches"),
        (GREY[:, None], None, "dtype uint8, expected floats; scale to float32 within the model's bounds"),
        (torch.zeros(2, 1, 4, 5, dtype=torch.int64), None, "dtype int64"),
        (FLOATS.astype(complex), None, "dtype complex128"),
        (FLOATS[0], None, r"shape \(3, 4, 5\), which is one image \(C, H, W\); expected batches"),
        ([FLOATS[0], FLOATS[1]], None, r"batch 0 of x has shape \(3, 4, 5\)"),
        ([{"pixels": FLOATS}], None, "batch 0 of x is dict, expected an array"),
        ([(FLOATS, LABELS, LABELS)], None, "batch 0 of x has 3 parts, expected an image or a pair"),
        ([FLOATS, FLOATS[:, :, :2]], None, r"batch 1 of x has shape \(6, 3, 2, 5\), but batch 0 has \(6, 3, 4, 5\)"),
        ([(FLOATS, LABELS), FLOATS], None, "1 of 2 batches of x have labels"),
        ([(FLOATS, LABELS)], LABELS, "labels were passed twice"),
        ([(FLOATS, LABELS[:3])], None, "batch 0 of x has 6 images but 3 labels"),
        (FLOATS, LABELS[:3], "6 images but 3 labels"),
        (FLOATS[:0], LABELS[:0], "at least one image"),
    ],
)
def test_unusable_memory_is_refused(x: object, y: object, message: str) -> None:
    """The error names what was passed, and in which batch."""
    with pytest.raises(InputError, match=message):
        as_images(x, y)


def test_names_and_images_pass_through(tmp_path: Path) -> None:
    """What `load_data` takes and gives is taken too, and labels may come beside it, once."""
    np.save(tmp_path / "set.npy", FLOATS)
    images = as_images(tmp_path / "set.npy", LABELS)
    assert labels_of(images) == LABELS.tolist()
    assert as_images(images) is not None
    np.testing.assert_array_equal(as_images(images, limit=2).x, FLOATS[:2])
    with pytest.raises(InputError, match="labels were passed twice"):
        as_images(images, LABELS)
    with pytest.raises(UsageError, match="no data file"):
        as_images(str(tmp_path / "absent.npz"))


def test_numpy_users_never_import_torch() -> None:
    """Loading and gathering arrays imports neither torch nor pillow."""
    program = (
        "import sys, numpy as np; from ce_detect.data import as_images, load_data; load_data('demo', limit=2);"
        "as_images([np.zeros((1, 1, 2, 2))], [0]); sys.exit(bool({'torch', 'PIL'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
