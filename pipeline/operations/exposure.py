"""Who may ask our HTTP servers: loopback alone needs no token; beyond it there is none without one.

On loopback without a token only who names a loopback address is answered. Else a page of a foreign site whose name is made to
point here (DNS rebinding) could read what it likes through the visitor's browser.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from urllib.parse import urlsplit

from pipeline.errors import SettingsError

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Of every answer; a server that serves a page widens the policy by what the page needs (`pipeline.operations.listening` sets them)."""

MIN_TOKEN = 16
"""Characters of a token; shorter ones can be guessed over a network."""


def check_exposure(host: str, token: str, *, server: str, mend: str) -> None:
    """Raise SettingsError where a server would be open to other machines without a token, or with one that can be guessed.

    Parameters
    ----------
    server, mend
        For the message: which address setting is meant, and where a token is set.
    """
    if token and len(token) < MIN_TOKEN:
        msg = f"the token of {mend} has {len(token)} characters; take at least {MIN_TOKEN}, such as {secrets.token_urlsafe(6)}..."
        raise SettingsError(msg)
    if not loopback(host) and not token:
        msg = f"{server} {host} is reachable from other machines: set {mend} to a secret of your own"
        raise SettingsError(msg)


def loopback(host: str) -> bool:
    """Whether an address, or the name `localhost`, is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def named_loopback(host_header: str | None) -> bool:
    """Whether a request's Host header names a loopback address, with or without a port; none at all is no browser's."""
    if host_header is None:
        return True
    try:
        parts = urlsplit(f"//{host_header}")
        _ = parts.port  # raises where it is no number
    except ValueError:
        return False
    plain = parts.netloc == host_header and "@" not in host_header
    return plain and loopback(parts.hostname or "")


def same(given: str, token: str) -> bool:
    """Compare in a time that does not tell how much of it is right."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())


def bearer(authorization: str | None) -> str:
    """The token of an Authorization header; empty where it holds none."""
    scheme, _, given = (authorization or "").partition(" ")
    return given.strip() if scheme.lower() == "bearer" else ""
