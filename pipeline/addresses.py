"""Addresses in settings, parsed when they are read: a client library would do it later, and say in its error what stands in them.

Every function raises ValueError with words that hold nothing of the address but hosts and ports that came after its last `@`.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?")
_ENCODE = "write its /, #, ?, @ and % as %2F, %23, %3F, %40 and %25"
REDIS_PORT, SENTINEL_PORT = 6379, 26379


@dataclass(frozen=True)
class RedisAddress:
    """Where Redis is.

    Attributes
    ----------
    hosts
        (host, port): one, or the sentinels.
    master
        The name that sentinels know it by; empty: no sentinels.
    path
        Of a socket; empty: TCP.
    """

    tls: bool = False
    hosts: tuple[tuple[str, int], ...] = ()
    master: str = ""
    path: str = ""
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    database: int = 0
    sentinel_username: str | None = field(default=None, repr=False)
    sentinel_password: str | None = field(default=None, repr=False)

    @property
    def shown(self) -> str:
        """For messages: without user and password."""
        if self.path:
            return self.path
        hosts = ",".join(f"[{h}]:{p}" if ":" in h else f"{h}:{p}" for h, p in self.hosts)
        return f"{hosts} ({self.master})" if self.master else hosts


def redis_address(url: str) -> RedisAddress:
    """Parse `redis://[user:password@]host:port/db`, `rediss://`, `unix:///path?db=0`, and for sentinels
    `redis+sentinel://[user:password@]host:port,host:port/master[/db][?sentinel_username=u&sentinel_password=p]`, `rediss+sentinel://`.

    >>> redis_address("redis+sentinel://:x@a:1,b/mymaster/3").shown
    'a:1,b:26379 (mymaster)'
    """
    scheme, separator, _ = url.partition("://")
    if not separator or scheme not in ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel"):
        raise ValueError("it begins with redis://, rediss://, unix://, redis+sentinel:// or rediss+sentinel://")
    netloc, path, query = _parts(url)
    credentials, _, hosts = netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    options = dict(parse_qsl(query, keep_blank_values=True))
    known = (
        {"db"} if scheme == "unix" else {"db", "sentinel_username", "sentinel_password"} if "+" in scheme else {"db"}
    )
    if not set(options) <= known:
        raise ValueError(f"after the ? it may hold {', '.join(sorted(known))} only")
    names = [unquote(part) for part in path.strip("/").split("/") if part]
    master = ""
    hosts_found: tuple[tuple[str, int], ...] = ()
    if scheme == "unix":
        if not path.strip("/"):
            raise ValueError("unix:// is followed by the path of a socket, unix:///run/redis.sock")
        names = []
    else:
        hosts_found = host_list(hosts, SENTINEL_PORT if "+" in scheme else REDIS_PORT)
        if "+" in scheme:
            if not names:
                raise ValueError(
                    "after the sentinels stands the name of the master, redis+sentinel://host:26379/mymaster"
                )
            master = names.pop(0)
        elif len(hosts_found) > 1:
            raise ValueError(
                "it names several hosts: sentinels are redis+sentinel://...; of a cluster name one node and set redis.cluster"
            )
    database = options.get("db", names[0] if names else "0")
    if len(names) > 1 or not database.isdecimal() or len(database) > 5:
        raise ValueError("the database at its end is a number")
    return RedisAddress(
        tls=scheme.startswith("rediss"), hosts=hosts_found, master=master, path=unquote(path) if scheme == "unix" else "",
        username=unquote(user) or None, password=unquote(password) or None, database=int(database),
        sentinel_username=options.get("sentinel_username") or None, sentinel_password=options.get("sentinel_password") or None,
    )  # fmt: skip


def host_list(text: str, default_port: int | None = None) -> tuple[tuple[str, int], ...]:
    """`host:port,host:port`, IPv6 in brackets.

    >>> host_list("a:1, [::1]:2")
    (('a', 1), ('::1', 2))
    """
    return tuple(_host(part.strip(), default_port) for part in text.split(","))


def receiver(url: str) -> str:
    """The scheme, host and port of an http(s) address, which is what may be shown of it.

    >>> receiver("https://user:secret@hooks.example:8443/T0/B0/secret")
    'https://hooks.example:8443'
    """
    scheme, separator, _ = url.partition("://")
    if not separator or scheme.lower() not in ("http", "https"):
        raise ValueError("it begins with http:// or https://")
    netloc, _, _ = _parts(url)
    host, port = _host(netloc.rpartition("@")[2], 0)
    return f"{scheme.lower()}://{f'[{host}]' if ':' in host else host}{f':{port}' if port else ''}"


def _parts(url: str) -> tuple[str, str, str]:
    """Host part, path and query."""
    if any(c.isspace() or not c.isprintable() for c in url):
        raise ValueError("it holds a blank or a control character")
    rest = url.partition("://")[2]
    if "#" in rest:
        raise ValueError(f"it holds a #: if a password does, {_ENCODE}")
    end = min((rest.index(c) for c in "/?" if c in rest), default=len(rest))
    netloc, after = rest[:end], rest[end:]
    if "@" in after.partition("?")[0] or netloc.count("@") > 1:
        raise ValueError(f"its password holds a character that ends it: {_ENCODE}")
    path, _, query = after.partition("?")
    return netloc, path, query


def _host(text: str, default_port: int | None) -> tuple[str, int]:
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            raise ValueError("an IPv6 address stands in brackets, [::1]:6379")
        try:
            ipaddress.IPv6Address(host.partition("%")[0])
        except ValueError:
            raise ValueError("what stands in brackets is no IPv6 address") from None
        port = rest[1:] if rest else ""
        given = bool(rest)
    else:
        host, colon, port = text.partition(":")
        given = bool(colon)
        if not _NAME.fullmatch(host):
            raise ValueError("a host name is missing or wrong" if host else "a host name is missing")
    if not given and default_port is not None:
        return host, default_port
    if not (port.isascii() and port.isdecimal() and 0 < int(port[:6]) <= 65535 and len(port) <= 5):
        raise ValueError("a port is a number from 1 to 65535" if given else "a port is missing, host:port")
    return host, int(port)
