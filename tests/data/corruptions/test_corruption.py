"""Natural change: what is true of every kind, and functions of the user's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.corrupted import UNIT, changed, colour, corrupted, grey, photographs

from ce_detect.core.errors import CalibrationError
from ce_detect.data.corruptions import KINDS, MILD, TAUGHT, Corruption, generator_for

NO_STRENGTH = {"flip", "enlarge"}
"""Kinds for which it makes no difference, or hardly any."""

NO_DRAWS = {
    "jpeg", "webp", "avif", "posterise", "flip", "gaussian-blur", "defocus", "sharpening", "median", "contrast", "grey",
    "vignette",
}  # fmt: skip
COLOURS = {"saturation", "grey"}
"""Kinds that leave grey images as they are."""

OWN = """
import numpy as np

def negative(image, generator):
    assert image.dtype == np.uint8 and image.ndim == 3 and image.flags.writeable
    return 255 - image

def noisy(image, generator):
    return generator.integers(0, 256, image.shape, dtype=np.uint8)

def spoiling(image, generator):
    image[:] = 0
    return image

def channels_first(image, generator):
    return image.transpose(2, 0, 1)

def floats(image, generator):
    return image / 255

def nothing(image, generator):
    pass

number = 3
"""


@pytest.fixture
def own(tmp_path: Path) -> str:
    """A file with functions of the user's own."""
    (tmp_path / "own.py").write_text(OWN)
    return str(tmp_path / "own.py")


# --- every kind


def test_half_of_the_kinds_are_learned() -> None:
    """The others show whether it carries over; each learned kind is one that there is."""
    assert (len(KINDS), len(TAUGHT)) == (31, 15)
    assert [kind for kind in KINDS if Corruption(kind).taught] == list(TAUGHT)
    assert {(one.kind, one.severity) for one in MILD} == {(kind, severity) for kind in KINDS for severity in (1, 2)}


@pytest.mark.parametrize("corruption", MILD, ids=lambda c: c.name)
def test_images_stay_images(corruption: Corruption) -> None:
    """Shape, type and bounds stay, the pictures change but little, and the values are those of an 8-bit file."""
    of_two = grey().reshape(12, 2, 28, 28)
    for x, (low, high) in ((grey(), UNIT), (of_two, (-1.0, 1.0)), (colour(), (0.0, 255.0)), (photographs(), UNIT)):
        scaled = (low + (high - low) * x).astype(np.float32)
        out = corruption(scaled, bounds=(low, high), seed=3)
        assert (out.shape, out.dtype) == (scaled.shape, np.float32)
        assert low <= out.min() <= out.max() <= high
        levels = (out - low) / (high - low) * 255
        np.testing.assert_allclose(levels, np.round(levels), atol=1e-3)
        moved = np.abs(out - scaled).mean() / (high - low)
        if corruption.kind in COLOURS and x.shape[1] == 1:
            assert moved < 1e-6
        else:
            assert 1e-4 < moved < 0.22


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("severity", [1, 2, None])
def test_an_image_is_changed_alike_in_any_company(kind: str, severity: int | None) -> None:
    """The outcome depends on the seed and the image alone."""
    x, corruption = colour(), Corruption(kind, severity)
    whole = corruption(x, bounds=UNIT, seed=1)
    np.testing.assert_array_equal(corruption(x[::-1].copy(), bounds=UNIT, seed=1), whole[::-1])
    np.testing.assert_array_equal(corruption(x[2:3], bounds=UNIT, seed=1), whole[2:3])
    drawn = kind not in (NO_DRAWS if severity is not None else {"flip"})
    assert (corruption(x, bounds=UNIT, seed=2) != whole).any() == drawn


def test_what_is_given_is_left_as_it_was() -> None:
    """Images are copied before they are changed."""
    x = colour(2).copy()
    before = x.copy()
    for kind in KINDS:
        corrupted(kind, x)
        np.testing.assert_array_equal(x, before, err_msg=kind)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in NO_STRENGTH])
def test_severity_two_changes_more(kind: str) -> None:
    """So it is for every kind that has a strength, on average; without a severity it is in between."""
    for x in (colour(40), photographs(20)):
        mild, drawn, stronger = (changed(kind, x, severity) for severity in (1, None, 2))
        assert mild < stronger
        assert 0 < drawn < stronger


def test_a_severity_is_drawn_for_each_image() -> None:
    """Factors of contrast lie between those of severities a half and 2.5, and differ from image to image."""
    x = grey(60)
    middle = x.mean((2, 3), keepdims=True)
    out = corrupted("contrast", x, None)
    factors = ((out - middle) * (x - middle)).sum((1, 2, 3)) / ((x - middle) ** 2).sum((1, 2, 3))
    assert 0.49 < factors.min() < 0.55
    assert 0.85 < factors.max() < 0.91
    assert len(np.unique(factors.round(2))) > 15


