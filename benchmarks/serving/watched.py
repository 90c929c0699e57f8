"""What watching costs a server: its throughput with monitor, query detector, records and review store, and without.

    CE_DETECT_DATA=... python -m benchmarks.serving.watched                     # the demo's guard, about 10 minutes
    CE_DETECT_DATA=... python -m benchmarks.serving.watched --graph clean-only  # one that runs the classifier alone
    CE_DETECT_DATA=... python -m benchmarks.serving.watched --graph resnet20    # a larger classifier, at budget 2.0
    CE_DETECT_DATA=... python -m benchmarks.serving.watched --rounds 1 --more   # one round more of those

Turns alternate: the server alone, one part, the server alone, the next part. Each turn is a new server under wrk. The
throughput of a part is held against the mean of the turns before and behind it, so that whatever else the machine does
weighs on both. Requests hold eight natural images each and come from fifty clients. There are 20,000 different ones of
Fashion-MNIST and 8,000 of CIFAR-10. The store is a console on SQLite that takes in the quarantine and the audit log
meanwhile. wrk and the console share the machine with the server. Writes ``results/watched.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.face import demonstrate, fashion_cnn_light
from benchmarks.machine import processor
from benchmarks.program import parser, progress, read, write
from benchmarks.serving.load import latency, versions
from benchmarks.serving.load_rig import Load, Server, request
from benchmarks.subjects.images import Arrays, cifar10, fashion_test
from benchmarks.subjects.settings import FPR, SEED
from benchmarks.subjects.subjects import SUBJECTS
from ce_detect import Attack, CalibrationSettings, DetectedModel, Recipe, load_data

RESULT = Path(__file__).parent / "results" / "watched.json"
GOAL = 0.85
"""Share of the server's throughput that should be left."""

CLIENTS = 50
WARM = 3
"""Seconds before a measurement, in which the monitor's queue fills if it is going to."""

MONITOR = ("--monitor", "--client-header", "X-Client", "--monitor-state", "{folder}/state")
RECORDS = ("--audit", "{folder}/audit.jsonl", "--quarantine", "{folder}/flagged")
PARTS: dict[str, tuple[tuple[str, ...], bool]] = {
    "monitor": ((*MONITOR, "--no-query-attacks"), False),
    "monitor and query detector": (MONITOR, False),
    "audit log and quarantine": (RECORDS, False),
    "the same and the review store": (RECORDS, True),
    "everything": ((*MONITOR, *RECORDS), True),
}
"""Options of the server, and whether a console takes in what it writes."""

COUNTED = {
    "flagged": r'inputs_total\{verdict="adversarial"\}',
    "kept": r'quarantined_total\{outcome="stored"\}',
    "not_kept": r'quarantined_total\{outcome="full"\}',
    "not_logged": "audit_lost_total",
    "not_watched": "monitor_lost",
}
"""Metrics of the server that tell what became of inputs."""

SCRIPT = """
local file = io.open(os.getenv("WRK_BODY"), "rb")
local all, asked, at = file:read("*a"), {}, 0
file:close()
init = function(arguments)
  local size = tonumber(os.getenv("WRK_SIZE"))
  for first = 1, #all, size do
    local headers = {["Inference-Header-Content-Length"] = os.getenv("WRK_HEADER_LENGTH")}
    headers["X-Client"] = "client " .. #asked % tonumber(os.getenv("WRK_CLIENTS"))
    asked[#asked + 1] = wrk.format("POST", nil, headers, all:sub(first, first + size - 1))
  end
  all = nil
end
request = function()
  at = at % #asked + 1
  return asked[at]
end
"""


