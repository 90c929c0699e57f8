"""Query attacks and everybody else, as the stateful detector sees them.

    CE_DETECT_DATA=... python -m benchmarks.queries.queries

Attacks on the demo's classifier by the Adversarial Robustness Toolbox, one image of Fashion-MNIST each, the first 150
queries of each; natural inputs as clients of 200 images each, in random order; cameras of 300 frames. With and without
the habits of 3,000 natural images, and for a server whose clients send video. What counts is an alarm about the client
who sends them. Writes ``results/queries.json``.
"""

from __future__ import annotations

import copy
import functools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.face import Floats, QueryDetector, QuerySettings
from benchmarks.machine import processor
from benchmarks.program import parser, progress, read, write
from benchmarks.queries.attacks import ATTACKS, Stream, recorded
from benchmarks.queries.natural import CAMERAS, labelled
from benchmarks.queries.oars import NARROW, Adaptive
from benchmarks.subjects.images import cifar10, fashion_test, shuffled_imagenet

RESULT = Path(__file__).parent / "results" / "queries.json"
QUERIES, WITHIN = 150, 100
LEARNED = slice(6000, 9000)
"""Images that habits are learned from."""

PEOPLE = 200
"""Images of one client."""

MODES = {
    "near-copies": (QuerySettings(), False),
    "near-copies and habits": (QuerySettings(), True),
    "video": (QuerySettings(near_duplicates=0.99), False),
}
"""Settings, and whether habits are learned."""


def detector(mode: str, x: Floats) -> QueryDetector:
    """A new one for images like these."""
    return copy.deepcopy(_trained(mode, x.shape, x.tobytes()))


@functools.cache
def _trained(mode: str, shape: tuple[int, ...], pixels: bytes) -> QueryDetector:
    settings, habits = MODES[mode]
    made = QueryDetector(int(np.prod(shape[1:])), (0.0, 1.0), settings, salt=b"benchmarks")
    if habits:
        made.learn_habits(np.frombuffer(pixels, np.float32).reshape(shape))
    return made


def first_alarm(made: QueryDetector, stream: Stream) -> int | None:
    """Number of the query with the first alarm about this client; all clients are this one here, but not in life."""
    for number, (image, label) in enumerate(zip(*stream, strict=True), 1):
        if alarmed(made, image[None], np.array([label]), "one"):
            return number
    return None


def alarmed(made: QueryDetector, x: Floats, labels: Any, client: str) -> bool:
    """Whether these inputs raise an alarm about their client."""
    return any(alarm.scope == "client" for alarm in made.observe(x, labels, client))


def summary(found: list[int | None], lengths: list[int]) -> dict[str, Any]:
    """Of some attacks; one that is over before an alarm is not found."""
    within = [number for number in found if number is not None and number <= WITHIN]
    longer = [number for number, length in zip(found, lengths, strict=True) if length >= WITHIN]
    return {
        "attacks": len(found),
        "found": len(within) / len(found),
        "found of the longer ones": sum(n is not None and n <= WITHIN for n in longer) / max(1, len(longer)),
        "longer ones": len(longer),
        "median queries": None if not within else float(np.median(within)),
        "largest": None if not within else max(within),
    }  # fmt: skip


def streams(name: str, x: Floats, y: Any, count: int) -> Iterator[Stream]:
    """Attacks on the first images."""
    for i in range(count):
        progress(name, i, count)
        np.random.seed(i)  # which is what ART draws from
        yield recorded(name, x[i : i + 1], int(y[i]), QUERIES)


def against(name: str, x: Floats, y: Any, count: int) -> list[dict[str, Any]]:
    """One attack in every mode."""
    rows, kept = [], list(streams(name, x, y, count))
    for mode in MODES:
        found = [first_alarm(detector(mode, x[LEARNED]), stream) for stream in kept]
        rows.append({"attack": name, "mode": mode, **summary(found, [len(labels) for _, labels in kept])})
        print(rows[-1], flush=True)
    return rows


def against_oars(x: Floats, y: Any, count: int) -> list[dict[str, Any]]:
    """The attacker who adapts to near-copies, and the same one where nobody refuses him."""
    rows = []
    widths = rehearsed(x, y)
    for refused in (False, True):
        kept = []
        for i in range(count):
            progress("oars", i, count)
            kept.append(Adaptive(QUERIES, _defence(refused), i, widths if refused else NARROW).attack(x[i], int(y[i])))
        for mode in MODES:
            found = [first_alarm(detector(mode, x[LEARNED]), stream) for stream, _ in kept]
            succeeded = sum(done for _, done in kept) / len(kept)
            lengths = [len(labels) for (_, labels), _ in kept]
            row = {
                "attack": "OARS" if refused else "NES",
                "mode": mode,
                "succeeded": succeeded,
                **summary(found, lengths),
            }
            rows.append(row)
            print(row, flush=True)
    return rows


def _defence(refused: bool) -> QueryDetector | None:
    return QueryDetector(784, (0.0, 1.0), salt=b"benchmarks") if refused else None


def rehearsed(x: Floats, y: Any) -> tuple[float, float]:
    """Widths that an attacker brings, who has tried on images and a detector of his own."""
    found = []
    for i in range(9000, 9010):
        own = QueryDetector(784, (0.0, 1.0), salt=b"his own")
        adaptive = Adaptive(QUERIES, own, i)
        adaptive.attack(x[i], int(y[i]))
        found.append(adaptive.widths)
    width, step = np.max(found, axis=0).tolist()
    return width, step


