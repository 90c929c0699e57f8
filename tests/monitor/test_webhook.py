"""Webhooks: signed, tried again, and bounded."""

from __future__ import annotations

import hmac
import json
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from ce_detect.core.errors import UsageError
from ce_detect.monitor import Alarm
from ce_detect.monitor.webhook import SIGNATURE, Webhook, signature

ALARM = Alarm("campaign", "client", "10.0.0.7", 120, "Suspicious inputs.")
SECRET = b"a secret of the tests"


class Receiver(HTTPServer):
    """Somebody else's server, which refuses the first few."""

    def __init__(self, refused: int, status: int = 503) -> None:
        self.refused, self.status = refused, status
        self.bodies: list[bytes] = []
        self.signatures: list[str] = []
        self.got = threading.Event()
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.refused:
            self.server.refused -= 1
            self.send_response(self.server.status)
            self.send_header("Location", "/elsewhere")
        else:
            self.server.bodies.append(body)
            self.server.signatures.append(self.headers[SIGNATURE])
            self.server.got.set()
            self.send_response(204)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def receiver(request: pytest.FixtureRequest) -> Iterator[Receiver]:
    """One that listens; its parameters are those of `Receiver`."""
    made = Receiver(*getattr(request, "param", (0,)))
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def sent_to(receiver: Receiver, **settings: Any) -> Webhook:
    """A webhook that hurries."""
    return Webhook(f"http://127.0.0.1:{receiver.server_port}/alarms", SECRET, **{"pause": 0.01, **settings})


def test_an_alarm_arrives_signed(receiver: Receiver) -> None:
    """Whoever knows the secret can tell that nobody changed it, and when it was sent."""
    webhook = sent_to(receiver)
    webhook.send(ALARM, model="guard")
    assert receiver.got.wait(10)
    webhook.close()
    (body,), (signed,) = receiver.bodies, receiver.signatures
    told = json.loads(body)
    assert told["kind"] == "campaign"
    assert told["model"] == "guard"
    assert "AML.T0015 Evade AI Model" in told["techniques"]
    stamp, code = (part.partition("=")[2] for part in signed.split(","))
    assert hmac.compare_digest(code, signature(SECRET, stamp, body))
    assert code != signature(b"another", stamp, body)
    assert webhook.lost == 0


@pytest.mark.parametrize("receiver", [(2,), (2, 302)], indirect=True)
def test_it_is_tried_again(receiver: Receiver) -> None:
    """A server that is away, or sends elsewhere, gets it once it is back."""
    webhook = sent_to(receiver)
    webhook.send(ALARM)
    assert receiver.got.wait(10)
    webhook.close()
    assert len(receiver.bodies) == 1
    assert webhook.lost == 0


@pytest.mark.parametrize("receiver", [(1000,)], indirect=True)
def test_what_nobody_takes_is_given_up_and_counted(receiver: Receiver) -> None:
    """After the last attempt; what finds the queue full at once."""
    webhook = sent_to(receiver, attempts=2, most=3, pause=0.05)
    for _ in range(5):
        webhook.send(ALARM)
    webhook.close(10)
    assert webhook.lost == 5
    assert receiver.bodies == []


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/x", "no address", "http://", "http://[::1/", "http://host:abc/", "http://host:99999/",
        "http://a..b/", f"http://{'a' * 70}.com/", "http://user:word@host/", "http://host/a b", "http://host/\n",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(url: str) -> None:
    """Before anything happens: a name that cannot be encoded ended the thread at the first alarm."""
    with pytest.raises(UsageError, match="webhook"):
        Webhook(url, SECRET)
    with pytest.raises(UsageError, match="secret is empty"):
        Webhook("http://127.0.0.1/", b"")


def test_an_error_of_any_kind_ends_no_thread(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    """The alarm that met it is lost, the next one arrives; the log does not tell what may be a secret."""
    webhook, send = sent_to(receiver, attempts=1), urllib.request.OpenerDirector.open
    with pytest.MonkeyPatch.context() as patch:
        failed = threading.Event()

        def fail(*_: Any, **__: Any) -> None:
            failed.set()
            raise UnicodeError("no name")

        patch.setattr(urllib.request.OpenerDirector, "open", fail)
        webhook.send(ALARM)
        assert failed.wait(10)
    assert urllib.request.OpenerDirector.open is send
    webhook.send(ALARM)
    assert receiver.got.wait(10)
    webhook.close()
    assert webhook.lost == 1
    assert "no name" in caplog.text
    assert "/alarms" not in caplog.text


def cut_off(client: socket.socket) -> bool:
    """Send a byte now and then, for ten seconds at most: whether the other side ended it."""
    for _ in range(100):
        try:
            client.sendall(b"H")
        except OSError:
            return True
        time.sleep(0.1)
    return False


def test_a_slow_lookup_of_a_name_uses_up_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The receiver that trickles after it is cut off all the same."""
    look_up = socket.getaddrinfo

    def slowly(*arguments: Any, **more: Any) -> Any:
        time.sleep(0.7)
        return look_up(*arguments, **more)

    monkeypatch.setattr(socket, "getaddrinfo", slowly)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(10)
        webhook = Webhook(f"http://127.0.0.1:{listening.getsockname()[1]}/", SECRET, attempts=1, timeout=0.5)
        webhook.send(ALARM)
        client, _ = listening.accept()
        with client:
            assert cut_off(client)
        webhook.close()
    assert webhook.lost == 1


def test_a_receiver_that_trickles_does_not_hold_up_the_next_alarm() -> None:
    """It sends a byte now and then, so no wait for a byte ever ends late."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        webhook = Webhook(
            f"http://127.0.0.1:{listening.getsockname()[1]}/", SECRET, attempts=1, pause=0.01, timeout=0.5
        )
        webhook.send(ALARM)
        webhook.send(ALARM)
        for _ in range(2):  # the second one comes only if the first is given up
            listening.settimeout(10)
            client, _ = listening.accept()
            with client:
                assert cut_off(client)
        webhook.close()
    assert webhook.lost == 2
