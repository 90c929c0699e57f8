"""Sketches keep distances, and fingerprints tell near-copies from others."""

from __future__ import annotations

import numpy as np
import pytest
from support.queries import SALT, walk

from ce_detect.core.errors import InputError
from ce_detect.data import Images
from ce_detect.monitor.queries.sketch import KEYS, Sketcher

SKETCHER = Sketcher(SALT, 784, (0.0, 1.0), 0.04)


def prints(sketcher: Sketcher, x: np.ndarray) -> list[list[bytes]]:
    """Hashes of inputs."""
    return list(sketcher.fingerprints(sketcher.sketches(x), sketcher.sums(x)))


def shared(a: np.ndarray, b: np.ndarray, sketcher: Sketcher = SKETCHER) -> int:
    """How many hashes two inputs share."""
    first, second = (found[:KEYS] for found in prints(sketcher, np.stack([a, b])))
    return len(set(first) & set(second))


def test_near_copies_share_hashes_and_other_images_none(demo_images: Images) -> None:
    """A step of two grey levels keeps most hashes; no two of a hundred images of clothes share three."""
    x = demo_images.x[:100]
    assert all(shared(image, walk(image, 1, step=2 / 255)[0]) > KEYS // 2 for image in x[:20])
    hashes = [set(found[:KEYS]) for found in prints(SKETCHER, x)]
    assert max(len(a & b) for i, a in enumerate(hashes) for b in hashes[:i]) < 3


def test_the_last_hash_tells_exact_copies(demo_images: Images) -> None:
    """An exact copy shares it, a near-copy does not."""
    image = demo_images.x[:1]
    x = np.concatenate([image, image, walk(image[0], 1)])
    first, copy, near = (found[-1] for found in prints(SKETCHER, x))
    assert first == copy != near


@pytest.mark.parametrize("kind", [np.float32, np.uint8, np.float64])
def test_one_pixel_makes_another_input(kind: type) -> None:
    """Each of them: sketches of large images look at some pixels alone, and a search may change the others."""
    sketcher = Sketcher(SALT, 3 * 59 * 59, (0, 255), 0.04)
    image = np.random.default_rng(0).integers(0, 255, (1, 3, 59, 59)).astype(kind)
    x = np.repeat(image, 301, axis=0)
    x[1:].reshape(300, -1)[np.arange(300), np.arange(300) * 34] += 1
    assert len({one[-1] for one in prints(sketcher, x)}) == 301
    assert prints(sketcher, x[7:8])[0] == prints(sketcher, x)[7]


def test_another_salt_is_another_hash(demo_images: Images) -> None:
    """Without the salt nobody can tell what an input's hashes are, or look an image up by them."""
    image = demo_images.x[0]
    other = Sketcher(b"another", 784, (0.0, 1.0), 0.04)
    (first,) = prints(SKETCHER, image[None])
    (second,) = prints(other, image[None])
    assert not set(first) & set(second)


def test_sketches_keep_distances(demo_images: Images) -> None:
    """A sketch is 16 pixels wide: its root mean square difference is four times that of the pixels."""
    x = demo_images.x[:2]
    sketch = np.diff(SKETCHER.sketches(x), axis=0)
    ratio = np.sqrt((sketch**2).mean()) / np.sqrt(((x[1] - x[0]) ** 2).mean())
    assert ratio == pytest.approx(4.0, rel=0.15)


def test_grey_levels_and_floats_are_alike(demo_images: Images) -> None:
    """Bytes with bounds of 0 and 255 give what shares of them give; large images cost no more pixels."""
    levels = np.round(demo_images.x[:3] * 255).astype(np.uint8)
    of_bytes = Sketcher(SALT, 784, (0, 255), 0.04).sketches(levels)
    np.testing.assert_allclose(of_bytes, SKETCHER.sketches(levels / np.float32(255)), atol=1e-3)
    assert Sketcher(SALT, 3 * 64 * 64, (0, 1), 0.04).sketches(np.zeros((2, 3, 64, 64))).shape == (2, 256)


def test_another_size_is_refused() -> None:
    """The places are drawn for one size."""
    with pytest.raises(InputError, match="inputs of 9 values, expected 784"):
        SKETCHER.sketches(np.zeros((1, 3, 3)))
