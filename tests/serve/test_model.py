"""One loaded artifact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from support import fused
from support.serving import client, column, infer, serving


def test_grey_levels(tmp_path: Path) -> None:
    """A graph that takes uint8 is served as such."""
    fused.write_graph(tmp_path, uint8=True)
    x = (fused.images(5) * 255).astype(np.uint8).transpose(0, 2, 3, 1)
    with serving(tmp_path) as server, client(server) as http:
        described = http.get("/v2/models/guard").json()["inputs"][0]
        scores = column(infer(http, np.ascontiguousarray(x)), "score")
    assert (described["datatype"], described["shape"]) == ("UINT8", [-1, 4, 5, 3])
    np.testing.assert_allclose(scores, x.mean((1, 2, 3)) / 255, rtol=1e-5)
