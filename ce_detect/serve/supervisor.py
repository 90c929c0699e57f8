"""A process that holds the listening socket, and starts the server anew in a child when that dies.

While there is no worker, connections wait in the socket's backlog for the next one. A worker is forked, not run from a
command line: this process has one thread and has loaded nothing heavy, and every worker starts from there, with the
same flags.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

logger = logging.getLogger("ce_detect.serve")

FORWARDED = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
"""What the server handles; a worker is born with them blocked and lets them in once it has its handlers."""

TRIES = 5
"""Workers in a row that may die before they are ready."""

PAUSE = 0.1
"""Seconds before another worker starts; twice as long after each that was never ready."""


@dataclass(frozen=True, slots=True)
class Post:
    """What a worker gets from its supervisor.

    Attributes:
        listener: the listening socket.
        line: to the supervisor; it ends when the supervisor dies.
    """

    listener: socket.socket
    line: socket.socket

    def ready(self) -> None:
        """Tell the supervisor that requests are answered."""
        with contextlib.suppress(OSError):
            self.line.send(b"!")


def supervise(listener: socket.socket, serve: Callable[[Post], None]) -> int:
    """Have a worker serve until one ends well, signals are passed on to it, or none gets ready any more.

    Forks: it returns, or raises what ``serve`` raises, in each worker too. A worker that ends by itself before any was
    ready has said why, so its exit code is final; later the cause, such as a file that is half copied, may pass.

    Args:
        listener: a listening socket.
        serve: called in a worker; returns when the server was told to stop.

    Returns:
        The exit code of this process.
    """
    signal.signal(signal.SIGCHLD, lambda *_: None)  # where it is not handled it may be dropped, even while blocked
    signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED | {signal.SIGCHLD})
    served, failures = False, 0
    while True:
        line, far = socket.socketpair()
        worker = os.fork()
        if worker == 0:
            line.close()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
            os.setpgrp()  # or Ctrl-C would come twice: from the terminal and from the supervisor
            if served or failures:
                time.sleep(PAUSE * 2**failures)  # here and not in the supervisor, which listens to signals meanwhile
            serve(Post(listener, far))
            return 0
        far.close()
        logger.info("worker %d starts", worker)
        code, stopping = _end(worker, listener)
        with line:
            ready = line.recv(1) != b""
        if code == 0 or (code > 0 and not (served or ready)):
            return code
        if stopping:
            return code if code > 0 else 128 - code
        served, failures = served or ready, 0 if ready else failures + 1
        how = f"exit code {code}" if code > 0 else signal.Signals(-code).name
        if failures == TRIES:
            logger.error("worker %d ended with %s; the last %d were never ready, giving up", worker, how, TRIES)
            return 1
        logger.warning("worker %d ended with %s; another one starts", worker, how)


def _end(worker: int, listener: socket.socket) -> tuple[int, bool]:
    """Pass signals on until the worker has ended; return its exit code, and whether it was told to stop."""
    stopping = False
    while True:
        got = signal.sigwait(FORWARDED | {signal.SIGCHLD})
        if got == signal.SIGCHLD:
            ended, status = os.waitpid(worker, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status), stopping
            continue
        if got != signal.SIGHUP:
            stopping = True
            listener.close()  # the worker's own copy stays open for as long as it takes connections
        os.kill(worker, got)
