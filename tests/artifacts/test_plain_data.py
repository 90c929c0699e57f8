"""JSON from a file that anybody may have made."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ce_detect.artifacts import plain_data
from ce_detect.core.errors import ArtifactError


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 200_000, "lie in each other"),
        ('{"a": ' * 100 + "1" + "}" * 100, "more than 64"),
        ("1" * 5000, "ValueError"),
        ('{"a": [0, 1e999]}', r"`\$\.a\[1\]` is inf, expected a finite number"),
        ('{"a": NaN}', r"`\$\.a` is nan"),
        ('{"a": -9223372036854775808}', r"`\$\.a` has 64 bits, expected a whole number below 2\^63"),
        ("{", "JSONDecodeError"),
    ],
)
def test_what_is_no_plain_data(text: str, message: str) -> None:
    """The error is ours, and says where and what."""
    with pytest.raises(ArtifactError, match=message):
        plain_data.parsed(text)


@pytest.mark.parametrize("value", [{}, [1, -2.5, True, None, "text"], {"a": {"b": [{"c": 2**62}]}}])
def test_plain_data(value: Any) -> None:
    """What any program may write is read."""
    assert plain_data.parsed(json.dumps(value)) == value


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("Expected `float` < 1 - at `$.a.b[1]`", "Expected `float` < 1 - at `$.a.b[1]`, which is 7"),
        ("Expected `int` - at `$.a.c`", "Expected `int` - at `$.a.c`"),
        ("Expected `object`", "Expected `object`"),
    ],
)
def test_the_value_is_shown(message: str, told: str) -> None:
    """Where the message says which it is."""
    assert plain_data.shown(message, {"a": {"b": [3, 7]}}) == told
