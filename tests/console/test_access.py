"""Tokens: what a file of them may hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from ce_detect.console.access import read_tokens
from ce_detect.core.errors import UsageError


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "empty"), ("ada short", "line 1"), ("0123456789abcdef0", "line 1"),
        ("a 0123456789abcdef\nb 0123456789abcdef", "line 2"),
    ],
)  # fmt: skip
def test_files_that_are_none(tmp_path: Path, content: str, told: str) -> None:
    """The error names the line, and no token."""
    (tmp_path / "tokens").write_text(content)
    with pytest.raises(UsageError, match=told) as caught:
        read_tokens(tmp_path / "tokens")
    assert "0123456789abcdef" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """It is named."""
    with pytest.raises(UsageError, match="nowhere"):
        read_tokens(tmp_path / "nowhere")


def test_equal_files_give_equal_cookies(tmp_path: Path) -> None:
    """Sessions outlive a restart, and are void under other tokens."""
    secrets = []
    for token in ("0123456789abcdef", "0123456789abcdef", "0123456789abcdeX"):
        (tmp_path / "tokens").write_text(f"ada {token}\n")
        secrets.append(read_tokens(tmp_path / "tokens").secret)
    assert secrets[0] == secrets[1] != secrets[2]
