"""Peak memory and speed of ``ce-detect scan`` with n and with 4n images, from each kind of source.

    python -m benchmarks.serving.scan_memory --guard guard.onnx

The images are random grey levels of the size that the guard takes. Each scan runs in a fresh process. What may grow are
the names of the files of a folder. Linux only. Writes ``results/scan_memory.json``.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from benchmarks.machine import peak_memory
from benchmarks.program import parser, write
from ce_detect.runtime import Gate

RESULT = Path(__file__).parent / "results" / "scan_memory.json"
A_NAME = 500
"""Bytes that one more file of a folder may cost, at most."""


def main() -> None:
    program = parser(__doc__)
    program.add_argument("--guard", type=Path, required=True)
    program.add_argument("--images", type=int, default=5_000, help="n")
    program.add_argument("--scan", nargs=2, type=Path, metavar=("DATA", "OUT"), help="scan in this process")
    options = program.parse_args()
    if options.scan:
        print(json.dumps(scanned(options.guard, *options.scan)))
        return
    outcome: dict[str, Any] = {"what": "peak resident memory of ce-detect scan", "sources": {}}
    for kind in WRITERS:
        few, many = (run(options.guard, kind, count) for count in (options.images, 4 * options.images))
        grown = many["peak_bytes"] - few["peak_bytes"]
        pixels = many["pixel_bytes"] - few["pixel_bytes"]
        allowed = 0.1 * pixels + (A_NAME * 3 * options.images if kind == "folder" else 0)
        outcome["sources"][kind] = {
            "runs": [few, many], "growth_bytes": grown, "pixel_growth_bytes": pixels, "within": grown <= allowed,
        }  # fmt: skip
    write(RESULT, outcome)
    print(json.dumps(outcome, indent=1))


def run(guard: Path, kind: str, count: int) -> dict[str, Any]:
    """Write so many images and scan them in a process of its own."""
    size = Gate(guard).input_shape
    with tempfile.TemporaryDirectory() as folder:
        data = WRITERS[kind](count, size, Path(folder))
        command = [sys.executable, "-m", "benchmarks.serving.scan_memory", "--guard", str(guard)]
        command += ["--scan", str(data), f"{folder}/verdicts.parquet"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    channels, height, width = size
    return {"images": count, "pixel_bytes": count * channels * height * width, **json.loads(done.stdout)}


def scanned(guard: Path, data: Path, out: Path) -> dict[str, Any]:
    """Scan in this process, which imports nothing else."""
    from benchmarks.face import scan, sources

    began = time.perf_counter()
    gate, source = Gate(guard), sources.opened(data)
    found = scan.scan(gate, source, scan.checkpoints_of(gate, source, out), scan.local_engine(gate, source))
    seconds = time.perf_counter() - began
    return {"peak_bytes": peak_memory(), "images_a_second": round(found.inputs / seconds, 1), "errors": found.errors}


Size = tuple[int, int, int]
"""Channels, height and width."""


def folder_of(count: int, size: Size, root: Path) -> Path:
    """A thousand files a folder."""
    for i, image in enumerate(pictures(count, size)):
        path = root / "images" / f"{i // 1000:03d}" / f"{i:08d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(image))
    return root / "images"


def parquet_of(count: int, size: Size, root: Path) -> Path:
    """Encoded images, 500 a group of rows."""
    import pyarrow as pa
    from pyarrow import parquet

    schema = pa.schema([("image", pa.binary())])
    with parquet.ParquetWriter(root / "images.parquet", schema) as writer:
        images = pictures(count, size)
        while part := [encoded(image) for image in islice(images, 500)]:
            writer.write_batch(pa.record_batch([part], schema=schema))
    return root / "images.parquet"


def npz_of(count: int, size: Size, root: Path) -> Path:
    """One array, never whole in memory."""
    channels, height, width = size
    with zipfile.ZipFile(root / "images.npz", "w") as file, file.open("x.npy", "w", force_zip64=True) as member:
        described = {"descr": "|u1", "fortran_order": False, "shape": (count, height, width, channels)}
        npy.write_array_header_1_0(member, described)
        for image in pictures(count, size):
            member.write(image.data)
    return root / "images.npz"


WRITERS = {"folder": folder_of, "parquet": parquet_of, "npz": npz_of}
"""Each kind of source."""


def pictures(count: int, size: Size) -> Iterator[Any]:
    channels, height, width = size
    generator = np.random.default_rng(0)
    for _ in range(count):
        yield generator.integers(0, 256, (height, width, channels), np.uint8)


def encoded(image: Any) -> bytes:
    from PIL import Image

    sink = io.BytesIO()
    Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image).save(sink, "png", compress_level=0)
    return sink.getvalue()


if __name__ == "__main__":
    main()
