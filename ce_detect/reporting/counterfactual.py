"""Images as another class: a page, or one picture with the image, its counterfactual and what changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ce_detect.artifacts.counterfactual import CounterfactualManifest
from ce_detect.core import extras
from ce_detect.core.errors import UsageError
from ce_detect.core.types import Bounds, Floats
from ce_detect.counterfactual import Counterfactuals
from ce_detect.reporting import pictures
from ce_detect.reporting.document import PAGE, Headline, Verdict
from ce_detect.reporting.drawing import PURPOSE
from ce_detect.reporting.gallery import picture
from ce_detect.reporting.page import rendered
from ce_detect.reporting.words import percent
from ce_detect.storage import atomic

PICTURE = ".png"

_NEEDED = {PAGE: ("jinja2", "matplotlib"), PICTURE: ("matplotlib",)}


@dataclass(frozen=True)
class Shown:
    """Images with their counterfactuals.

    Attributes:
        found: see `ce_detect.counterfactual.Counterfactual.generate`.
        pixels: the images ``(batch, channels, height, width)``.
        names: what the page calls them.
        bounds: smallest and largest valid pixel value.
        manifest: of the training.
        artifact: what the page calls the trained pair.
    """

    found: Counterfactuals
    pixels: Floats
    names: Sequence[str]
    bounds: Bounds
    manifest: CounterfactualManifest
    artifact: str

    @property
    def headline(self) -> str:
        """What was found, in a sentence."""
        reached = int((self.found.label_after == self.found.target).sum())
        return f"{reached} of {len(self.pixels)} counterfactuals are of the class that was asked for."

    @property
    def data(self) -> dict[str, Any]:
        """Plain data, as ``--json`` prints it."""
        images = [{"name": name, **one} for name, one in zip(self.names, self.found.to_dict(), strict=True)]
        return {
            "counterfactual": self.artifact,
            "verdict": asdict(self._verdict()),
            "images": images,
            "manifest": self.manifest.plain(),
        }

    def write(self, path: Path) -> None:
        """Write a file, atomically; its ending says what, see `check`.

        Raises:
            OSError: the file cannot be written.
        """
        content: dict[str, Callable[[], bytes]] = {PAGE: self._page, PICTURE: self._picture}
        atomic.write(path, content[path.suffix]())

    def _page(self) -> bytes:
        data = self.data
        small = {**data, "images": [{**one, "mask": "see --json"} for one in data["images"]]}
        entries = [
            {"name": name, "pictures": [_input(self.pixels[place], name, self.bounds),
                                        *described(self.found, self.pixels, place, name, self.bounds)]}
            for place, name in enumerate(self.names)
        ]  # fmt: skip
        figures = [(name, f"{value:.3g}") for name, value in self.manifest.figures.items()]
        page = rendered(
            "counterfactual.html.j2", title=f"As another class, by {Path(self.artifact).name}", found=data,
            numbers=small, entries=entries, figures=figures,
        )  # fmt: skip
        return page.encode()

    def _picture(self) -> bytes:
        x, made = _unit(self.pixels, self.bounds), _unit(self.found.images, self.bounds)
        return pictures.sheet(list(zip(x, made, self.found.mask, strict=True)))

    def _verdict(self) -> Verdict:
        found = self.found
        return Verdict(
            state="measured",
            label="Shown",
            headline=self.headline,
            details=("What changes is what this generator found, and not the only way.",),
            figures=(
                Headline(percent(float(found.mask.mean())), "mean change of a pixel", "of the pixel range"),
                Headline(f"{found.fakeness.mean():.2f}", "fakeness of the images", "probability, mean"),
                Headline(f"{found.fakeness_after.mean():.2f}", "fakeness of the counterfactuals", "probability, mean"),
            ),
        )


def check(paths: Sequence[Path]) -> None:
    """Refuse a file before the long work.

    Raises:
        UsageError: its ending names nothing that is written.
        MissingExtraError: a package that writes it is not installed.
    """
    for path in paths:
        if path.suffix not in _NEEDED:
            raise UsageError(
                f"{path}: the ending says what is written, and {path.suffix or 'none'!r} is none of {PAGE} for a page, "
                f"{PICTURE} for a picture"
            )
        for name in _NEEDED[path.suffix]:
            extras.module(name, PURPOSE)


def described(found: Counterfactuals, pixels: Floats, place: int, name: str, bounds: Bounds) -> list[dict[str, str]]:
    """Caption, alternative text and address of a counterfactual and of its mask.

    Args:
        found: counterfactuals of some images.
        pixels: these images.
        place: which of them.
        name: what the page calls it.
        bounds: smallest and largest valid pixel value.
    """
    before = f"class {found.label[place]}, fakeness {found.fakeness[place]:.2f}"
    after = f"class {found.label_after[place]}, fakeness {found.fakeness_after[place]:.2f}"
    mask = found.mask[place]
    changed = f"{percent(float(mask.mean()))} of the range on average, {percent(float(mask.max()))} at most"
    return [
        picture(
            f"as class {found.target[place]}: the K+1 network says {after}; before {before}",
            f"{name} as class {found.target[place]}",
            pictures.plain(_unit(found.images[place], bounds)),
        ),
        picture(
            f"what would have to change: {changed}",
            f"Map over {name}: what its counterfactual changes",
            pictures.with_map(_unit(pixels[place], bounds), mask),
        ),
    ]


def _input(pixels: Floats, name: str, bounds: Bounds) -> dict[str, str]:
    return picture("the image", f"The image {name}", pictures.plain(_unit(pixels, bounds)))


def _unit(pixels: Floats, bounds: Bounds) -> Floats:
    """Pixels in [0, 1]."""
    low, high = bounds
    unit: Floats = (pixels - low) / (high - low)
    return unit
