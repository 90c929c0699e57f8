"""Settled inputs as a dataset that our own loaders read."""

from __future__ import annotations

import csv
import io
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
from starlette.testclient import TestClient
from support import consoles, fused

from ce_detect import load_data
from ce_detect.records.filters import Filter
from ce_detect.records.importing import Intake
from ce_detect.records.schema import INPUTS
from ce_detect.records.store import Store


def settle(store: Store) -> list[int]:
    """Four attacks and three benign inputs, one of them without a file; ids of the attacks."""
    items = store.items(Filter(order="oldest"), "ada", most=20)
    for item in items[:4]:
        store.decide(item.id, "ada", "attack")
    for item in items[4:7]:
        store.decide(item.id, "ada", "benign")
    with store.engine.begin() as connection:
        connection.execute(INPUTS.update().where(INPUTS.c.id == items[4].id).values(file=None))
        connection.execute(INPUTS.update().where(INPUTS.c.id == items[5].id).values(client="=cmd()"))
    return [item.id for item in items[:4]]


def test_arrays(http: TestClient, store: Store, tmp_path: Path) -> None:
    """As the gate saw them, to the last bit, with a label each."""
    settle(store)
    assert "4 attacks and 3 benign" in http.get("/export").text
    answer = http.get("/export/decisions.npz")
    assert "attachment" in answer.headers["content-disposition"]
    (tmp_path / "decisions.npz").write_bytes(answer.content)
    images = load_data(str(tmp_path / "decisions.npz"))
    assert images.y is not None
    assert list(images.y) == [1, 1, 1, 1, 0, 0]
    known = {one.tobytes() for one in fused.images(12)}
    assert {one.tobytes() for one in images.x} <= known
    for name, count in (("attacks", 4), ("benign", 2)):
        (tmp_path / f"{name}.npz").write_bytes(http.get(f"/export/{name}.npz").content)
        assert len(load_data(str(tmp_path / f"{name}.npz"))) == count


def test_a_folder(http: TestClient, store: Store, tmp_path: Path) -> None:
    """A folder for each class, and a table that no spreadsheet computes."""
    attacks = settle(store)
    with zipfile.ZipFile(io.BytesIO(http.get("/export/decisions.zip").content)) as archive:
        archive.extractall(tmp_path)
    images = load_data(str(tmp_path / "dataset"))
    assert images.y is not None
    assert sorted(images.y) == [0, 0, 0, 0, 1, 1]
    with (tmp_path / "decisions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["id"]) for row in rows if row["outcome"] == "attack"] == attacks
    assert [row["client"] for row in rows if "cmd" in row["client"]] == ["cmd()"]


def test_sizes_that_differ(http: TestClient, store: Store, settings: dict[str, Path]) -> None:
    """No array holds them; the folder of pictures does. Nothing settled is nothing to send."""
    assert http.get("/export/decisions.zip").status_code == 404
    settle(store)
    item = store.items(Filter(status="attack"), "ada")[0]
    path = settings["quarantine"] / str(item.file)
    with np.load(path) as stored:
        changed = {**stored, "x": np.zeros((3, 9, 9), np.float32)}
    np.savez(path, **changed)
    answer = http.get("/export/decisions.npz")
    assert answer.status_code == 400
    assert "several sizes" in answer.text
    assert http.get("/export/decisions.zip").status_code == 200


def test_many_pictures_need_the_memory_of_few(tmp_path: Path, store: Store) -> None:
    """Sixty of one mebibyte each: all of them twice over were in memory, which ten thousand are too many for."""
    folder = tmp_path / "large"
    folder.mkdir()
    x = np.random.default_rng(0).random((1, 512, 1), np.float32).repeat(512, axis=2)
    for number in range(60):
        said = {"logits": np.float32([0, 1]), "score": float(number), "p_value": 0.1, "id": ""}
        np.savez(folder / f"{number}.npz", x=x, allow_pickle=False, **said)
    Intake(store, quarantine=folder).run()
    for item in store.items(Filter(), "ada", most=60):
        store.decide(item.id, "ada", "attack")
    with consoles.client(store, quarantine=folder) as http:
        http.get("/export")
        tracemalloc.start()
        answer = http.get("/export/attacks.npz")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    (tmp_path / "attacks.npz").write_bytes(answer.content)
    with np.load(tmp_path / "attacks.npz") as found:
        assert (found["x"].shape, found["x"].dtype) == ((60, 1, 512, 512), np.float32)
        assert (found["x"] == x).all()
        assert sorted(found["score"]) == list(range(60))
    assert peak < 40e6 + 2.5 * len(answer.content)  # the test's own client keeps the answer
