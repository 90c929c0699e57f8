"""Examples in docstrings, shown as code: lines that start with ``>>>``, without what only doctest reads."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

EXAMPLE = re.compile(r"(?:^>>> .*\n?)+", re.MULTILINE)
SKIPPED = re.compile(r" *# doctest: \+SKIP$", re.MULTILINE)


class Examples(Extension):
    """Fences examples."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Change the docstring of an object."""
        if obj.docstring:
            obj.docstring.value = fenced(obj.docstring.value)


def fenced(docstring: str) -> str:
    """Put fences around examples."""
    return EXAMPLE.sub(lambda found: f"```pycon\n{SKIPPED.sub('', found[0]).rstrip()}\n```\n", docstring)
