"""Settled inputs as a dataset: arrays with labels, or a folder of pictures."""

from __future__ import annotations

import csv
import io
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from starlette.background import BackgroundTask
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from ce_detect.console import pictures
from ce_detect.console.console import Console
from ce_detect.core.errors import InputError
from ce_detect.core.types import Floats
from ce_detect.records import kept, tallies
from ce_detect.records.rows import Item

LABELS = {"benign": 0, "attack": 1}
"""What ``y`` says of an outcome."""

_COLUMNS = ("id", "outcome", "label", "score", "p_value", "threshold", "flagged", "drawn", "client", "time", "file")


def shown(console: Console, request: Request, reviewer: str, form: FormData) -> Response:
    """What there is to be had."""
    counts = tallies.counters(console.store)["all"]
    return console.page(request, "export", counts={name: counts.get(name, 0) for name in LABELS})


def sent(console: Console, request: Request, reviewer: str, form: FormData) -> Response:
    """One of `WRITERS`: all that is settled, or inputs of one outcome."""
    name = request.path_params["name"]
    if name not in WRITERS:
        raise HTTPException(404, "There is no such export.")
    outcomes, write = WRITERS[name]
    items = tallies.settled(console.store, outcomes)
    with tempfile.NamedTemporaryFile(prefix="ce-detect-export-", delete=False) as file:
        path = Path(file.name)
        try:
            written = write(console, items, file)
        except BaseException:
            path.unlink()
            raise
    if not written:
        path.unlink()
        raise HTTPException(404, "Nothing is settled yet that could be sent.")
    return FileResponse(
        path, media_type="application/octet-stream", filename=name, background=BackgroundTask(path.unlink)
    )


def _arrays(console: Console, items: list[Item], file: IO[bytes]) -> int:
    """``x`` as it came to the gate, ``y``, and what the gate said, in the order of time; one picture in memory."""
    pairs = [(item, (x.shape, x.dtype)) for item, x in _pictured(console, items)]
    found, kinds = [item for item, _ in pairs], {kind for _, kind in pairs}
    if len(kinds) > 1:
        raise InputError("the inputs are of several sizes or types, which no array holds: take the folder of pictures")
    if not found:
        return 0
    columns: dict[str, Any] = {
        "y": np.array([LABELS[str(item.outcome)] for item in found]),
        **{name: np.array([getattr(item, name) for item in found]) for name in ("score", "p_value", "drawn")},
        "predicted": np.array([-1 if item.label is None else item.label for item in found]),
    }
    np.savez_compressed(file, allow_pickle=False, **columns)
    ((shape, kind),) = kinds
    header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": (len(found), *shape)}
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w", force_zip64=True) as x:
        np.lib.format.write_array_header_1_0(x, header)
        count = 0
        for _, one in _pictured(console, found):
            x.write(np.ascontiguousarray(one).tobytes())
            count += 1
    if count < len(found):
        raise InputError(f"{len(found) - count} pictures went away meanwhile; send for the file again")
    return count


def _folder(console: Console, items: list[Item], file: IO[bytes]) -> int:
    """A ZIP of class folders ``attack`` and ``benign`` with PNG files, and a table of what the gate said."""
    table = io.StringIO()
    rows = csv.DictWriter(table, (*_COLUMNS, "picture"), extrasaction="ignore")
    rows.writeheader()
    count = 0
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for item, x in _pictured(console, items):
            name = f"dataset/{item.outcome}/{item.id}.png"
            archive.writestr(name, pictures.lossless(_unit(console, x)))
            safe = "" if item.client is None else item.client.lstrip("=+-@\t\r")  # a spreadsheet would compute it
            rows.writerow({**asdict(item), "client": safe, "picture": name})
            count += 1
        archive.writestr("decisions.csv", table.getvalue())
    return count


def _pictured(console: Console, items: list[Item]) -> Iterator[tuple[Item, NDArray[Any]]]:
    """Items with their inputs, without those whose file is gone."""
    folder = console.settings.quarantine
    for item in items:
        if folder is None or item.file is None or not console.is_kept(item):
            continue
        try:
            yield item, kept.pixels(folder / item.file)
        except InputError:
            continue


def _unit(console: Console, x: NDArray[Any]) -> Floats:
    return pictures.unit(x, console.settings.bounds)


WRITERS: dict[str, tuple[tuple[str, ...], Callable[[Console, list[Item], IO[bytes]], int]]] = {
    "decisions.npz": (("attack", "benign"), _arrays),
    "attacks.npz": (("attack",), _arrays),
    "benign.npz": (("benign",), _arrays),
    "decisions.zip": (("attack", "benign"), _folder),
}
"""Outcomes in a file, and what writes it."""
