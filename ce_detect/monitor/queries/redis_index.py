"""Fingerprints that several servers share through Redis; where it is away, each goes on with what it has itself."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any

from ce_detect.core.errors import UsageError
from ce_detect.core.extras import module
from ce_detect.monitor.queries.index import Entry, MemoryIndex, most_alike

logger = logging.getLogger("ce_detect.monitor")

LASTS = 3600
"""Seconds after which a fingerprint is forgotten that nothing like it came for; each near-copy keeps it longer."""

AWAY = 5.0
"""Seconds for which Redis is not asked after it failed: an answer must not wait for it again and again."""

_LOCAL = 20_000
_PREFIX = b"ce-detect:"
_SALT = _PREFIX + b"salt"


class RedisIndex:
    """An index in Redis, with one in memory for the time that it is away.

    How much Redis keeps is for its own settings to say (``maxmemory``, ``maxmemory-policy volatile-ttl``).

    Args:
        client: of redis-py.

    Attributes:
        failures: times that Redis did not answer.
    """

    def __init__(self, client: Any) -> None:
        self._client, self._local = client, MemoryIndex(_LOCAL)
        self._errors = module("redis.exceptions", "Sharing fingerprints").RedisError
        self._away_until = 0.0
        self._salt: bytes | None = None
        self.failures = 0

    def salt(self, before: bytes | None = None) -> bytes:
        """The salt that all servers share; the first one draws it.

        Args:
            before: the salt of this server before it was restarted. A Redis without one gets it, so fingerprints that
                the server kept stay valid.

        Raises:
            UsageError: Redis does not answer.
        """
        try:
            self._client.set(_SALT, before or self._salt or secrets.token_bytes(32), nx=True)
            found: bytes = self._client.get(_SALT)
        except self._errors as error:
            raise UsageError(f"Redis does not answer: {error}; start it, or leave it out") from error
        self._salt = found
        return found

    def nearest(self, keys: Sequence[bytes], whole: bytes) -> Entry | None:
        """See `ce_detect.monitor.queries.index.Index`."""
        near = self._local.nearest(keys, whole)
        if near is not None and near[0] == whole:
            return near
        values = self._tried(lambda: self._client.mget([_PREFIX + key for key in (*keys, whole)]))
        if values is None:
            return near
        *found, same = [None if value is None else (value[:8], int(value[8:])) for value in values]
        return same or most_alike(found) or near

    def add(self, keys: Sequence[bytes], entry: Entry) -> None:
        """See there. A Redis that lost its salt, as one without a disk does, gets it back."""
        self._local.add(keys, entry)
        whole, label = entry

        def send() -> bytes | None:
            pipe = self._client.pipeline(transaction=False)
            for key in (*keys, whole):
                pipe.set(_PREFIX + key, whole + str(label).encode(), ex=LASTS)
            if self._salt is None:
                pipe.execute()
                return None
            pipe.set(_SALT, self._salt, nx=True)
            pipe.get(_SALT)
            kept: bytes = pipe.execute()[-1]
            return kept

        kept = self._tried(send)
        if kept is not None and kept != self._salt:
            logger.warning("Redis has another salt than this server: hashes do not meet. Restart this server.")
            self._salt = None  # told once

    def _tried(self, ask: Callable[[], Any]) -> Any:
        """The answer; None where Redis is away."""
        if time.monotonic() < self._away_until:
            return None
        try:
            return ask()
        except self._errors as error:
            self.failures += 1
            self._away_until = time.monotonic() + AWAY
            logger.warning("Redis is away, fingerprints are not shared for %g s: %s", AWAY, error)
            return None


def connected(url: str) -> RedisIndex:
    """Connect to a server such as ``redis://127.0.0.1:6379/0``.

    Raises:
        MissingExtraError: the extra ``redis`` is not installed.
        UsageError: that is no address of a Redis server.
    """
    redis = module("redis", "Sharing fingerprints through Redis")
    try:
        client = redis.Redis.from_url(url, socket_timeout=0.2, socket_connect_timeout=0.5)
    except ValueError as error:
        raise UsageError(f"{url!r} is no address of a Redis server ({error}), expected redis://host:port/0") from error
    return RedisIndex(client)
