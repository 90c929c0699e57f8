"""Alarms sent to somebody else's server: signed, tried again, from a bounded queue, and never in anybody's way."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.client
import json
import logging
import socket
import threading
import time
import urllib.parse
import urllib.request
from collections import deque
from typing import Any

from ce_detect.core.errors import UsageError
from ce_detect.core.version import VERSION
from ce_detect.monitor.alarms import Alarm

logger = logging.getLogger("ce_detect.monitor")

SIGNATURE = "X-CE-Detect-Signature"
"""Header ``t=SECONDS,v1=HEX``: HMAC-SHA256 of ``SECONDS.BODY``; the time is signed, so that nobody sends it again."""

_LARGEST_PAUSE = 60.0
_AGAIN = 0.1


class Webhook:
    """Sends alarms to an address, one after the other, in a thread of its own.

    Attributes:
        lost: alarms that were given up, or found the queue full.

    Args:
        url: of http or https.
        secret: key of the signature.
        most: alarms that wait; more are lost.
        attempts: of one alarm, with pauses that double.
        pause: seconds after the first failure.
        timeout: seconds for one attempt, until the head of the answer is there.

    Raises:
        UsageError: the address is none, or the secret is empty.
    """

    def __init__(
        self, url: str, secret: bytes, *, most: int = 1000, attempts: int = 8, pause: float = 1.0, timeout: float = 5.0
    ) -> None:
        self._where = _host(url)
        if not secret:
            raise UsageError("the webhook's secret is empty, so anybody could sign; give some random bytes")
        self.lost = 0
        self._url, self._secret, self._most, self._attempts = url, secret, most, attempts
        self._pause, self._timeout = pause, timeout
        self._waiting: deque[bytes] = deque()
        self._changed, self._closing = threading.Condition(), False
        self._connections = _Connections()
        self._opener = urllib.request.build_opener(_NoRedirects, self._connections)
        self._thread = threading.Thread(target=self._work, name="ce-detect-webhook", daemon=True)
        self._thread.start()

    def send(self, alarm: Alarm, **more: Any) -> None:
        """Queue an alarm, with more plain data beside it; never waits."""
        body = json.dumps({**alarm.plain(), "time": time.time(), **more}).encode()
        with self._changed:
            if len(self._waiting) >= self._most:
                self.lost += 1
                logger.warning("webhook %s: %d alarms wait, one more is lost", self._where, self._most)
                return
            self._waiting.append(body)
            self._changed.notify()

    def close(self, seconds: float = 5.0) -> None:
        """Send what waits, for so long at most; the rest is lost."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(seconds)
        self.lost += len(self._waiting)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                if not self._waiting:
                    return
                body = self._waiting[0]
            if not self._delivered(body):
                self.lost += 1
            with self._changed:
                self._waiting.popleft()

    def _delivered(self, body: bytes) -> bool:
        for attempt in range(self._attempts):
            try:
                self._post(body)
            except Exception as error:  # noqa: BLE001  whatever it is, the next alarm gets its turn
                logger.warning("webhook %s, attempt %d of %d: %r", self._where, attempt + 1, self._attempts, error)
                with self._changed:  # a server that stops does not wait for the pauses
                    self._changed.wait_for(lambda: self._closing, min(_LARGEST_PAUSE, self._pause * 2**attempt))
                continue
            return True
        return False

    def _post(self, body: bytes) -> None:
        stamp = str(int(time.time()))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"ce-detect/{VERSION}",
            SIGNATURE: f"t={stamp},v1={signature(self._secret, stamp, body)}",
        }
        request = urllib.request.Request(self._url, data=body, headers=headers, method="POST")
        ended = threading.Event()
        threading.Thread(target=self._cut_off, args=(ended,), name="ce-detect-webhook-limit", daemon=True).start()
        try:
            self._opener.open(request, timeout=self._timeout).close()
        finally:
            ended.set()

    def _cut_off(self, ended: threading.Event) -> None:
        """End an attempt that takes too long: the limit of a socket is of each byte alone.

        Until then there may be no socket yet, as where a name is looked up slowly. So it tries again.
        """
        pause = self._timeout
        while not ended.wait(pause):
            self._connections.cut()
            pause = _AGAIN


def signature(secret: bytes, stamp: str, body: bytes) -> str:
    """What a receiver computes, too, and compares in constant time, see `SIGNATURE`."""
    return hmac.new(secret, stamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def _host(url: str) -> str:
    """What logs call an address: the rest of it may be a secret.

    Raises:
        UsageError: nothing can be sent there.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        name, port = (parts.hostname or "").encode("idna").decode(), parts.port
    except ValueError as error:
        raise UsageError(f"webhook {url!r} is no address: {error}") from error
    if parts.scheme not in ("http", "https") or not name or "@" in parts.netloc or not url.isprintable() or " " in url:
        raise UsageError(
            f"webhook {url!r}, expected an address that begins with http:// or https://, without a password or spaces"
        )
    return f"{parts.scheme}://{name}" + (f":{port}" if port else "")


class _Connections(urllib.request.HTTPSHandler, urllib.request.HTTPHandler):
    """Makes connections, and cuts the last one off."""

    def __init__(self) -> None:
        super().__init__()
        self._last: http.client.HTTPConnection | None = None

    def do_open(self, http_class: Any, req: Any, **arguments: Any) -> Any:
        """Open a connection as usual, and remember it."""

        def made(*args: Any, **kwargs: Any) -> http.client.HTTPConnection:
            self._last = http_class(*args, **kwargs)
            return self._last

        return super().do_open(made, req, **arguments)

    def cut(self) -> None:
        """End it, whatever it waits for."""
        if self._last is not None and self._last.sock is not None:
            with contextlib.suppress(OSError):  # it ended by itself just now
                self._last.sock.shutdown(socket.SHUT_RDWR)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """An alarm goes to the address that the operator named, and nowhere else."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """Follow nothing, so that the answer counts as a failure."""
