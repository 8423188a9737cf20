"""Schemas from a registry with Confluent's interface (Confluent's own, Karapace, Redpanda, Apicurio below /apis/ccompat/v7).

What a registry says of an id never changes, so each schema is fetched once. Where it says that it knows none, or what it says cannot be
used, that is the answer (`Unknown`). Where it does not answer, refuses, or something else answers in its place, nobody knows, and
the caller has to wait (`RegistryError`): no record becomes a dead letter because a registry is away.

Confluent's Python client is not used for these two requests: it reads answers of any size, needs four more packages, and gives
readers that know no bounds.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote, urlsplit

import aiohttp
import msgspec

from producers.errors import RegistryError
from producers.formats.base import Reason, Unusable, shown
from producers.formats.registry.address import check_url
from producers.formats.registry.schemas import JSON, MOST_SCHEMAS, Schema, Unknown

MAX_SCHEMA = 1 << 20
"""Bytes of an answer."""
MAX_REFERENCES = 100
"""Schemas that one refers to, itself or through others."""
_AT_ONCE = 8
_NOT_FOUND = range(40400, 40500)


class _Reference(msgspec.Struct, gc=False):
    name: str
    subject: str
    version: int


class _Answer(msgspec.Struct, gc=False, rename="camel"):
    schema: str
    schema_type: str | None = None
    references: list[_Reference] | None = None


class _Problem(msgspec.Struct, gc=False):
    error_code: int


_answer = msgspec.json.Decoder(_Answer)
_problem = msgspec.json.Decoder(_Problem)


class Registry:
    """A schema registry.

    Parameters
    ----------
    url
        http:// or https:// address, with the path below which `/schemas/ids` lies.
    username, password
        For basic authentication; none where the username is empty.
    token
        Sent as bearer token in their place.
    ca_file
        PEM file of the authority that signed its certificate; None: those of the system.
    timeout
        Seconds that one answer may take.

    Raises
    ------
    ValueError
        The address is none.
    """

    def __init__(
        self,
        url: str,
        *,
        username: str = "",
        password: str = "",
        token: str = "",
        ca_file: Path | None = None,
        timeout: float = 5.0,
    ) -> None:
        check_url(url)
        self.name = f"{urlsplit(url).scheme}://{urlsplit(url).netloc}"
        self._url = url.rstrip("/")
        self._headers = {
            "Accept": "application/vnd.schemaregistry.v1+json, application/json",
            "Accept-Encoding": "identity",  # what is packed is not unpacked here: its size would be unknown
        }
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        elif username:
            self._headers["Authorization"] = aiohttp.BasicAuth(username, password, "utf-8").encode()
        self._ssl = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._patience = timeout
        self._known: dict[int, Schema] = {}

    async def fetch(self, ids: Iterable[int]) -> dict[int, Schema | Unknown]:
        """The schemas of these ids. Raises RegistryError where the registry cannot be asked; what it told before that is kept."""
        wanted = sorted(set(ids))
        found: dict[int, Schema | Unknown] = {i: self._known[i] for i in wanted if i in self._known}
        asked = [i for i in wanted if i not in found]
        if asked:
            async with aiohttp.ClientSession(
                headers=self._headers, timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
            ) as session:
                for start in range(0, len(asked), _AT_ONCE):
                    some = asked[start : start + _AT_ONCE]
                    found |= zip(some, await asyncio.gather(*(self._schema(session, i) for i in some)), strict=True)
        return found

    def fetch_now(self, ids: Iterable[int]) -> dict[int, Schema | Unknown]:
        """The same, for callers that are no coroutine."""
        return asyncio.run(self.fetch(ids))

    async def _schema(self, session: aiohttp.ClientSession, schema: int) -> Schema | Unknown:
        try:
            answer = await self._ask(session, f"schemas/ids/{schema}")
            if isinstance(answer, Unknown):
                return answer
            files: dict[str, str] = {}
            await self._references(session, answer, files, set())
            made = await asyncio.to_thread(_made, answer, files)
        except Unusable as error:
            return Unknown(error.reason, error.detail)
        if len(self._known) >= MOST_SCHEMAS:
            self._known.clear()
        self._known[schema] = made
        return made

    async def _references(
        self, session: aiohttp.ClientSession, of: _Answer, files: dict[str, str], seen: set[str]
    ) -> None:
        """Put what a schema refers to into `files`, each behind what it refers to itself."""
        for reference in of.references or ():
            if reference.name in seen:
                continue
            seen.add(reference.name)  # before what it refers to: two may refer to each other
            if len(seen) > MAX_REFERENCES:
                raise Unusable(Reason.TOO_LARGE, f"it refers to more than {MAX_REFERENCES} others")
            subject = quote(reference.subject, safe="")
            answer = await self._ask(session, f"subjects/{subject}/versions/{reference.version}")
            if isinstance(answer, Unknown):
                raise Unusable(answer.reason, f"it refers to {shown(reference.name)}, which the registry does not know")
            await self._references(session, answer, files, seen)
            files[reference.name] = answer.schema

    async def _ask(self, session: aiohttp.ClientSession, path: str) -> _Answer | Unknown:
        """What the registry says; Unknown where it says that there is no such. Raises RegistryError, Unusable."""
        try:
            async with session.get(f"{self._url}/{path}", ssl=self._ssl, allow_redirects=False) as answer:
                status, kind = answer.status, answer.content_type
                body = await _bounded(answer)
        except TimeoutError:
            raise self._away(f"no answer within {self._patience:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            why = str(error.os_error) if isinstance(error, aiohttp.ClientConnectorError) else type(error).__name__
            raise self._away(shown(why)) from None
        if status == 404:
            try:
                known = _problem.decode(body).error_code in _NOT_FOUND
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                known = False
            if known:
                return Unknown(Reason.UNDECODABLE, f"the registry at {self.name} does not know it", lasting=False)
            raise self._away("404, and no word of a schema registry: is registry.url its whole address?")
        if status in (401, 403):
            raise self._away(f"{status}, it refuses: see registry.username and registry.password")
        if status != 200:
            raise self._away(f"it answers {status}")
        if len(body) > MAX_SCHEMA and "json" in kind:
            raise Unusable(Reason.TOO_LARGE, f"it is larger than {MAX_SCHEMA >> 20} MiB")
        try:
            return _answer.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise self._away(f"its answer is none of a schema registry ({shown(kind)})") from None

    def _away(self, why: str) -> RegistryError:
        return RegistryError(f"the schema registry at {self.name} cannot be asked: {why}")


async def _bounded(answer: aiohttp.ClientResponse) -> bytes:
    """The body, and no more of it than shows that it is too large."""
    parts, size = [], 0
    async for part in answer.content.iter_chunked(1 << 16):
        parts.append(part)
        size += len(part)
        if size > MAX_SCHEMA:
            break
    return b"".join(parts)


def _made(answer: _Answer, files: dict[str, str]) -> Schema:
    """A reader of the schema. Raises Unusable, RegistryError."""
    kind = answer.schema_type or "AVRO"
    if kind == "JSON":
        return JSON
    if kind == "AVRO":
        from producers.formats.registry import avro  # only where it is needed

        return avro.schema_of(answer.schema, list(files.values()))
    if kind == "PROTOBUF":
        from producers.formats.registry import protobuf

        return protobuf.schema_of(answer.schema, files)
    raise Unusable(Reason.UNDECODABLE, f"its type {shown(kind)} is none of AVRO, JSON and PROTOBUF")
