"""Which column of a table, or which key of a mapping, holds the images and which the labels."""

from __future__ import annotations

from collections.abc import Iterable

from ce_detect.core.errors import InputError

IMAGE_NAMES = ("image", "img", "images", "pixel_values", "x")
"""Names that images go by, the usual first."""

LABEL_NAMES = ("label", "labels", "fine_label", "target", "y", "class")
"""Names that class numbers go by, the usual first."""


def chosen(
    names: Iterable[str], images: list[str], numbers: Iterable[str], classes: list[str], origin: str
) -> list[str]:
    """Return the name of the images and, where there are labels, theirs.

    Args:
        names: all names.
        images: those that may hold images.
        numbers: those that may hold class numbers.
        classes: those that are known to.
        origin: what errors call the source.

    Raises:
        InputError: no images, or several and none of a usual name.
    """
    image = next((name for name in IMAGE_NAMES if name in images), images[0] if len(images) == 1 else None)
    if image is None:
        found = f"images under {', '.join(images)}" if images else "no column of encoded images"
        raise InputError(
            f"{origin} has {found} among {', '.join(names)}; call the column of the images 'image' and, where there "
            "are labels, their integer column 'label'"
        )
    known = [*(name for name in LABEL_NAMES if name in classes), *(classes if len(classes) == 1 else [])]
    label = next(iter([*known, *(name for name in LABEL_NAMES if name in set(numbers))]), None)
    return [image] if label is None else [image, label]