@pytest.mark.parametrize("kind", ["gaussian-noise", "shot-noise", "brightness", "contrast", "gaussian-blur"])
def test_large_images_change_more(kind: str) -> None:
    """Beyond 64 pixels a side the strengths are those of ImageNet-C."""
    large = colour().repeat(3, axis=2).repeat(3, axis=3)
    assert changed(kind, large) > 1.3 * changed(kind, colour())


def test_zero_has_one_sign() -> None:
    """An image draws alike with -0.0 in the place of 0.0, and differently for another seed or purpose."""
    x = np.zeros((1, 2, 2), np.float32)
    drawn = generator_for(0, "jpeg", x).random()
    assert generator_for(0, "jpeg", -x).random() == drawn
    others = generator_for(1, "jpeg", x), generator_for(0, "webp", x), generator_for(0, "jpeg", x + 1)
    assert drawn not in {other.random() for other in others}


@pytest.mark.parametrize(
    ("kind", "severity", "message"),
    [
        ("fog", 1, "no corruption 'fog'; there are: gaussian-noise, "),
        ("jpeg", 3, "severity = 3 of corruption 'jpeg' is not 1 or 2"),
        ("jpeg", 0, "severity = 0"),
        ("jpeg", True, "severity = True"),
        ("jpeg", "mild", "severity = 'mild'"),
        (3, None, "no corruption 3"),
    ],
)
def test_mistakes_are_named(kind: str, severity: int, message: str) -> None:
    """A corruption that does not exist, or that is not natural, is refused."""
    with pytest.raises(CalibrationError, match=message):
        Corruption(kind, severity)


def test_names_and_plain_data() -> None:
    """A severity is named where there is one."""
    assert (Corruption("jpeg", 2).name, Corruption("jpeg", 2).spec()) == ("jpeg 2", {"kind": "jpeg", "severity": 2})
    assert (Corruption("jpeg").name, Corruption("jpeg").spec()) == ("jpeg", {"kind": "jpeg"})


# --- a function of the user's own


def test_a_function_gets_pixels_as_bytes(own: str) -> None:
    """It sees (height, width, channels) in uint8, whatever the bounds; its outcome comes back in them."""
    negative = Corruption(f"{own}:negative")
    assert (negative.name, negative.spec(), negative.taught) == (f"{own}:negative", {"kind": f"{own}:negative"}, False)
    for x in (grey(2), colour(2), photographs(2)):
        np.testing.assert_allclose(negative(x, bounds=UNIT, seed=0), 1 - x, atol=1e-6)
        np.testing.assert_allclose(negative(2 * x - 1, bounds=(-1.0, 1.0), seed=0), 1 - 2 * x, atol=1e-5)
        np.testing.assert_allclose(negative(255 * x, bounds=(0.0, 255.0), seed=0), 255 - 255 * x, atol=1e-3)


def test_a_function_draws_for_the_image(own: str) -> None:
    """Its generator is the same for an image in any company, and another for another image or seed."""
    noisy, x = Corruption(f"{own}:noisy"), colour(3)
    whole = noisy(x, bounds=UNIT, seed=1)
    np.testing.assert_array_equal(noisy(x[1:2], bounds=UNIT, seed=1), whole[1:2])
    assert (noisy(x, bounds=UNIT, seed=2) != whole).mean() > 0.9
    assert (whole[0] != whole[1]).mean() > 0.9


def test_a_function_cannot_change_what_it_was_given(own: str) -> None:
    """It gets a copy."""
    x = colour(2).copy()
    assert corrupted(f"{own}:spoiling", x, None).max() == 0
    np.testing.assert_array_equal(x, colour(2))


def test_a_function_may_be_in_a_module(own: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then it is named as Python does."""
    monkeypatch.syspath_prepend(str(Path(own).parent))
    np.testing.assert_allclose(corrupted("own:negative", grey(1), None), 1 - grey(1), atol=1e-6)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("channels_first", r"returned uint8 \(3, 28, 28\) for uint8 \(28, 28, 3\)"),
        ("floats", r"returned float64 \(28, 28, 3\) for uint8 .*in uint8"),
        ("nothing", r"returned object \(\) for uint8"),
    ],
)
def test_a_function_that_returns_something_else_is_named(own: str, function: str, message: str) -> None:
    """With what it returned, and what was expected."""
    with pytest.raises(CalibrationError, match=message):
        corrupted(f"{own}:{function}", colour(1), None)


@pytest.mark.parametrize(
    ("name", "severity", "message"),
    [
        ("{own}:absent", None, "cannot be found: .*has no function 'absent'"),
        ("{own}:number", None, "cannot be found: .*is a int that cannot be called"),
        ("{own}.py:negative", None, "cannot be found: there is no Python file"),
        ("no_such_module:negative", None, "cannot be found: there is no module 'no_such_module'"),
        ("{own}:negative", 1, "severity = 1 of .*a function of yours has none"),
    ],
)
def test_a_function_that_cannot_be_used_is_told_at_once(
    own: str, name: str, severity: int | None, message: str
) -> None:
    """Before any image is looked at."""
    with pytest.raises(CalibrationError, match=message):
        Corruption(name.format(own=own), severity)
