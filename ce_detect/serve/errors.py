"""Why a request gets no verdict, with the HTTP status that says so."""

from __future__ import annotations

from ce_detect.core.errors import CeDetectError


class RequestError(CeDetectError):
    """A request that is refused; the message goes to the client.

    Attributes:
        status: HTTP status.
        retry_after: seconds after which asking again makes sense, None where it does not.
    """

    def __init__(self, message: str, *, status: int = 400, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class QueueFullError(RequestError):
    """More inputs wait than the queue holds."""

    def __init__(self, waiting: int, capacity: int) -> None:
        super().__init__(
            f"the queue is full: {waiting} of {capacity} inputs wait; ask again later", status=503, retry_after=1
        )


class DeadlineError(RequestError):
    """The answer was not ready in time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"no verdict within {seconds:g} s; ask again later, or with fewer inputs", status=504)
