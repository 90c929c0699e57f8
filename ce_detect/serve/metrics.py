"""What Prometheus reads at ``/metrics``."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from ce_detect.records.record import Judged
from ce_detect.serve.watch import Watch

_SCORES = (-50, -20, -10, -5, -2, -1, -0.5, 0, 0.5, 1, 2, 5, 10, 20, 50)
_P_VALUES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1)
_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Every figure of one server.

    Attributes:
        requests: requests to the model by HTTP status.
        seconds: from the first byte of a request to its answer.
        reloads: of the artifact, by outcome.
        audit_lost: verdicts that the audit log could not take.
        quarantined: flagged inputs by outcome.
        alarms: of the monitor, by kind and scope.

    Args:
        waiting: tells how many inputs wait.
        artifact: tells what is served, as labels.
        threshold: tells the calibrated threshold.
    """

    def __init__(
        self, *, waiting: Callable[[], float], artifact: Callable[[], dict[str, str]], threshold: Callable[[], float]
    ) -> None:
        registry = self._registry = CollectorRegistry()
        made = {"namespace": "ce_detect", "registry": registry}
        self.requests = Counter("requests", "Requests for verdicts, by HTTP status.", ["status"], **made)  # type: ignore[arg-type]
        self.seconds = _histogram("request_seconds", "From request to answer.", _SECONDS, registry)
        self.reloads = Counter("reloads", "Reloads of the artifact.", ["outcome"], **made)  # type: ignore[arg-type]
        self.audit_lost = Counter("audit_lost", "Verdicts that the audit log could not take.", **made)  # type: ignore[arg-type]
        self.quarantined = Counter("quarantined", "Flagged inputs, by what became of them.", ["outcome"], **made)  # type: ignore[arg-type]
        self.alarms = Counter("alarms", "Alarms of the monitor.", ["kind", "scope"], **made)  # type: ignore[arg-type]
        self._inputs = Counter("inputs", "Judged inputs.", ["verdict"], **made)  # type: ignore[arg-type]
        self._clean, self._flagged = (self._inputs.labels(verdict) for verdict in ("clean", "adversarial"))
        self._waited = _histogram("queue_seconds", "In the queue.", _SECONDS, registry)
        self._judged = _histogram("batch_seconds", "Judging a batch.", _SECONDS, registry)
        self._sizes = _histogram("batch_inputs", "Inputs in a batch.", _SIZES, registry)
        self._scores = Distribution("ce_detect_score", "Scores; larger = more adversarial.", _SCORES, registry)
        self._p_values = Distribution("ce_detect_p_value", "Conformal p-values.", _P_VALUES, registry)
        Gauge("queue_inputs", "Inputs that wait.", **made).set_function(waiting)  # type: ignore[arg-type]
        Gauge("threshold", "Score above which an input is flagged.", **made).set_function(threshold)  # type: ignore[arg-type]
        registry.register(_Artifact(artifact))

    def observe(self, judged: Judged) -> None:
        """Count a batch."""
        first = judged[0][0]
        self._judged.observe(first.finished - first.started)
        self._sizes.observe(first.batch)
        for job, _ in judged:
            self._waited.observe(job.started - job.submitted)
        results = [result for _, result in judged]
        count = sum(len(result.score) for result in results)
        flagged = sum(int(np.count_nonzero(result.is_adversarial)) for result in results)
        self._clean.inc(count - flagged)
        self._flagged.inc(flagged)
        self._scores.observe(np.concatenate([result.score for result in results]))
        self._p_values.observe(np.concatenate([result.p_value for result in results]))

    def watch(self, watch: Watch) -> None:
        """Show what a monitor knows, from now on."""
        self._registry.register(Watching(watch))

    def text(self) -> bytes:
        """Return the exposition format."""
        return generate_latest(self._registry)


class Distribution(Collector):
    """A histogram that takes a whole array at once: one call a batch instead of one an input."""

    def __init__(self, name: str, help_text: str, bounds: Sequence[float], registry: CollectorRegistry) -> None:
        self._name, self._help = name, help_text
        self._bounds = np.array(bounds, np.float64)
        self._counts, self._sum, self._lock = np.zeros(len(bounds) + 1, np.int64), 0.0, threading.Lock()
        registry.register(self)

    def observe(self, values: NDArray[Any]) -> None:
        """Count values; NaN lies above every bound and adds nothing to the sum."""
        found = np.bincount(np.searchsorted(self._bounds, values), minlength=len(self._counts))
        with self._lock:
            self._counts += found
            self._sum += float(np.nansum(values, dtype=np.float64))

    def collect(self) -> Iterator[Metric]:
        """Yield the histogram."""
        with self._lock:
            totals, total = self._counts.cumsum().tolist(), self._sum
        names = [*(f"{bound:g}" for bound in self._bounds), "+Inf"]
        metric = Metric(self._name, self._help, "histogram")
        for name, count in zip(names, totals, strict=True):
            metric.add_sample(f"{self._name}_bucket", {"le": name}, count)
        # by hand: HistogramMetricFamily leaves both out where a bound is negative, as OpenMetrics asks
        metric.add_sample(f"{self._name}_count", {}, totals[-1])
        metric.add_sample(f"{self._name}_sum", {}, total)
        yield metric


class Watching(Collector):
    """What the monitor knows right now; without names of clients, of which anybody could bring any number."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def collect(self) -> Iterator[Metric]:
        """Yield a figure each."""
        status = self._watch.status()
        figures = {
            "campaign": ("Whether a campaign goes on.", status.get("campaign", False)),
            "campaign_clients": ("Clients with a campaign that goes on.", len(status.get("clients_in_campaign", ()))),
            "campaign_evidence": ("Evidence of a campaign; 1 is an alarm.", _share(status, "evidence")),
            "drift_evidence": ("Evidence of drift; 1 is an alarm.", _share(status, "drift_evidence")),
            "monitor_lost": ("Inputs that the monitor could not take.", self._watch.lost),
        }
        for name, (text, value) in figures.items():
            metric = Metric(f"ce_detect_{name}", text, "gauge")
            metric.add_sample(f"ce_detect_{name}", {}, float(value))
            yield metric


def _share(status: dict[str, Any], name: str) -> float:
    return float(status.get(name, 0.0)) / float(status.get("limit", 1.0))


class _Artifact(Collector):
    """What is served right now; it changes with a reload."""

    def __init__(self, described: Callable[[], dict[str, str]]) -> None:
        self._described = described

    def collect(self) -> Iterator[Metric]:
        metric = Metric("ce_detect_artifact", "What is served.", "info")
        metric.add_sample("ce_detect_artifact_info", self._described(), 1)
        yield metric


def _histogram(name: str, help_text: str, buckets: Sequence[float], registry: CollectorRegistry) -> Histogram:
    return Histogram(name, help_text, namespace="ce_detect", buckets=buckets, registry=registry)
