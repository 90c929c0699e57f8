"""Wrap, run and export public architectures with random weights: what is cut, what is hooked, what is refused.

    python -m benchmarks.zoo.zoo --code CLONES

Each model runs in a process of its own, which is stopped after ``--seconds``. The columns: whether the model is cut or
hooked, its sites, processor seconds to wrap it and seconds on the clock, largest difference of its logits over the
largest logit, whether smaller images run too, the cost of the free statistics in batches of 8, and the same difference
of its graph in ONNX Runtime. Writes ``results/zoo.json`` after each model; a second run goes on where the first
stopped. Give it one thread (``OMP_NUM_THREADS=1``): processor seconds are then what an idle core takes.
"""

from __future__ import annotations

import contextlib
import json
import logging.handlers
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.face import Compiled, Signature, bare_graph, ratios, wrap
from benchmarks.machine import environment
from benchmarks.program import markdown, parser, quiet, read, write
from benchmarks.zoo.architectures import Architecture, architectures
from benchmarks.zoo.table import RESULT, SITES
from ce_detect import CeDetectError

BATCH = 8


def main() -> None:
    program = parser(__doc__)
    program.add_argument("--code", type=Path, help="folder with clones of public code")
    program.add_argument("--only", nargs="+", help="names, or beginnings of names")
    program.add_argument("--seconds", type=float, default=180, help="for each model")
    program.add_argument("--one", help="run this model here and print its row")
    options = program.parse_args()
    known = architectures(options.code)
    if options.one:
        print(json.dumps(row(known[options.one])))
        return
    done = {found["name"]: found for found in (read(RESULT)["rows"] if RESULT.exists() else [])}
    for name in known:
        wanted = options.only is None or name.startswith(tuple(options.only))
        if name in done or not wanted:
            continue
        done[name] = {"name": name, "family": known[name].family, **_apart(name, options)}
        print(f"{name}: {done[name]}", flush=True)
        rows = [done[name] for name in (*known, *(done.keys() - known.keys())) if name in done]
        write(RESULT, {"environment": environment(), "batch": BATCH, "rows": rows})
    print(table(list(done.values())))


def _apart(name: str, options: Any) -> dict[str, Any]:
    """The row of a model, from a process that may be stopped."""
    command = [sys.executable, "-m", "benchmarks.zoo.zoo", "--one", name]
    command += ["--code", str(options.code)] if options.code else []
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=options.seconds, check=False)
    except subprocess.TimeoutExpired:
        return {"kind": "stopped", "reason": f"not done in {options.seconds:g} s"}
    if ran.returncode:
        return {"kind": "failed", "reason": ran.stderr.strip().splitlines()[-1]}
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


def row(architecture: Architecture) -> dict[str, Any]:
    """Figures of one model."""
    quiet()
    torch.manual_seed(0)
    try:
        model = _at_random(architecture.build().eval())
    except ImportError as error:
        return {"kind": "absent", "reason": f"{type(error).__name__}: {error}"}
    except Exception as error:  # noqa: BLE001  a fault of the model's own code, before ours sees it
        return {"kind": "not built", "reason": f"{type(error).__name__}: {error}"}
    side, start, clock = architecture.side, time.process_time(), time.perf_counter()
    said = logging.handlers.BufferingHandler(100)
    logging.getLogger("ce_detect").addHandler(said)
    try:
        classifier = wrap(model, input_shape=(3, side, side), bounds=(0.0, 1.0))
    except CeDetectError as error:
        return {"kind": "refused", "reason": str(error)}
    found = {
        "kind": "cut" if classifier.captured else "hooked",
        "sites": len(classifier.sites),
        "seconds": round(time.process_time() - start, 1),
        "elapsed": round(time.perf_counter() - clock, 1),
        "elastic": classifier.elastic,
    }
    if not classifier.captured or len(classifier.sites) < SITES:
        found["reason"] = "; ".join(record.getMessage() for record in said.buffer)
    x = classifier.probe(BATCH)
    with torch.inference_mode():
        expected = _logits(model(x.clone()))
        found["difference"] = _difference(expected, classifier.logits(x))
        signature = Compiled(Signature(classifier, []).eval())
        (cost,) = ratios(lambda: model(x), [lambda: signature(x)], rounds=5, seconds=10)
        found["free_cost"] = round(cost, 2)
    if classifier.captured:
        with contextlib.redirect_stdout(sys.stderr):
            found |= _served(classifier, x, expected)
    return found


def _at_random(model: nn.Module) -> nn.Module:
    """Draw what a model starts with as one number: a head of zeros, or a block scaled by nothing, would hide faults."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.is_floating_point() and parameter.min() == parameter.max():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def _served(classifier: Any, x: torch.Tensor, expected: torch.Tensor) -> dict[str, Any]:
    """Difference of the graph in ONNX Runtime, or why there is none."""
    import onnxruntime

    try:
        graph = bare_graph(classifier).SerializeToString()
        session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
        z = torch.from_numpy(session.run(None, {"input": x.numpy()})[0])
    except Exception as error:  # noqa: BLE001  exporter and runtime raise many types
        return {"exported": False, "reason": (str(error).strip().splitlines() or [type(error).__name__])[0][:200]}
    return {"exported": True, "served_difference": _difference(expected, z)}


def _logits(returned: Any) -> torch.Tensor:
    found: torch.Tensor = returned if isinstance(returned, torch.Tensor) else returned.logits
    return found


def _difference(expected: torch.Tensor, got: torch.Tensor) -> float:
    return float(f"{float((expected - got).abs().max() / expected.abs().max()):.1e}")


def table(rows: list[dict[str, Any]]) -> str:
    """One line a model, and how many are cut with enough sites."""
    there = [found for found in rows if found["kind"] not in {"absent", "not built"}]
    names = (
        "name",
        "kind",
        "sites",
        "seconds",
        "elapsed",
        "difference",
        "elastic",
        "free_cost",
        "served_difference",
        "reason",
    )
    lines = markdown([names, *[[found.get(name, "") for name in names] for found in rows]])
    cut = [found for found in there if found["kind"] == "cut" and found["sites"] >= SITES]
    return f"{lines}\n\n{len(cut)} of {len(there)} cut with {SITES} sites or more"


if __name__ == "__main__":
    main()
