"""The server against its own OpenAPI document."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import fused
from support.serving import Watched, client, plain, serving


def test_document_names_what_is_served(tmp_path: Path) -> None:
    """Every path of the document is answered."""
    with serving(tmp_path) as server, client(server) as http:
        paths = http.get("/v2/openapi.json").json()["paths"]
        for path, methods in paths.items():
            for method in methods.keys() - {"parameters"}:
                answer = http.request(method, path.format(name="guard"), content=plain(fused.images(1)))
                assert answer.status_code == 200, path


def test_whatever_the_document_allows(tmp_path: Path) -> None:
    """Requests that schemathesis makes of the document are answered as it says, and never with 500."""
    import schemathesis

    with serving(tmp_path) as server, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of schemathesis' own dependencies
        schema = schemathesis.openapi.from_url(f"{server.url}/v2/openapi.json")
        for operation in schema.get_all_operations():
            _hold(operation.ok(), server)


def _checks() -> list[Any]:
    """Form and status alone: what a shape allows as data no document can say."""
    from schemathesis import checks
    from schemathesis.specs.openapi import checks as of_document

    return [
        checks.not_a_server_error,
        of_document.status_code_conformance,
        of_document.content_type_conformance,
        of_document.response_schema_conformance,
    ]


def _hold(operation: Any, server: Watched) -> None:
    examples = 10 if operation.method == "post" else 2

    @given(data=st.data())
    @settings(max_examples=examples, suppress_health_check=list(HealthCheck))
    def check(data: st.DataObject) -> None:
        case = data.draw(operation.as_strategy())
        answer = case.call(base_url=server.url)
        case.validate_response(answer, checks=_checks())

    check()
