"""A restart forgets no trace."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.queries import SALT, detector, walk, zeros

from ce_detect.core.errors import ArtifactError
from ce_detect.data import Images
from ce_detect.monitor.queries import QueryDetector
from ce_detect.monitor.queries.state import read, restore, write


def test_an_attack_goes_on_over_a_restart(demo_images: Images, tmp_path: Path) -> None:
    """Five queries before, ten after: the second process finds what one alone would have found."""
    whole, first = detector(), detector()
    steps = walk(demo_images.x[0], 15)
    expected = whole.observe(steps, zeros(15), "attacker")
    first.observe(steps[:5], zeros(5), "attacker")
    write(first, tmp_path / "state")
    found = read(tmp_path / "state")
    assert found is not None
    assert found.salt == SALT
    second = QueryDetector(784, (0.0, 1.0), salt=found.salt)
    assert restore(second, found)
    assert (
        [alarm.plain() for alarm in second.observe(steps[5:], zeros(10), "attacker")]
        == [alarm.plain() for alarm in expected]
        != []
    )


def test_the_file_is_for_its_owner_and_holds_no_image(demo_images: Images, tmp_path: Path) -> None:
    """The salt is a secret; of an image there are 17 hashes of eight bytes."""
    found = detector()
    found.observe(demo_images.x[:100], zeros(100), "a")
    write(found, tmp_path / "state")
    assert (tmp_path / "state").stat().st_mode & 0o077 == 0
    assert (tmp_path / "state").stat().st_size < 100 * 17 * 8 + 4000


def test_another_detector_begins_anew(demo_images: Images, tmp_path: Path) -> None:
    """Hashes of another radius mean nothing; nor does evidence against other shares or other habits."""
    write(detector(), tmp_path / "state")
    found = read(tmp_path / "state")
    assert found is not None
    assert not restore(detector(radius=0.1), found)
    assert not restore(detector(near_duplicates=0.99), found)
    with_habits, others = detector(), detector()
    with_habits.learn_habits(demo_images.x[:200])
    others.learn_habits(demo_images.x[200:500])
    assert not restore(with_habits, found)
    write(with_habits, tmp_path / "state")
    found = read(tmp_path / "state")
    assert found is not None
    assert not restore(others, found)
    assert read(tmp_path / "no such file") is None


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    """With what to do."""
    path = tmp_path / "state"
    path.write_bytes(b"x")
    with pytest.raises(ArtifactError, match="remove it to begin anew"):
        read(path)
    write(detector(), path)
    path.write_bytes(path.read_bytes()[: -np.dtype(np.float64).itemsize])
    with pytest.raises(ArtifactError, match="begin anew"):
        read(path)
