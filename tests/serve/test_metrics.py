"""What Prometheus reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from prometheus_client import CollectorRegistry, generate_latest
from support import fused
from support.serving import INFER, client, column, infer, sample, serving

from ce_detect.runtime import Gate
from ce_detect.serve.metrics import Distribution


def test_metrics(folder: Path) -> None:
    """Every request is counted by what became of it, every input by its verdict."""
    x = fused.images(20)
    with serving(folder) as server, client(server) as http:
        flagged = sum(column(infer(http, x), "is_adversarial"))
        http.post(INFER, content=b"{")
        http.post("/v2/models/other/infer", content=b"{}")
        counted = {
            name: sample(http, f"ce_detect_{name}")
            for name in (
                'requests_total{status="200"}', 'requests_total{status="400"}', 'requests_total{status="404"}',
                'inputs_total{verdict="clean"}', 'inputs_total{verdict="adversarial"}', "score_count", "p_value_count",
                'score_bucket{le="0.5"}', "request_seconds_count", "queue_inputs", "threshold",
            )
        }  # fmt: skip
        text = http.get("/metrics").text
    assert list(counted.values()) == [1, 1, 1, 20 - flagged, flagged, 20, 20, 20 - flagged, 3, 0, 0.5]
    assert f'fingerprint="{Gate(folder / "guard.onnx").fingerprint}"' in text


def test_distribution_counts_as_prometheus_does() -> None:
    """A value belongs to every bucket whose bound it does not exceed; NaN to the last."""
    registry = CollectorRegistry()
    distribution = Distribution("d", "help", [-2, 0, 1], registry)
    distribution.observe(np.float32([-1, 0, 0.5, 1, 2, np.nan]))
    distribution.observe(np.float32([0.25]))
    text = generate_latest(registry).decode()
    for line in (
        'd_bucket{le="0"} 2.0',
        'd_bucket{le="1"} 5.0',
        'd_bucket{le="+Inf"} 7.0',
        "d_count 7.0",
        "d_sum 2.75",
    ):
        assert line in text
