"""A page to try a gate: upload an image, move the strength of an attack, save it as JPEG, watch the verdict."""

from __future__ import annotations

import hashlib
import io
import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ce_detect.console import pictures
from ce_detect.console.console import Console, back
from ce_detect.core.errors import InputError, UsageError
from ce_detect.core.types import Floats
from ce_detect.data.decoding import decoded
from ce_detect.runtime import Gate

HELD = 32
"""Uploads that are kept in memory, of all reviewers; the oldest goes first."""

KINDS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
"""Image files that are taken, as Pillow calls them."""

STRONGEST = 32
"""Largest strength of an attack, in grey levels of 255."""


@dataclass(slots=True)
class _Upload:
    """An image, whose it is, and what its last attack made of it: verdict and picture are two requests."""

    reviewer: str
    x: NDArray[Any]
    attacked: tuple[int, Floats] | None = None


class _Uploads:
    """Images by a key that nobody guesses; in memory alone."""

    def __init__(self) -> None:
        self._held: OrderedDict[str, _Upload] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, upload: _Upload) -> str:
        """Keep one; returns its key."""
        key = secrets.token_urlsafe(16)
        with self._lock:
            self._held[key] = upload
            while len(self._held) > HELD:
                self._held.popitem(last=False)
        return key

    def of(self, key: str, reviewer: str) -> _Upload:
        """The image of a key.

        Raises:
            HTTPException: there is none, or somebody else's.
        """
        with self._lock:
            found = self._held.get(key)
        if found is None or found.reviewer != reviewer:
            raise HTTPException(404, "This image is no longer here. Upload it again.")
        return found


_UPLOADS = _Uploads()


@dataclass(frozen=True, slots=True)
class Changes:
    """What is done to an image before it is judged.

    Attributes:
        strength: of the attack, or of noise, in grey levels of 255; 0 for none.
        quality: of the JPEG that it is saved as then; None for none.
    """

    strength: int = 0
    quality: int | None = None

    @classmethod
    def of(cls, request: Request) -> Changes:
        """Read a query string.

        Raises:
            UsageError: a value out of range.
        """
        return cls(_number(request, "strength", 0, STRONGEST) or 0, _number(request, "quality", 5, 100))


def shown(console: Console, request: Request, reviewer: str, form: FormData) -> Response:
    """The form for an image."""
    return console.page(request, "try", key=None, gate=console.settings.gate)


def uploaded(console: Console, request: Request, reviewer: str, form: FormData) -> Response:
    """Take an image: it is decoded within bounds, and only its pixels are kept."""
    gate, file = _gate(console), form.get("image")
    if not isinstance(file, UploadFile):
        raise UsageError("no image came; choose a file first")
    content = file.file.read(console.settings.upload + 1)
    if len(content) > console.settings.upload:
        raise UsageError(f"the image is larger than {console.settings.upload} bytes; send it smaller")
    key = _UPLOADS.keep(_Upload(reviewer, _decoded(gate, content, console.settings.pixels)))
    return back(f"/try/{key}", {})


def _decoded(gate: Gate, content: bytes, most_pixels: int) -> NDArray[Any]:
    """An image file as an input of the gate. Its kind is looked at first: Pillow knows kinds that start programs.

    Raises:
        InputError: it is none.
    """
    try:
        Image.open(io.BytesIO(content), formats=KINDS).close()
        image = decoded(content, "the image", most_pixels=most_pixels)
    except (InputError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        told = f": {error}" if isinstance(error, InputError) and error.__cause__ is None else ""
        raise InputError(f"this cannot be taken as an image{told}; choose a {', '.join(KINDS)} file") from error
    if gate.any_size:
        channels = gate.input_shape[0]
        return np.repeat(image, channels, axis=2) if image.shape[2] == 1 < channels else image
    return gate.one_input(image, "the image")


def judged(console: Console, request: Request, reviewer: str, form: FormData) -> Response:
    """The verdict on an image, as it came and as it is changed."""
    gate, changes, key = _gate(console), Changes.of(request), request.path_params["key"]
    upload = _UPLOADS.of(key, reviewer)
    rows = {"as it came": _result(gate, upload.x)}
    if changes != Changes():
        rows["as changed"] = _result(gate, _as_input(gate, _changed(console, upload, changes)))
    query = {
        name: str(value) for name, value in (("strength", changes.strength), ("quality", changes.quality)) if value
    }
    return console.page(
        request, "try", key=key, gate=gate, changes=changes, rows=rows, strongest=STRONGEST, query=query,
        attacker=console.settings.attacker is not None,
    )  # fmt: skip


def picture(console: Console, request: Request, reviewer: str, form: FormData) -> Response:
    """The image as it is judged."""
    upload = _UPLOADS.of(request.path_params["key"], reviewer)
    return Response(pictures.png(_changed(console, upload, Changes.of(request))), media_type="image/png")


def _changed(console: Console, upload: _Upload, changes: Changes) -> Floats:
    """Pixels in [0, 1] after the attack and the JPEG."""
    pixels = pictures.unit(upload.x, _gate(console).bounds)
    if changes.strength:
        pixels = _attacked(console, upload, pixels, changes.strength)
    return pixels if changes.quality is None else pictures.as_jpeg(pixels, changes.quality)


def _attacked(console: Console, upload: _Upload, pixels: Floats, strength: int) -> Floats:
    known, reach, attacker = upload.attacked, strength / 255, console.settings.attacker
    if attacker is None:
        return _noisy(pixels, reach)
    if known is None or known[0] != strength:
        upload.attacked = known = strength, attacker(pixels, reach).clip(0, 1)
    return known[1]


def _noisy(pixels: Floats, reach: float) -> Floats:
    """Each pixel up or down by so much, alike for equal images."""
    seed = int.from_bytes(hashlib.sha256(pixels.tobytes()).digest()[:8])
    signs = np.random.default_rng(seed).choice(np.array([-1, 1], np.float32), pixels.shape)
    found: Floats = (pixels + np.float32(reach) * signs).clip(0, 1)
    return found


def _as_input(gate: Gate, pixels: Floats) -> NDArray[Any]:
    if gate.takes_uint8:
        return np.rint(pixels.transpose(1, 2, 0) * 255).astype(np.uint8)
    low, high = gate.bounds
    return np.asarray((np.float32(low) + np.float32(high - low) * pixels).clip(low, high), np.float32)


def _result(gate: Gate, x: NDArray[Any]) -> dict[str, Any]:
    found = gate(x[None])
    return {
        "label": int(found.label[0]), "score": float(found.score[0]), "p_value": float(found.p_value[0]),
        "flagged": bool(found.is_adversarial[0]), "threshold": found.threshold,
    }  # fmt: skip


def _gate(console: Console) -> Gate:
    if console.settings.gate is None:
        raise InputError("nothing can be tried without a gate; start the console with --graph guard.onnx")
    return console.settings.gate


def _number(request: Request, name: str, least: int, most: int) -> int | None:
    text = request.query_params.get(name, "").strip()
    if not text:
        return None
    if not text.isdecimal() or len(text) > 4 or not least <= int(text) <= most:
        raise UsageError(f"{name} = {text[:20]!r}, expected a whole number from {least} to {most}")
    return int(text)
