"""The stream of server-sent events: all that is known, then what happens, to as many pages as there is room for.

An event stream lasts, so there are bounds to how many there are (`Streams`): per address and in all, and the newest wins. Whoever has
to leave is told to come back in half a minute, and gets all anew; one that does not read what is sent to it is dropped.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

from aiohttp import web

from pipeline.dashboard.board import Board, Event
from pipeline.operations.listening import Connection, connection

MAX_STREAMS = 64
"""Event streams in all."""
MAX_STREAMS_PER_ADDRESS = 32
"""Fewer than the connections of an address, so that its pages still load."""
COME_BACK = 30
"""Seconds until a page that had to leave connects again."""
READ_WITHIN = 10.0
"""Seconds for a page to make room for what is written to it."""
_HEARTBEAT = 15.0


class _Stream:
    """An open event stream, and whether it has to leave."""

    def __init__(self, wire: Connection, queue: asyncio.Queue[Event | None]) -> None:
        self.wire = wire
        self.leaves = False
        self._queue = queue

    def leave(self) -> None:
        """Ask it to end; it is dropped where it does not."""
        self.leaves = True
        while not self._queue.empty():
            self._queue.get_nowait()
        self._queue.put_nowait(None)
        asyncio.get_running_loop().call_later(1.0, self.wire.drop)


class Streams:
    """The open event streams, oldest first. A new one finds room: where there are too many, the oldest leaves."""

    def __init__(self) -> None:
        self._open: dict[_Stream, None] = {}

    @contextmanager
    def place(self, stream: _Stream) -> Iterator[None]:
        """While the context lasts, the stream has a place."""
        mine = [s for s in self._open if s.wire.address == stream.wire.address]
        if len(mine) >= MAX_STREAMS_PER_ADDRESS:
            self._end(mine[0])
        elif len(self._open) >= MAX_STREAMS:
            held = Counter(s.wire.address for s in self._open)
            self._end(max(self._open, key=lambda s: held[s.wire.address]))  # the oldest of the address with the most
        self._open[stream] = None
        try:
            yield
        finally:
            self._open.pop(stream, None)

    def _end(self, stream: _Stream) -> None:
        del self._open[stream]
        stream.leave()


def events(board: Board, streams: Streams) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """What answers a page that listens: all that the board knows, then each event as it comes."""

    async def answer(request: web.Request) -> web.StreamResponse:
        said = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        if request.method == "HEAD":
            return said
        wire = connection(request)

        async def write(text: bytes) -> None:
            async with asyncio.timeout(READ_WITHIN):
                await said.write(text)

        with board.listener() as queue:
            stream = _Stream(wire, queue)
            with streams.place(stream), suppress(ConnectionError):  # the page was closed
                wire.lift()
                try:
                    await said.prepare(request)
                    await write(b"retry: 1000\n\n")
                    while True:
                        try:
                            event = await asyncio.wait_for(queue.get(), _HEARTBEAT)
                        except TimeoutError:
                            await write(b"event: beat\ndata: 1\n\n")
                            continue
                        if event is None:  # too slow, or one too many: the browser connects again and gets all anew
                            if stream.leaves:
                                await write(b"retry: %d\n\n" % (COME_BACK * 1000))
                            return said
                        name, body = event
                        await write(b"event: " + name.encode() + b"\ndata: " + body + b"\n\n")
                except TimeoutError:  # nobody reads it
                    wire.drop()
        return said

    return answer
