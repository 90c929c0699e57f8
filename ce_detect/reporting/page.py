"""Templates, filled in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ce_detect.core import extras
from ce_detect.core.version import VERSION
from ce_detect.reporting import words
from ce_detect.reporting.drawing import PURPOSE


def rendered(template: str, **values: Any) -> str:
    """Fill in a template of this room; values are escaped where it is HTML.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    with extras.needed_for(PURPOSE):
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=lambda name: name is not None and ".html" in name,
        undefined=StrictUndefined,
        finalize=_unbroken if ".html" in template else None,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": words.percent, "decimal": words.decimal, "json": _json}
    return environment.get_template(template).render(**values, version=VERSION)


def _unbroken(value: Any) -> Any:
    """Keep a percent sign beside its number."""
    return value.replace(" %", "\N{NO-BREAK SPACE}%") if type(value) is str else value


def _json(value: Any) -> Any:
    """The very text, which `_unbroken` leaves alone."""
    from markupsafe import escape

    return escape(json.dumps(value, indent=1, ensure_ascii=False))
