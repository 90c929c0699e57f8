"""Image files in requests: as a body, in binary and in base64, and what is refused."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from support import fused
from support.scans import png
from support.serving import INFER, Watched, client, column, limits, serving

from ce_detect import Resizing
from ce_detect.data.resizing import resized, waves

RESIZING = Resizing((6, 7), fused.SHAPE[1:])
SIZES = [(40, 31), (9, 60), (4, 5)]
FILES = [png(waves(*size)) for size in SIZES]
SCORES = [resized(waves(*size), RESIZING, "x").mean() / 255 for size in SIZES]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A server of a gate for files of any size."""
    folder: Path = tmp_path_factory.mktemp("files")
    fused.write_graph(folder, said=fused.metadata(fused.resized(RESIZING)))
    with serving(folder, limits=limits(pixels=2000, inputs=8)) as running:
        yield running


def asked(http: httpx.Client, files: Any, **changed: Any) -> httpx.Response:
    """Send files in JSON."""
    tensor = {"name": "input", "shape": [len(files)], "datatype": "BYTES", "data": files, **changed}
    return http.post(INFER, content=json.dumps({"inputs": [tensor]}))


@pytest.mark.parametrize("i", range(len(SIZES)))
def test_a_file_is_a_body(server: Watched, i: int) -> None:
    """As browsers and curl send it, with its content type."""
    with client(server) as http:
        answer = http.post(INFER, content=FILES[i], headers={"content-type": "image/png"})
    assert answer.status_code == 200
    assert column(answer, "score")[0] == pytest.approx(SCORES[i], rel=1e-5)


def test_files_of_many_sizes_are_one_request(server: Watched) -> None:
    """In base64, and in binary from a client that we did not write."""
    with client(server) as http:
        found = column(asked(http, [base64.b64encode(file).decode() for file in FILES]), "score")
    np.testing.assert_allclose(found, SCORES, rtol=1e-5)
    host, port = server.address
    theirs: Any = triton.InferenceServerClient(f"{host}:{port}")
    tensor = triton.InferInput("input", [len(FILES)], "BYTES")
    tensor.set_data_from_numpy(np.array(FILES, dtype=object), binary_data=True)
    answer = theirs.infer("guard", [tensor], outputs=[triton.InferRequestedOutput("score", binary_data=True)])
    theirs.close()
    np.testing.assert_allclose(answer.as_numpy("score"), SCORES, rtol=1e-5)


@pytest.mark.parametrize(
    ("files", "changed", "said"),
    [
        (["bm8gaW1hZ2U="], {}, "file 0 cannot be read as an image"),
        (["no base64!"], {}, "not files in base64"),
        ([3], {}, "not files in base64"),
        (["bm8gaW1hZ2U="], {"shape": [2]}, "hold 1 files, some of them empty or not 2"),
        ([""], {}, "hold 1 files, some of them empty"),
        (["bm8gaW1hZ2U="], {"shape": [1, 1]}, "has shape [1, 1], expected [files], or 'FP32' [batch, 3, 4, 5]"),
        (["bm8gaW1hZ2U="] * 9, {}, "at most 8"),
        ([base64.b64encode(png(waves(50, 50))).decode()], {}, "more than 2000 pixels; send it smaller"),
    ],
)
def test_what_is_no_file_is_refused(server: Watched, files: list[Any], changed: Any, said: str) -> None:
    """With a status of the client's kind; a small file that unpacks to a large image is not unpacked."""
    with client(server) as http:
        answer = asked(http, files, **changed)
    assert answer.status_code in {400, 413}
    assert said in answer.json()["error"]


@pytest.mark.parametrize(
    ("body", "size", "said"),
    [
        (b"\x05\0\0\0abc", 7, "file 0 of 1 is empty or ends behind"),
        (b"\0\0\0\0", 4, "file 0 of 1 is empty or ends behind"),
        (b"\x01\0\0\0ab", 6, "1 bytes of the tensor belong to none"),
        (b"\x01\0\0\0a", 9, "5 bytes are behind the header"),
        (b"", 0, "file 0 of 1 is empty or ends behind"),
    ],
)
def test_lengths_in_binary_are_checked(server: Watched, body: bytes, size: int, said: str) -> None:
    """No length reads beyond its tensor."""
    tensor = {"name": "input", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": size}}
    head = json.dumps({"inputs": [tensor]}).encode()
    with client(server) as http:
        answer = http.post(INFER, content=head + body, headers={"Inference-Header-Content-Length": str(len(head))})
    assert answer.status_code == 400
    assert said in answer.json()["error"]
