"""Faults on a server under load: what was answered, what the server counted, and whether it still answers."""

from __future__ import annotations

import signal
import socket
import sys
import time
from typing import Any

import numpy as np

from benchmarks.serving.load_rig import PATH, Load, Server, driven, request


def fault(name: str, server: Server, load: Load, accounted: bool, **found: Any) -> dict[str, Any]:
    server.settle()
    answers = server.ask(load.body, load.head) == 200
    print(f"{name}: {found}", file=sys.stderr, flush=True)
    return {"fault": name, "answers_afterwards": answers, "accounted": accounted, **found}


def slow_clients(load: Load) -> dict[str, Any]:
    """A hundred connections that send half a request and no more, beside the load."""
    head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n".encode()
    with load.server("--receive-timeout", 2) as server:
        alone = load.wrk(server.port, load.options.seconds / 2)
        slow = [socket.create_connection(("127.0.0.1", server.port), timeout=30) for _ in range(100)]
        for i, connection in enumerate(slow):
            connection.sendall(head[: len(head) // 2] if i % 2 else head + b"abc")
        beside = load.wrk(server.port, max(4, load.options.seconds / 2))
        ends = [ended(connection) for connection in slow]
        counted = server.counted()
        rate = (beside["requests"] / beside["us"]) / (alone["requests"] / alone["us"])
        sound = all(ends) and counted.get("408", 0) == 50
        return fault("100 slow clients", server, load, sound, cut_off=sum(ends), counted=counted, rate=round(rate, 3))


def ended(connection: socket.socket) -> bool:
    """Whether the server closed it."""
    with connection:
        try:
            while connection.recv(65536):
                pass
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False
        return True


def hostile(load: Load) -> dict[str, Any]:
    """Bodies that lie or are larger than the limit, beside the load; each is refused and nobody else notices."""
    x = load.inputs[:2]
    lies: list[tuple[bytes, int | None]] = [
        (b"", None), (b"{", None), (b"[" * 1_000_000, None), (load.body[:-1], load.head), (load.body + b"x", load.head),
        (load.body, 10**9), (load.body, None), request(x, shape=[-1, *x.shape[1:]]), request(x, shape=[2**62, 2**62]),
        request(x, shape=[2**31, *x.shape[1:]]), request(x, datatype="FP64"), request(x, name="other"),
        request(x, parameters={"binary_data_size": 2**62}),
    ]  # fmt: skip
    if x.dtype == np.float32:
        lies += [request(np.full_like(x, value)) for value in (np.nan, np.inf, -np.inf, 3e38)]
    mebibytes = len(load.body) // 2**20 + 2
    with load.server("--max-body", mebibytes) as server:
        driving, found = driven(load, server, load.options.seconds / 2)
        rounds = 0
        answers: set[int] = set()
        too_large: set[int] = set()
        while driving.is_alive() or not rounds:
            answers |= {server.ask(body, head) for body, head in lies}
            too_large.add(server.too_large(mebibytes * 2**20 + 1))
            rounds += 1
        driving.join()
        counted = server.counted()
        refused = sum(count for status, count in counted.items() if status in ("400", "413"))
        sent = rounds * (len(lies) + 1)
        sound = answers <= {400, 413} and too_large == {413} and refused == sent and found[0]["refused"] == 0
        return fault(
            "hostile bodies",
            server,
            load,
            sound,
            lies=sent,
            too_large=sorted(too_large),
            counted=counted,
            others_refused=found[0]["refused"],
        )


def full_disk(load: Load) -> dict[str, Any]:
    """An audit log on a device that is full."""
    with load.server("--audit", "/dev/full") as server:
        found = load.wrk(server.port, load.options.seconds / 2)
        server.settle()
        lost, counted = server.figure("ce_detect_audit_lost_total"), server.counted()
        sound = found["refused"] == 0 and lost == counted["200"] * load.options.images
        return fault("audit log on a full disk", server, load, sound, counted=counted, lines_lost=int(lost))


def full_queue(load: Load) -> dict[str, Any]:
    """More clients than the queue holds: some are told to come again, all are answered."""
    with load.server("--queue", load.options.images * 4) as server:
        found = load.wrk(server.port, load.options.seconds / 2, connections=4 * load.options.connections)
        counted = server.counted()
        lost = found["connect"] + found["read"] + found["write"] + found["timeout"]
        sound = lost == 0 and set(counted) <= {"200", "503"}
        return fault("full queue", server, load, sound, counted=counted, unanswered=lost)


def termination(load: Load) -> dict[str, Any]:
    """SIGTERM under load: what was judged was answered; the next process serves."""
    audit = load.folder / "termination"
    with load.server("--audit", audit, "--audit-size", 1024) as server:
        driving, found = driven(load, server, max(10, load.options.seconds))  # longer than draining takes
        time.sleep(1)
        server.process.send_signal(signal.SIGTERM)
        code = server.process.wait(60)
        driving.join()
    lines = audit.read_bytes().count(b"\n")
    answered = int(found[0]["requests"]) * load.options.images
    with load.server() as server:
        return fault(
            "SIGTERM under load", server, load, code == 0 and lines == answered, exit_code=code, judged=lines,
            answered=answered, read_errors=found[0]["read"],
        )  # fmt: skip


def reloads(load: Load) -> dict[str, Any]:
    """SIGHUP under load: no request is lost."""
    with load.server() as server:
        driving, found = driven(load, server, max(4, load.options.seconds / 2))
        for _ in range(3):
            time.sleep(1)
            server.process.send_signal(signal.SIGHUP)
        driving.join()
        done = server.figure(r'ce_detect_reloads_total\{outcome="done"\}')
        lost = sum(found[0][name] for name in ("refused", "connect", "read", "write", "timeout"))
        return fault("reload under load", server, load, lost == 0 and done >= 1, reloads=int(done), lost=lost)


FAULTS = (slow_clients, hostile, full_disk, full_queue, reloads, termination)
