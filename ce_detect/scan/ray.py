"""The same scan on the machines of a Ray cluster, which all see the guard and the images under the same paths."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ce_detect.core.errors import UsageError
from ce_detect.core.extras import module
from ce_detect.runtime import Gate
from ce_detect.runtime.providers import Provider
from ce_detect.scan.checkpoints import encoded
from ce_detect.scan.scan import Engine
from ce_detect.scan.sources import Source, opened
from ce_detect.scan.verdicts import judged


class Worker:
    """Judges parts in a process of its own, which opens guard and images once.

    Args:
        guard: path of the fused graph.
        spec: see `ce_detect.scan.sources.opened`.
        fingerprints: of the guard and of the images, as the scan began with them.
        settings: of the gate.

    Raises:
        UsageError: guard or images are others on this machine.
    """

    def __init__(self, guard: str, spec: str, fingerprints: tuple[str, str], settings: dict[str, Any]) -> None:
        self._gate, self._source = Gate(guard, **settings), opened(spec)
        if (self._gate.fingerprint, self._source.fingerprint) != fingerprints:
            raise UsageError(f"{guard} or {spec} differs between the machines of the cluster; share one folder")

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Judge one part."""
        start, stop = int(row["start"]), int(row["stop"])
        return {"part": int(row["part"]), "content": encoded(judged(self._gate, self._source, start, stop))}


def ray_engine(
    gate: Gate, source: Source, spec: str, *, providers: Sequence[Provider] | None, threads: int | None
) -> Engine:
    """Judge with Ray Data, one process for every ``threads`` cores of the cluster that ``RAY_ADDRESS`` names, or here.

    Args:
        gate: of this process; only its path, its threshold and its fingerprint go to the workers.
        source: of this process; only its fingerprint goes to the workers.
        spec: see `ce_detect.scan.sources.opened`.
        providers: see `ce_detect.runtime.Gate`.
        threads: of a worker, by default 1.

    Raises:
        MissingExtraError: Ray is not installed.
    """
    ray = module("ray", "A scan on a cluster")
    module("ray.data", "A scan on a cluster", extra="ray")
    cores, place = threads or 1, spec if spec == "demo" else str(Path(spec).absolute())
    arguments = {
        "guard": str(gate.path.absolute()), "spec": place, "fingerprints": (gate.fingerprint, source.fingerprint),
        "settings": {"providers": providers, "threads": cores, "threshold": gate.threshold, "sha256": gate.fingerprint},
    }  # fmt: skip

    def engine(parts: Iterable[tuple[int, int, int]]) -> Iterator[tuple[int, bytes]]:
        rows = [dict(zip(("part", "start", "stop"), part, strict=True)) for part in parts]
        if not rows:
            return
        ray.init(ignore_reinit_error=True, include_dashboard=False, log_to_driver=False)
        workers = max(1, min(len(rows), int(ray.cluster_resources().get("CPU", 1)) // cores))
        pool = ray.data.ActorPoolStrategy(size=workers)
        todo = ray.data.from_items(rows, override_num_blocks=len(rows))
        made = todo.map(Worker, fn_constructor_kwargs=arguments, num_cpus=cores, compute=pool)
        for row in made.iter_rows():
            yield int(row["part"]), bytes(row["content"])

    return engine
