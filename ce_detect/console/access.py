"""Who may look and decide: by token, by the header of a reverse proxy, or whoever is on this machine."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from starlette.requests import Request

from ce_detect.core.errors import UsageError

LEAST = 16
"""Characters of a token, at least."""

MOST = 100
"""Characters of a reviewer's name, at most."""

SESSION = 12 * 3600
"""Seconds that a login lasts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who may look and decide.

    Attributes:
        tokens: name of a reviewer by the SHA-256 of his token; empty where there is no login.
        header: that a reverse proxy puts the reviewer's name in; None where there is no proxy.
        proxies: addresses from which that header is believed.
        anybody: what a reviewer is called where neither is asked for.
        secret: that cookies are signed with.
    """

    tokens: dict[bytes, str] = field(default_factory=dict)
    header: str | None = None
    proxies: frozenset[str] = frozenset({"127.0.0.1", "::1"})
    anybody: str = "reviewer"
    secret: str = field(default_factory=lambda: secrets.token_hex(32))

    @property
    def is_open(self) -> bool:
        """Whether nobody is asked who he is."""
        return not self.tokens and self.header is None

    def reviewer(self, request: Request) -> str | None:
        """Who asks; None where that is not known."""
        if self.is_open:
            return self.anybody
        if self.header is not None and request.client is not None and request.client.host in self.proxies:
            named = request.headers.getlist(self.header)
            if len(named) == 1 and named[0].strip():
                return named[0].strip()[:MOST]
        found = request.session.get("reviewer")
        return found if self.tokens and found in self.tokens.values() else None

    @property
    def reviewers(self) -> int | None:
        """How many there are; None where a proxy says who they are."""
        if self.header is not None:
            return None
        return len(set(self.tokens.values())) or 1

    def of_token(self, token: str) -> str | None:
        """Whose token that is; every wrong one takes the same time."""
        given = hashlib.sha256(token.encode()).digest()
        matching = [name for known, name in self.tokens.items() if hmac.compare_digest(known, given)]
        return matching[0] if matching else None


def read_tokens(path: Path) -> Access:
    """Access by the tokens in a file: a line each, the reviewer's name and his token.

    Raises:
        UsageError: the file cannot be read, or a line is none; a token that is short or there twice.
    """
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"token file {path} cannot be read: {error}") from error
    tokens: dict[bytes, str] = {}
    for number, line in enumerate(lines, 1):
        name, _, token = line.strip().rpartition(" ")
        if not name.strip() or len(token) < LEAST or len(name) > MOST:
            raise UsageError(
                f"line {number} of token file {path}: expected a name, a space, and a token of at least {LEAST} "
                "characters without spaces; python -c 'import secrets; print(secrets.token_urlsafe())' makes one"
            )
        digest = hashlib.sha256(token.encode()).digest()
        if digest in tokens:
            raise UsageError(f"line {number} of token file {path} has the token of another line; give each his own")
        tokens[digest] = name.strip()
    if not tokens:
        raise UsageError(f"token file {path} is empty, expected a line for each reviewer: name and token")
    secret = hmac.new(b"ce-detect console sessions", b"".join(sorted(tokens)), "sha256").hexdigest()
    return Access(tokens=tokens, secret=secret)


def csrf(request: Request) -> str:
    """What a form of this session must bring along."""
    if "csrf" not in request.session:
        request.session["csrf"] = secrets.token_urlsafe(24)
    return str(request.session["csrf"])


def is_ours(request: Request, token: object) -> bool:
    """Whether a form was sent from a page of ours: it has the token of the session, and no foreign origin."""
    expected, site = request.session.get("csrf"), request.headers.get("sec-fetch-site", "same-origin")
    if site not in ("same-origin", "none") or not isinstance(token, str) or not isinstance(expected, str):
        return False
    return hmac.compare_digest(expected.encode(), token.encode())
