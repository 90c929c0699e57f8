"""Fingerprints that several servers share; against a real Redis server where Debian's package is installed."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.queries import walk, zeros

from ce_detect.core.errors import UsageError
from ce_detect.data import Images
from ce_detect.monitor.queries import QueryDetector, QuerySettings, connected
from ce_detect.monitor.queries.redis_index import RedisIndex

redis = pytest.importorskip("redis")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Any]]:
    """Address and process of a Redis server on a socket of its own."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("needs redis-server: apt-get install redis-server")
    socket = tmp_path / "redis.sock"
    command = [program, "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 20
        while not socket.exists() and time.monotonic() < end:
            time.sleep(0.02)
        yield f"unix://{socket}", process
    finally:
        process.kill()
        process.wait()


class Away:
    """A client whose server is away."""

    def __getattr__(self, name: str) -> Any:
        def fail(*args: object, **kwargs: object) -> None:
            raise redis.exceptions.ConnectionError("refused")

        return fail


def test_two_servers_see_an_attack_that_neither_sees_alone(server: tuple[str, Any], demo_images: Images) -> None:
    """Every second query goes to the other server: each knows what the other was asked."""
    first, second = (connected(server[0]) for _ in range(2))
    assert first.salt() == second.salt()
    settings = QuerySettings(radius=0.04)
    detectors = [QueryDetector(784, (0, 1), settings, salt=index.salt(), index=index) for index in (first, second)]
    image = walk(demo_images.x[0], 1)
    detectors[0].observe(image, zeros(1), "one")
    assert detectors[1].near(image, 0).tolist() == [False, False]  # an exact copy
    assert detectors[1].near(walk(demo_images.x[0], 1, seed=1), 1).tolist() == [True, True]


def test_a_server_that_dies_stops_nothing(server: tuple[str, Any], demo_images: Images) -> None:
    """What this process knows itself is enough to go on with."""
    index = connected(server[0])
    found = QueryDetector(784, (0, 1), salt=index.salt(), index=index)
    steps = walk(demo_images.x[0], 40)
    found.observe(steps[:3], zeros(3), "attacker")
    server[1].kill()
    server[1].wait()
    began = time.monotonic()
    assert found.observe(steps[3:], zeros(37), "attacker")
    assert index.failures == 1  # then it is left alone for a while
    assert time.monotonic() - began < 3


def test_a_redis_that_lost_its_salt_gets_it_back(server: tuple[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    """From a server that still has it; where another one was drawn meanwhile, the server says so, once."""
    index, client = connected(server[0]), redis.Redis.from_url(server[0])
    salt, keys = index.salt(), [bytes([i]) * 8 for i in range(16)]
    client.flushall()
    index.add(keys, (b"whole...", 3))
    assert connected(server[0]).salt() == salt
    assert caplog.text == ""
    client.set("ce-detect:salt", b"another")
    for label in range(2):
        index.add(keys, (b"whole..2", label))
    assert caplog.text.count("Redis has another salt than this server") == 1


def test_a_server_that_is_restarted_proposes_its_salt(server: tuple[str, Any]) -> None:
    """A Redis that lost all while every server was down gets it, so what a server kept goes on; else its own stands."""
    redis.Redis.from_url(server[0]).flushall()
    assert connected(server[0]).salt(b"of before") == b"of before"
    assert connected(server[0]).salt(b"of another") == b"of before"


def test_without_redis_the_memory_of_the_process_is_used() -> None:
    """From the beginning, where it is away; a salt cannot be had then."""
    index = RedisIndex(Away())
    keys, entry = [bytes([i]) * 8 for i in range(16)], (b"whole...", 3)
    index.add(keys, entry)
    assert index.nearest(keys, b"whole...") == entry
    assert index.failures == 1
    with pytest.raises(UsageError, match="Redis does not answer"):
        index.salt()


def test_what_is_no_address_is_refused() -> None:
    """With what one looks like."""
    with pytest.raises(UsageError, match="expected redis://"):
        connected("http://127.0.0.1")
