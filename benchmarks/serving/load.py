"""Load and faults of ``ce-detect serve``, driven by wrk on loopback.

    python -m benchmarks.serving.load guard.onnx                # about 12 minutes, 10 of them for memory
    python -m benchmarks.serving.load --seconds 5 --minutes 0.2 # a made graph, to try the program

Throughput is held against the same graph in a bare ONNX Runtime session, in one process, with the same threads and
batch, before and after the server's run. Memory is sampled while the load goes on. Then the faults, each on a server
under load: what was answered, what the server counted, and whether it still answers. wrk shares the machine with the
server.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import processor
from benchmarks.program import parser, write
from benchmarks.serving.load_faults import FAULTS
from benchmarks.serving.load_rig import Load
from benchmarks.serving.made_graph import made_graph

RESULT = Path(__file__).parent / "results" / "load.json"
GOAL = 0.85
"""Share of the bare session's throughput that the server should reach."""

FLAT = 0.05
"""Growth of resident memory from the first half of its run to the second that counts as none."""

SHOWN = ("seconds", "minutes", "connections", "images", "batch", "threads")
"""Options that stand in the result."""


def main() -> None:
    program = parser(__doc__)
    program.add_argument("guard", type=Path, nargs="?", help="an exported guard; by default a graph of random weights")
    program.add_argument("--seconds", type=float, default=15, help="of each measurement")
    program.add_argument("--minutes", type=float, default=10, help="of the run in which memory is watched")
    program.add_argument("--connections", type=int, default=16)
    program.add_argument("--images", type=int, default=8, help="in a request")
    program.add_argument("--batch", type=int, default=32)
    program.add_argument("--threads", type=int, default=os.cpu_count())
    program.add_argument("--output", type=Path, default=RESULT)
    options = program.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        guard = options.guard or made_graph(folder / "guard.onnx")
        load = Load(guard, folder, options)
        outcome = {
            "what": "ce-detect serve under wrk on loopback; requests in the binary form",
            "graph": str(options.guard.name) if options.guard else "made: two convolutions of random weights",
            "settings": {name: getattr(options, name) for name in SHOWN},
            "machine": {"cpu": processor(), "cores": os.cpu_count(), "python": platform.python_version(), **versions()},
            "throughput": throughput(load),
            "memory": memory(load),
            "faults": [fault(load) for fault in FAULTS],
        }
    outcome["within"] = {
        "throughput": outcome["throughput"]["ratio"] >= GOAL,
        "memory": outcome["memory"]["growth"] <= FLAT,
        "faults": all(fault["answers_afterwards"] and fault["accounted"] for fault in outcome["faults"]),
    }
    write(options.output, outcome)
    print(json.dumps(outcome, indent=1))


def throughput(load: Load) -> dict[str, Any]:
    """Images a second, of the server over the graph alone, and latencies."""
    options, bare = load.options, [bare_images(load)]
    with load.server() as server:
        load.wrk(server.port, 2)
        busy = load.wrk(server.port, options.seconds)
        calm = load.wrk(server.port, min(options.seconds, 5), connections=1)
        sizes = server.figure("ce_detect_batch_inputs_sum") / server.figure("ce_detect_batch_inputs_count")
    bare.append(bare_images(load))
    rate = (busy["requests"] - busy["refused"]) * options.images / (busy["us"] / 1e6)
    return {
        "bare_images_per_second": [round(alone, 1) for alone in bare],
        "served_images_per_second": round(rate, 1),
        "ratio": round(rate / float(np.mean(bare)), 3),
        "goal": GOAL,
        "mean_batch": round(sizes, 1),
        "saturated": latency(busy),
        "one_connection": latency(calm),
        "refused_or_failed": {name: busy[name] for name in ("refused", "connect", "read", "write", "timeout")},
    }


def latency(found: dict[str, float]) -> dict[str, float]:
    """Milliseconds from wrk's microseconds."""
    return {name.replace("_us", "_ms"): round(found[name] / 1000, 2) for name in ("p50_us", "p99_us", "max_us")}


BARE = """
import sys, time, numpy as np, onnxruntime
path, inputs, threads, seconds = sys.argv[1], np.load(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = threads
session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
for _ in range(3):
    session.run(None, {"input": inputs})
count, start = 0, time.perf_counter()
while time.perf_counter() - start < seconds:
    session.run(None, {"input": inputs})
    count += len(inputs)
print(count / (time.perf_counter() - start))
"""


def bare_images(load: Load) -> float:
    """Images a second of the graph alone."""
    np.save(load.folder / "inputs.npy", load.inputs)
    options = load.options
    command = [sys.executable, "-c", BARE, load.guard, load.folder / "inputs.npy", options.threads, options.seconds]
    done = subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True)
    return float(done.stdout)


def memory(load: Load) -> dict[str, Any]:
    """Resident memory under load with every record switched on, once a second."""
    audit, quarantine = load.folder / "audit", load.folder / "quarantine"
    recorded = ("--audit", audit, "--audit-size", 16, "--audit-keep", 2)
    kept = ("--quarantine", quarantine, "--quarantine-size", 64)
    with load.server(*recorded, *kept) as server:
        load.wrk(server.port, min(5, 6 * load.options.minutes))
        driving = threading.Thread(target=load.wrk, args=(server.port, 60 * load.options.minutes))
        driving.start()
        samples = []
        while driving.is_alive():
            samples.append(server.resident())
            driving.join(1)
        counted = server.counted()
    half = len(samples) // 2
    first, second = (float(np.median(part)) for part in (samples[:half], samples[half:]))
    return {
        "minutes": load.options.minutes,
        "requests": counted,
        "median_mib_first_half": round(first / 2**20, 1),
        "median_mib_second_half": round(second / 2**20, 1),
        "peak_mib": round(max(samples) / 2**20, 1),
        "growth": round(second / first - 1, 4),
    }


def versions() -> dict[str, str]:
    """Of what serves and of what drives."""
    wrk = subprocess.run(["wrk", "-v"], check=False, capture_output=True, text=True)
    found = {name: version(name) for name in ("onnxruntime", "uvicorn", "starlette", "h11", "msgspec", "numpy")}
    return {**found, "wrk": wrk.stdout.split()[1] if wrk.stdout else "unknown"}


if __name__ == "__main__":
    main()