def main() -> None:
    options = program().parse_args()
    kept = read(RESULT)["turns"] if RESULT.exists() else []
    others = [turn for turn in kept if options.more or turn["graph"] != options.graph]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make, _ = GRAPHS[options.graph]
        load = Natural(options.guard or make(folder / "guard.onnx"), folder, options)
        turns = [turn for number in range(options.rounds) for turn in measured(load, number)]
    turns = [*others, *turns]
    outcome = {
        "what": "ce-detect serve under wrk on loopback, with and without what watches it; turns alternate",
        "settings": {name: getattr(options, name) for name in ("seconds", "connections", "images", "batch", "threads")},
        "machine": {"cpu": processor(), "cores": os.cpu_count(), "python": platform.python_version(), **versions()},
        "goal": GOAL,
        "rows": [
            summary(graph, part, turns) for graph in GRAPHS for part in ("alone", *PARTS) if of(graph, part, turns)
        ],
        "turns": turns,
    }
    write(RESULT, outcome)
    print(json.dumps(outcome["rows"], indent=1))


def program() -> argparse.ArgumentParser:
    """The options."""
    made = parser(__doc__)
    made.add_argument("--graph", choices=GRAPHS, default="demo")
    made.add_argument("--guard", type=Path, help="that graph, where it is there already")
    made.add_argument("--more", action="store_true", help="keep the turns of before")
    made.add_argument("--seconds", type=float, default=6, help="of each measurement")
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("--connections", type=int, default=16)
    made.add_argument("--images", type=int, default=8, help="in a request")
    made.add_argument("--batch", type=int, default=32)
    made.add_argument("--threads", type=int, default=os.cpu_count())
    return made


def demo_guard(path: Path) -> Path:
    """The guard that ``ce-detect demo`` makes, exported."""
    settings = CalibrationSettings.of(recipe=Recipe.load("quick"), fpr=0.05, budget=3.0, seed=SEED, progress=progress)
    demonstrate(settings, unseen=Attack.of("apgd-dlr")).guard.export(path)
    return path


def clean_only(path: Path) -> Path:
    """A guard of the same classifier without any intervention, the quickest that there is."""
    images = load_data("demo", limit=1200)
    settings = CalibrationSettings.of(recipe=Recipe.load("clean-only"), fpr=0.01, budget=1.1, seed=SEED)
    guard = DetectedModel(fashion_cnn_light(), bounds=images.bounds, input_shape=images.x.shape[1:])
    guard.calibrate(images.x, images.y, settings)
    guard.export(path)
    return path


def resnet20(path: Path) -> Path:
    """The guard of a ResNet-20 at budget 2.0, exported; calibrated here where `benchmarks.detection` has left none."""
    subject = SUBJECTS["cifar10-resnet20"]
    left = subject.artifact(2.0)
    if not left.is_file():
        images, _ = subject.split()
        guard = subject.guard(images.x.shape[1:])
        guard.calibrate(images.x, images.y, recipe=subject.recipe, fpr=FPR, budget=2.0, seed=SEED, progress=progress)
        subject.leave(guard, 2.0)
    DetectedModel.load(left, subject.model()).export(path)
    return path


GRAPHS: dict[str, tuple[Callable[[Path], Path], Callable[[], Arrays]]] = {
    "demo": (demo_guard, fashion_test),
    "clean-only": (clean_only, fashion_test),
    "resnet20": (resnet20, cifar10),
}
"""What makes the graphs that are asked, and the images that they are asked about."""


class Natural(Load):
    """The load, with natural images of many clients."""

    def __init__(self, guard: Path, folder: Path, options: argparse.Namespace) -> None:
        super().__init__(guard, folder, options)
        images, _ = GRAPHS[options.graph][1]()
        x = np.concatenate([images, images[..., ::-1]])
        bodies = [request(np.ascontiguousarray(part))[0] for part in in_parts(x, options.images)]
        (folder / "body").write_bytes(b"".join(bodies))
        script = (folder / "wrk.lua").read_text()
        (folder / "wrk.lua").write_text(SCRIPT + script[script.index("done = ") :])
        os.environ |= {"WRK_SIZE": str(len(bodies[0])), "WRK_CLIENTS": str(CLIENTS)}


