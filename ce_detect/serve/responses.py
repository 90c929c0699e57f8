"""HTTP answers in the protocol's form."""

from __future__ import annotations

from starlette.responses import Response

from ce_detect.serve import protocol
from ce_detect.serve.errors import RequestError

JSON = "application/json"


def refused(error: RequestError) -> Response:
    """Return the protocol's ``{"error": …}``."""
    answer = Response(protocol.error(str(error)), error.status, media_type=JSON)
    if error.retry_after is not None:
        answer.headers["retry-after"] = str(error.retry_after)
    return answer
