"""The address of a schema registry."""

from __future__ import annotations

from urllib.parse import urlsplit


def check_url(url: str) -> None:
    """Raises ValueError where it is no address of a registry; the error repeats no part of it."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ValueError("write it as http://host:8081 or https://host/path")
    if parts.username is not None or parts.password is not None:
        raise ValueError("it holds a user or password: set registry.username and registry.password in its place")
    if parts.query or parts.fragment:
        raise ValueError("write it without ? and #")
