"""Receivers that misbehave: nothing that one answers ends a sink, and none gets an alert for ever that it has taken."""

from __future__ import annotations

import asyncio
import gzip
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from alert_logs import Log, Row, stream
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from pipeline.alerts.sinks import alertmanager
from pipeline.alerts.sinks.alertmanager import AlertStates
from pipeline.alerts.sinks.post import Attempt, Poster, retry_after


@asynccontextmanager
async def speaking(*answers, then=b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"):
    """A server that says these bytes, one after the other, whatever it is asked; a callable writes them itself."""
    left, taken = list(answers), []

    async def talk(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        taken.append(await reader.readexactly(length))
        answer = left.pop(0) if left else then
        try:
            if callable(answer):
                await answer(writer)
            else:
                writer.write(answer.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
                await writer.drain()
        except ConnectionError:
            pass
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook", taken
    finally:
        server.close()


def waits():
    waited = []

    async def sleep(seconds):
        waited.append(seconds)

    return waited, sleep


async def drips_for_ever(writer):
    writer.write(b"HTTP/1.1 503 Away\r\nContent-Length: 1000000\r\nRetry-After: 3\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.05)


async def drips_its_head(writer):
    for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 10_000:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.05)


async def resets(writer):
    writer.transport.abort()


async def floods(writer):
    writer.write(b"HTTP/1.1 500 No\r\nContent-Length: 10000000000\r\n\r\n")
    for _ in range(200_000):
        writer.write(b"x" * 65_536)
        await writer.drain()


BOMB = gzip.compress(bytes(50 << 20))
ODD = {
    "no HTTP": b"SSH-2.0-OpenSSH\r\n\r\n",
    "nothing": b"",
    "half a head": b"HTTP/1.1 200",
    "a status that is none": b"HTTP/1.1 9999 Huh\r\n\r\n",
    "a head without end": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    "a cookie that is none": b"HTTP/1.1 500 No\r\nSet-Cookie: \xff\xfe=;;=\r\nContent-Length: 0\r\n\r\n",
    "a length that is none": b"HTTP/1.1 500 No\r\nContent-Length: many\r\n\r\n",
    "chunks that are none": b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a bomb": b"HTTP/1.1 500 No\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB) + BOMB,
    "what is no gzip": b"HTTP/1.1 500 No\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
    "a redirect to nowhere": b"HTTP/1.1 301 Moved\r\nLocation: http://[::1\r\nContent-Length: 0\r\n\r\n",
    "a superscript": "HTTP/1.1 503 Away\r\nRetry-After: ²\r\nContent-Length: 0\r\n\r\n".encode(),
    "a reset": resets,
    "a flood": floods,
    "a drip": drips_for_ever,
    "a head that drips": drips_its_head,
}


@pytest.mark.parametrize("answer", ODD.values(), ids=ODD.keys())
async def test_whatever_a_receiver_answers_it_is_tried_again(answer):
    waited, sleep = waits()
    async with speaking(answer) as (url, taken), Poster(url, sleep=sleep, timeout=0.5) as poster:
        with capture_logs() as logs:
            assert await asyncio.wait_for(poster.post(b"{}"), 30)
    assert taken == [b"{}"] * 2
    assert len(waited) == len(logs) == 1
    assert logs[0]["reason"].isprintable()
    assert len(logs[0]["reason"]) < 1_000


async def test_a_refusal_is_one_although_its_reason_never_ends():
    async def drips(writer):
        writer.write(b"HTTP/1.1 400 No\r\nContent-Length: 1000\r\n\r\n")
        await asyncio.sleep(60)

    async with speaking(drips) as (url, taken), Poster(url, timeout=30) as poster:
        assert not await asyncio.wait_for(poster.post(b"{}"), 20)
    assert len(taken) == 1


async def test_taken_is_taken_although_the_rest_of_the_answer_never_comes():
    async def drips(writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        await asyncio.sleep(60)

    async with speaking(drips) as (url, taken), Poster(url, timeout=30) as poster:
        assert await asyncio.wait_for(poster.post(b"{}"), 20)
    assert len(taken) == 1


async def test_a_receiver_that_is_slower_than_the_time_out_gets_more_time_and_then_each_alert_once():
    async def slow(writer):
        await asyncio.sleep(1.0)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    _, sleep = waits()
    async with speaking(then=slow) as (url, taken), Poster(url, timeout=0.4, sleep=sleep) as poster:
        with capture_logs() as logs:
            assert await poster.post(b'"a"')
            tried = len(taken)
            assert await poster.post(b'"b"')
    assert 2 <= tried <= 6
    assert taken[tried:] == [b'"b"']
    assert "raise --timeout" in logs[0]["reason"]


def http_date(moment):
    return format_datetime(moment, usegmt=True)


def test_retry_after_is_seconds_or_a_date():
    now = datetime.now(UTC)
    assert retry_after("120") == 120
    assert retry_after("0") == 0
    assert retry_after("Sun, 06 Nov 1994 08:50:07 GMT", "Sun, 06 Nov 1994 08:49:37 GMT") == 30
    assert 50 < retry_after(http_date(now + timedelta(seconds=60))) <= 60
    assert retry_after(http_date(now - timedelta(days=1))) == 0


@pytest.mark.parametrize("text", ["9" * 5_000, "99999", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_an_absurd_retry_after_is_five_minutes(text):
    assert retry_after(text) == 300


@given(st.one_of(st.text(), st.from_regex(r"\w{3}, \d{1,3} \w{3} \d{1,6} \d+:\d+:\d+ [\w+-]*")))
def test_no_retry_after_is_beyond_us(text):
    assert 0 <= retry_after(text, text) <= 300


class Receiver:
    """Alertmanager as `_tell` sees it: refuses every post that holds one of `bad`."""

    receiver = "r"

    def __init__(self, *bad, away=()):
        self.bad, self.away, self.told, self.posts = set(bad), list(away), [], 0

    async def attempt(self, body):
        self.posts += 1
        if self.away:
            return Attempt("away", self.away.pop(0))
        series = [a["labels"]["series"] for a in json.loads(body)]
        if self.bad & set(series):
            return Attempt("refused")
        self.told += series
        return Attempt("taken")


def firing(count):
    states = AlertStates()
    for i in range(count):
        (alert,) = Log(stream()).run([Row(f"s{i}", 0, 5.0)])
        states.take(alert)
    return states


async def test_one_alert_that_alertmanager_refuses_takes_no_other_with_it():
    receiver = Receiver("s7", "s41")
    assert await alertmanager._tell(receiver, firing(100).to_tell(timedelta(minutes=1))) is None
    assert sorted(receiver.told) == sorted(f"s{i}" for i in range(100) if i not in (7, 41))
    assert receiver.posts < 40


async def test_alertmanager_is_left_alone_as_it_asks_whatever_changes(monkeypatch):
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    receiver, changed = Receiver(away=[0, 20, 500, 0]), asyncio.Event()
    changed.set()
    monkeypatch.setattr("pipeline.alerts.sinks.alertmanager.asyncio.sleep", sleep)
    work = asyncio.create_task(alertmanager._keep_telling(receiver, firing(2), timedelta(seconds=60), changed))
    async with asyncio.timeout(20):
        while not receiver.told:
            await asyncio.wait([work], timeout=0.01)
    work.cancel()
    assert slept == [1, 20, 60, 8]
