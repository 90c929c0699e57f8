"""From images to rows of a table of verdicts; what cannot be judged is a row with an error."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ce_detect.artifacts.graph_format import DTYPES, OUTPUT_TYPES
from ce_detect.core.errors import InputError
from ce_detect.runtime import Gate
from ce_detect.scan.sources import Sample, Source

COLUMNS = {name: DTYPES[datatype] for name, datatype in OUTPUT_TYPES.items() if name != "logits"}
"""Columns of the verdicts with their types, as in `ce_detect.GateResult`."""

SCHEMA = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        *(pa.field(name, pa.from_numpy_dtype(kind)) for name, kind in COLUMNS.items()),
        pa.field("error", pa.string()),
    ]
)
"""A row an input; either ``error`` is null or the columns of the verdict are."""


def judged(gate: Gate, source: Source, start: int, stop: int) -> pa.Table:
    """Judge the images from one position up to another, a few at a time.

    Returns:
        A table of `SCHEMA`, a row for each.
    """
    samples = source.read(start, stop)
    return pa.concat_tables([_table(gate, part) for part in _batched(samples, gate.together)])


def _batched(samples: Iterable[Sample], size: int) -> Iterator[list[Sample]]:
    samples = iter(samples)
    while part := list(islice(samples, size)):
        yield part


def _table(gate: Gate, samples: list[Sample]) -> pa.Table:
    fitted = [_fitted(gate, name, image) for name, image in samples]
    good = {i: image for i, image in enumerate(fitted) if not isinstance(image, InputError)}
    where = list(good)
    absent = np.ones(len(samples), bool)
    absent[where] = False
    verdicts = gate(np.stack(list(good.values()))) if good else None
    columns = [pa.array([name for name, _ in samples], pa.string())]
    for name, kind in COLUMNS.items():
        values = np.zeros(len(samples), kind)
        if verdicts is not None:
            values[where] = getattr(verdicts, name)
        columns.append(pa.array(values, mask=absent))
    errors = [str(image) if isinstance(image, InputError) else None for image in fitted]
    return pa.Table.from_arrays([*columns, pa.array(errors, pa.string())], schema=SCHEMA)


def _fitted(gate: Gate, name: str, image: NDArray[Any] | InputError) -> NDArray[Any] | InputError:
    """The image as one input of the gate, or why it is none."""
    if isinstance(image, InputError):
        return image
    try:
        return gate.one_input(image, name)
    except InputError as error:
        return error