def in_parts(x: NDArray[np.float32], size: int) -> list[NDArray[np.float32]]:
    """Whole parts, the images in random order."""
    order = np.random.default_rng(SEED).permutation(len(x))
    return [x[order[start : start + size]] for start in range(0, len(x) - size + 1, size)]


def measured(load: Natural, number: int) -> list[dict[str, Any]]:
    """One round: every part between two turns of the server alone; rounds begin with another part each."""
    names = list(PARTS)
    names = names[number % len(names) :] + names[: number % len(names)]
    found = [turn(load, "alone")]
    for name in names:
        found += [turn(load, name), turn(load, "alone")]
        before, here, behind = found[-3:]
        here["ratio"] = round(
            here["images_per_second"] / np.mean([one["images_per_second"] for one in (before, behind)]), 4
        )
    return found


def turn(load: Natural, part: str) -> dict[str, Any]:
    """One server for some seconds."""
    flags, stored = PARTS.get(part, ((), False))
    with tempfile.TemporaryDirectory(dir=load.folder) as name:
        folder = Path(name)
        (folder / "state").mkdir()
        with (
            load.server(*(flag.format(folder=folder) for flag in flags)) as server,
            console(folder) if stored else nullcontext(),
        ):
            load.wrk(server.port, WARM)
            before = figures(server)
            found = load.wrk(server.port, load.options.seconds)
            spent = {name: value - before[name] for name, value in figures(server).items()}
    images = (found["requests"] - found["refused"]) * load.options.images
    told = {
        "graph": load.options.graph,
        "part": part,
        "load_average": os.getloadavg()[0],
        "images_per_second": round(images / (found["us"] / 1e6), 1),
        "server_cpu_us_per_image": round(1e6 * spent.pop("cpu") / images, 1),
        "images": int(images),
        **latency(found),
        **{name: found[name] for name in ("refused", "connect", "read", "write", "timeout")},
        **{name: int(value) for name, value in spent.items()},
    }
    print(told, file=sys.stderr, flush=True)
    return told


def figures(server: Server) -> dict[str, float]:
    """Seconds of processor time so far, and what was judged, flagged, kept and lost."""
    user, system = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    told = {name: server.figure(f"ce_detect_{metric}") for name, metric in COUNTED.items()}
    return {"cpu": (int(user) + int(system)) / os.sysconf("SC_CLK_TCK"), **told}


@contextmanager
def console(folder: Path) -> Iterator[None]:
    """A console that takes in what the server writes into a folder."""
    command = [sys.executable, "-c", "from ce_detect.cli import main; main()", "console", "--port", "0", "--json"]
    command += ["--store", f"sqlite:///{folder}/reviews.db", "--quarantine", str(folder / "flagged")]
    command += ["--audit", str(folder / "audit.jsonl")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        json.loads(process.stdout.readline())
        try:
            yield
        finally:
            process.terminate()


def of(graph: str, part: str, turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Turns of one part."""
    return [turn for turn in turns if (turn["graph"], turn["part"]) == (graph, part)]


def summary(graph: str, part: str, turns: list[dict[str, Any]]) -> dict[str, Any]:
    """One row of the table: medians over turns, and sums of what was kept and what was not."""
    own, alone = of(graph, part, turns), of(graph, "alone", turns)
    ratios = [turn["ratio"] for turn in own if "ratio" in turn] or [1.0]

    def median(name: str, some: list[dict[str, Any]] = own) -> float:
        return float(np.median([turn[name] for turn in some]))

    return {
        "graph": graph,
        "part": part,
        "turns": len(own),
        "ratio": round(float(np.median(ratios)), 3),
        "smallest": min(ratios),
        "largest": max(ratios),
        "server_cpu_ratio": round(median("server_cpu_us_per_image") / median("server_cpu_us_per_image", alone), 3),
        **{
            name: median(name)
            for name in ("images_per_second", "server_cpu_us_per_image", "p50_ms", "p99_ms", "load_average")
        },
        **{name: sum(turn[name] for turn in own) for name in ("images", *COUNTED)},
    }


if __name__ == "__main__":
    main()