def diluted(x: Floats, y: Any, count: int) -> list[dict[str, Any]]:
    """An attacker who hides each query among natural inputs of the same client."""
    rows = []
    kept = list(streams("hopskipjump", x, y, count))
    for others in (1, 4, 9, 19, 39):
        for mode in ("near-copies", "near-copies and habits"):
            found = []
            for stream in kept:
                made = detector(mode, x[LEARNED])
                random = np.random.default_rng(0)
                hidden = next(
                    (
                        n
                        for n, row in enumerate(zip(*stream, strict=True), 1)
                        if _hidden(made, row, x, y, others, random)
                    ),
                    None,
                )
                found.append(hidden)
            rows.append({"others": others, "mode": mode, **summary(found, [QUERIES] * len(found))})
            print(rows[-1], flush=True)
    return rows


def _hidden(
    made: QueryDetector, row: tuple[Any, Any], x: Floats, y: Any, others: int, random: np.random.Generator
) -> bool:
    drawn = random.integers(2000, 6000, others)
    images, labels = np.concatenate([row[0][None], x[drawn]]), np.array([row[1], *y[drawn]])
    return alarmed(made, images, labels, "one")


def people(name: str, x: Floats, y: Any, orders: int) -> list[dict[str, Any]]:
    """Clients who send natural images, in random orders."""
    rows = []
    for mode in MODES:
        clients = alarms = 0
        for order in range(orders):
            made, random = (
                detector(mode, x[LEARNED] if len(x) > LEARNED.stop else x[len(x) // 2 :]),
                np.random.default_rng(order),
            )
            judged = random.permutation(LEARNED.start if len(x) > LEARNED.stop else len(x) // 2)
            for start in range(0, len(judged) - PEOPLE + 1, PEOPLE):
                some = judged[start : start + PEOPLE]
                alarms += alarmed(made, x[some], y[some], f"{start}")
                clients += 1
        rows.append({"images": name, "mode": mode, "clients": clients, "with an alarm": alarms})
        print(rows[-1], flush=True)
    return rows


def cameras(x: Floats, count: int) -> list[dict[str, Any]]:
    """Frames that are near-copies and no attack."""
    rows = []
    for name, make in CAMERAS.items():
        kept = [labelled(make(x[i], np.random.default_rng(i))) for i in range(count)]
        flips = float(np.mean([np.mean(labels[1:] != labels[:-1]) for _, labels in kept]))
        for mode in MODES:
            found = [first_alarm(detector(mode, x[LEARNED]), stream) for stream in kept]
            alarms = sum(number is not None for number in found)
            rows.append({"camera": name, "mode": mode, "clients": count, "with an alarm": alarms,
                         "labels that change": round(flips, 4)})  # fmt: skip
            print(rows[-1], flush=True)
    return rows


def microseconds() -> dict[str, float]:
    """Processor time of one input of 224×224, one at a time, median of 400."""
    x, _ = shuffled_imagenet(slice(0, 200))
    found: dict[str, float] = {}
    for mode, kind in (("near-copies", np.float32), ("near-copies", np.uint8), ("near-copies and habits", np.float32)):
        inputs = x if kind is np.float32 else _as_files(x)
        bounds = (0.0, 1.0) if kind is np.float32 else (0.0, 255.0)
        made = QueryDetector(int(np.prod(x.shape[1:])), bounds, MODES[mode][0], salt=b"benchmarks")
        if MODES[mode][1]:
            made.learn_habits(inputs)
        found[f"{mode}, {np.dtype(kind).name}"] = round(
            float(np.median([_timed(made, inputs, i) for i in range(400)])), 1
        )
    return found


def _as_files(x: Floats) -> Any:
    return np.ascontiguousarray(np.round(x * 255).astype(np.uint8).transpose(0, 2, 3, 1))


def _timed(made: QueryDetector, x: Any, i: int) -> float:
    one = x[i % len(x)][None]
    began = time.thread_time_ns()
    made.observe(one, np.zeros(1, np.int64), "one")
    return (time.thread_time_ns() - began) / 1000


def measured(count: int, orders: int) -> dict[str, Callable[[], Any]]:
    """Every part of the results, by name."""
    fashion, cifar = functools.cache(fashion_test), functools.cache(cifar10)
    return {
        **{f"attack {name}": functools.partial(against, name, *fashion(), count) for name in ATTACKS},
        "microseconds": microseconds,
        "people": lambda: [
            *people("Fashion-MNIST", *fashion(), orders),
            *people("CIFAR-10", *cifar(), orders),
        ],
        "cameras": lambda: cameras(fashion()[0], count // 5),
        "adaptive": lambda: against_oars(*fashion(), count // 4),
        "diluted": lambda: diluted(*fashion(), count // 20),
    }


def main() -> None:
    names = [*(f"attack {name}" for name in ATTACKS), "microseconds", "people", "cameras", "adaptive", "diluted"]
    options = parser(__doc__)
    options.add_argument("--attacks", type=int, default=100, help="images that are attacked by each attack")
    options.add_argument("--orders", type=int, default=40, help="random orders of the natural images")
    options.add_argument("--left", action="store_true", help="only what the results do not have yet")
    options.add_argument("--only", choices=names, nargs="+", default=names, help="the others stay as they are")
    asked = options.parse_args()
    found: dict[str, Any] = read(RESULT) if RESULT.exists() else {}
    found |= {"processor": processor(), "queries": QUERIES, "within": WITHIN}
    parts = measured(asked.attacks, asked.orders)
    for name in (part for part in asked.only if not (asked.left and part in found)):
        found[name] = parts[name]()
        write(RESULT, found)


if __name__ == "__main__":
    main()
