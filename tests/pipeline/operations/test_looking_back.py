"""What the log says again, beside a worker that said it: explanations, and other settings tried on the same log."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from browser import browser_page
from operated_stream import START, STEP, OperatedStream, observations, write_model
from pydantic import SecretStr

from pipeline.alerts.records import rfc3339
from pipeline.alerts.subscribe import AlertSubscriber
from pipeline.dashboard.points import Points
from pipeline.dashboard.server import serving
from pipeline.embedded.servers import start_redis
from pipeline.operations.looking_back.evidence import Strongest, strongest
from pipeline.operations.looking_back.replaying import Place
from pipeline.partition.deciding.decisions import unpacked
from pipeline.partition.stores.base import Checkpoint
from pipeline.partition.stores.redis import RedisStore
from pipeline.settings import RedisSettings, load_settings
from producers.batches import Batch, encode

pytestmark = pytest.mark.kafka

SPIKE, LAST = 250, 300
LATE = b'{"series":"quiet","timestamp":%d,"value":10.0}' % (START + STEP * 100 + 1)


@pytest.fixture(scope="module")
def stream(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatedStream]:
    """A worker has been here: one spike that fired, a silence decided behind it, a second spike, and an observation that came late."""
    folder = tmp_path_factory.mktemp("stream")
    with ExitStack() as running:
        redis = running.enter_context(start_redis(folder / "redis"))
        made = OperatedStream(folder, kafka, redis.url, write_model(folder / "quiet.model"), running=running)
        [own] = json.loads(made.environment["TIDEWATCH_STREAMS"])
        made.more = {"TIDEWATCH_STREAMS": json.dumps([own | {"score_topic": f"{made.name}.scores"}])}
        made.create_topic()
        worker = made.start()
        made.send(*observations(0, LAST, SPIKE))
        made.wait(lambda: stored(made) == LAST, worker)
        AT_LAST[made.name] = kept(made)
        done = made.run("silence", made.name, "qui*", "--until", "2030-01-01T00:00Z", "--wait")
        assert done.exit_code == 0, (done.output, done.exception)
        made.send(*observations(LAST, LAST + 50, LAST + 20), LATE)
        made.wait(lambda: stored(made) == LAST + 51, worker)
        made.stop(worker)
        ROWS[made.name] = LAST + 49
        yield made


ROWS: dict[str, int] = {}
"""The newest row that was sent to a stream."""

AT_LAST: dict[str, Checkpoint] = {}
"""The state of a stream when its worker was at offset `LAST`."""


def kept(stream: OperatedStream, *snapshots: Checkpoint) -> Checkpoint:
    """The state that Redis holds now; with these snapshots of it instead of those that are there, where there are any."""

    async def exchange() -> Checkpoint:
        store = RedisStore(RedisSettings(url=SecretStr(stream.redis), prefix=stream.name))
        last = await store.peek(stream.name, 0)
        assert last is not None
        if snapshots:
            await store.put(stream.name, 0, replace(last, offset=0, sequence=0))
            claim = await store.claim(stream.name, 0)
            for day, (made, at) in enumerate([*((s, True) for s in snapshots), (last, False)]):
                claim = await store.save(
                    claim, made.offset, made.identity, made.fields, write_id=str(day), replace=True,
                    snapshot=86_400_000 * (day + 1) if at else None,
                )  # fmt: skip
        await store.close()
        return last

    return asyncio.run(exchange())


def stored(stream: OperatedStream) -> int | None:
    """Offset of the stored state; the group's coordinator need not be there yet."""
    return next((p["offset"] for p in stream.shown()), None)


def explained(stream: OperatedStream, row: int, *words: str) -> dict[str, Any]:
    at = rfc3339(START + STEP * row)
    done = stream.run("explain", stream.name, "quiet", "--at", at, "--json", *words)
    assert done.exit_code == 0, (done.output, done.exception)
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def test_an_alert_is_explained_as_the_worker_published_it(stream: OperatedStream) -> None:
    published = [a for a in stream.alerts() if a["evidence"]["offset"] == SPIKE]
    told = explained(stream, SPIKE)
    assert [(a["id"], a["sequence"]) for a in told["alerts"]] == [(a["id"], a["sequence"]) for a in published]
    assert told["verdict"].startswith("a record was published: anomaly (firing")
    assert (told["observed"], told["offset"], told["warm"]) == ([60.0], SPIKE, True)
    assert told["score"] == published[0]["score"]
    assert told["level"] == 4.0
    assert told["window"][-1] == [60.0]
    assert told["members"]["zscore"]["calibrated"] == told["score"]


def test_what_is_normal_is_explained_by_its_level(stream: OperatedStream) -> None:
    told = explained(stream, 200)
    assert told["verdict"] == f"no alert: its score {told['score']:.2f} is below the level 4.00"
    assert (told["alerts"], told["status"]) == ([], "inactive")


def test_a_silence_that_was_taken_before_it_is_named_and_one_behind_it_is_not(stream: OperatedStream) -> None:
    told = explained(stream, LAST + 20)
    assert "nobody is told: silenced by decision 3" in told["verdict"]
    assert (told["silences"], told["decision"]) == ([3], 3)
    assert (explained(stream, SPIKE)["silences"], explained(stream, SPIKE)["decision"]) == ([], 2)


def test_a_time_between_two_observations_means_the_one_before(stream: OperatedStream) -> None:
    done = stream.run("explain", stream.name, "quiet", "--at", rfc3339(START + STEP * 200 + 59_000))
    assert f"at {rfc3339(START + STEP * 200)}, partition 0, offset 200" in done.output
    assert "replayed     from the log's beginning" in done.output


def test_a_late_observation_is_explained_as_late(stream: OperatedStream) -> None:
    told = explained(stream, 100)
    assert told["offset"] == 100
    done = stream.run("explain", stream.name, "quiet", "--at", rfc3339(START + STEP * 100 + 1), "--json")
    assert "it came late" in json.loads(done.stdout.splitlines()[-1])["verdict"]


def test_of_a_part_of_the_log_it_is_said_that_it_is_one(stream: OperatedStream) -> None:
    told = explained(stream, LAST + 45, "--records", "30")
    assert (told["warm"], told["replayed_from"]) == (False, LAST + 21)
    assert told["verdict"].startswith("no alert")
    assert "no observation of series other" in stream.refused("explain", stream.name, "other")
    assert "no 7" in stream.refused("explain", stream.name, "quiet", "--partition", "7")


def test_other_settings_are_tried_on_the_same_log_and_nothing_is_changed(stream: OperatedStream) -> None:
    before = len(stream.alerts())
    done = stream.run("apply", stream.name, "--dry-run", "--set", "threshold.level=11.5", "--days", "1000", "--json")
    assert done.exit_code == 0, (done.output, done.exception)
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["changes"]["threshold.level"] == [4.0, 11.5]
    trial = told["trial"]
    assert [b["starts_at"] for b in trial["now"]] == [rfc3339(START + STEP * r) for r in (SPIKE, LAST + 20)]
    assert (trial["then"], trial["gone"], trial["new"]) == ([], trial["now"], [])
    assert (trial["records"], trial["warm"]) == (LAST + 51, True)
    assert len(stream.alerts()) == before
    done = stream.run("apply", stream.name, "--dry-run", "--set", "threshold.level=11.5", "--days", "1000")
    assert f"2 alerts now, 0 then\n  - {rfc3339(START + STEP * SPIKE)}" in done.output
    assert done.output.endswith("nothing was changed (--dry-run)\n")


def test_what_is_no_setting_is_refused(stream: OperatedStream) -> None:
    assert "threshold.levle" in stream.refused("apply", stream.name, "--dry-run", "--set", "threshold.levle=3")
    assert "goes with --dry-run" in stream.refused("apply", stream.name, "--set", "threshold.level=3")


@pytest.mark.parametrize("scored", [True, False])
async def test_the_page_draws_the_points_of_scores_or_of_observations(
    stream: OperatedStream, scored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in stream.environment.items():
        monkeypatch.setenv(name, value)
    settings = load_settings(None)
    if not scored:
        bare = settings.streams[0].model_copy(update={"score_topic": ""})
        settings = settings.model_copy(update={"streams": (bare,)})
    store = RedisStore(settings.redis)
    points = Points(settings, store)
    try:
        assert await points.names(stream.name, "QUI") == {"of": 1, "fitting": 1, "names": ["quiet"]}
        found = await points.points(stream.name, "quiet")
        few = await points.points(stream.name, "quiet", 10)
    finally:
        await store.close()
    at = {p["t"]: p for p in found["points"]}
    spike = at[START + STEP * SPIKE]
    assert (found["source"], spike["observed"]) == ("scores" if scored else "observations", [60.0])
    assert len(few["points"]) <= 10
    assert list(at) == sorted(at)
    if scored:
        [said] = [a for a in stream.alerts() if a["evidence"]["offset"] == SPIKE]
        assert spike["score"] == said["score"]
        assert (spike["threshold"], spike["alarm"]) == (4.0, None)
        assert spike["expected"] == said["expected"]
        band = said["band"] or {}
        assert (spike["lower"], spike["upper"]) == (band.get("lower"), band.get("upper"))
    else:
        assert len(at) == LAST + 51  # the late one too


def test_of_a_record_with_many_observations_the_one_that_is_meant_is_explained(stream: OperatedStream) -> None:
    rows = [LAST + 51, LAST + 52, LAST + 53, LAST + 54, LAST + 55]
    times = [*(START + STEP * r for r in rows), START + STEP * 5 + 7]  # the last one is late, in the same record
    values = np.array([10.0, 10.0, 60.0, 10.0, 10.0, 10.0])
    stream.send(encode(Batch(["quiet"], np.zeros(6, np.int64), np.array(times), values.reshape(-1, 1))))
    ROWS[stream.name] = LAST + 55
    told = explained(stream, LAST + 53)
    assert (told["offset"], told["observed"]) == (LAST + 51, [60.0])
    assert (
        told["verdict"] == f"no alert: its score {told['score']:.2f} is below the level 4.00"
    )  # the third of its kind
    assert len(told["window"]) == 24
    assert told["window"][-3:] == [[10.0], [10.0], [60.0]]  # as it was then: the record's later ones are not in it
    done = stream.run("explain", stream.name, "quiet", "--at", rfc3339(times[-1]), "--json")
    late = json.loads(done.stdout.splitlines()[-1])
    assert (late["offset"], "it came late" in late["verdict"]) == (LAST + 51, True)


FROM = ("replayed_from", "snapshot", "began")


def from_the_log(stream: OperatedStream, row: int) -> dict[str, Any]:
    """What is said of an observation where there are no snapshots."""
    assert stream.run("state", "snapshots", stream.name, "--keep", "0").exit_code == 0
    told = explained(stream, row)
    assert (told["replayed_from"], told["snapshot"], told["began"]) == (0, None, "not known yet")
    return {name: said for name, said in told.items() if name not in FROM}


def test_the_worker_keeps_a_snapshot(stream: OperatedStream) -> None:
    done = stream.run("state", "snapshots", stream.name, "--json")
    [told] = [json.loads(line) for line in done.stdout.splitlines()]
    assert (told["partition"], 0 < told["offset"] <= LAST) == (0, True)
    later = explained(stream, LAST + 45)
    assert (later["replayed_from"], later["snapshot"], later["warm"]) == (told["offset"], told["at"], True)
    last = AT_LAST[stream.name].offset
    assert {n: v for n, v in later.items() if n not in FROM} == from_the_log(stream, LAST + 45), last
    done = stream.run("state", "snapshots", stream.name)
    assert done.output == f"no snapshots are kept of stream {stream.name}\n"
    assert "is not configured" in stream.refused("state", "snapshots", "other")
    assert "nothing is stored of partition 7" in stream.refused("state", "snapshots", stream.name, "--partition", "7")


@pytest.mark.parametrize("row", [LAST, LAST + 20, LAST + 45])
def test_from_a_snapshot_the_same_is_said_to_the_bit_as_from_the_log(stream: OperatedStream, row: int) -> None:
    """A silence was decided at the offset of the snapshot."""
    from_log = from_the_log(stream, row)
    kept(stream, AT_LAST[stream.name])
    told = explained(stream, row)
    assert (told["replayed_from"], told["snapshot"], told["began"]) == (LAST, "1970-01-02T00:00:00.000Z", "warm")
    assert {name: said for name, said in told.items() if name not in FROM} == from_log
    assert explained(stream, SPIKE)["replayed_from"] == 0  # it was made behind that
    done = stream.run("explain", stream.name, "quiet", "--at", rfc3339(START + STEP * row))
    assert f"from the snapshot of 1970-01-02T00:00:00.000Z, at offset {LAST}, where the series was warm" in done.output


def tried(stream: OperatedStream, newer_than: int, *sets: str) -> dict[str, Any]:
    """What other settings would have said of what lies behind a row, in event time."""
    days = (ROWS[stream.name] - newer_than) * STEP / 86_400_000
    told = stream.run(
        "apply", stream.name, "--dry-run", "--days", f"{days:.6f}", "--json", *(f"--set={s}" for s in sets)
    )
    assert told.exit_code == 0, (told.output, told.exception)
    trial: dict[str, Any] = json.loads(told.stdout.splitlines()[-1])["trial"]
    return trial


def test_other_settings_are_tried_from_the_newest_snapshot_before_the_days_that_are_compared(
    stream: OperatedStream,
) -> None:
    """A snapshot that lies within these days is none; nor is any where what is tried has to learn first."""
    level, alike = "threshold.level=11.5", ("now", "then", "gone", "new", "since", "until", "warm")
    from_the_log(stream, LAST)
    from_log = tried(stream, LAST + 10, level)
    assert (from_log["began"], from_log["warm"]) == (
        [{"partition": 0, "offset": 0, "snapshot": None, "warm": True}],
        True,
    )
    assert [b["starts_at"] for b in from_log["gone"]] == [rfc3339(START + STEP * (LAST + 20))]

    kept(stream, AT_LAST[stream.name])
    trial = tried(stream, LAST + 10, level)
    at = "1970-01-02T00:00:00.000Z"
    assert trial["began"] == [{"partition": 0, "offset": LAST, "snapshot": at, "warm": True}]
    assert {n: trial[n] for n in alike} == {n: from_log[n] for n in alike}
    assert trial["records"] == from_log["records"] - LAST
    assert tried(stream, LAST - 100, level)["began"] == from_log["began"]
    learns = ("threshold.method=quantile", "threshold.probability=0.01")
    assert tried(stream, LAST + 10, *learns)["began"] == from_log["began"]
    done = stream.run("apply", stream.name, "--dry-run", "--days", "0.025", "--set", level)
    assert f" records replayed from the snapshot of {at}, at offset {LAST}\nfrom " in done.output
    done = stream.run("apply", stream.name, "--dry-run", "--days", "0.025", "--set", level, "--records", "20")
    assert "what was learnt before is not known there" in done.output
    done = stream.run("undo", stream.name, "3", "--dry-run", "--days", "0.025")
    assert f" records replayed from the snapshot of {at}, at offset {LAST}\n" in done.output, (
        done.output,
        done.exception,
    )


@pytest.mark.parametrize(("since", "until"), [(LAST + 30, LAST + 30), (LAST + 25, LAST + 45)])
def test_what_was_missed_is_found_from_a_snapshot_as_from_the_log(
    stream: OperatedStream, since: int, until: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in stream.environment.items():
        monkeypatch.setenv(name, value)

    def found() -> Strongest:
        first, last = (START + STEP * row for row in (since, until))
        return strongest(Place(load_settings(None), stream.name), "quiet", first, last, partition=0, newest=500_000)

    from_the_log(stream, LAST)
    from_log = found()
    assert (str(from_log.began), from_log.began.whole) == ("from the log's beginning", True)
    kept(stream, AT_LAST[stream.name])
    told = found()
    assert str(told.began) == f"from the snapshot of 1970-01-02T00:00:00.000Z, at offset {LAST}"
    assert replace(told, began=from_log.began) == from_log


def test_a_decision_that_is_left_out_must_not_be_in_the_snapshot(stream: OperatedStream) -> None:
    last = kept(stream)
    kept(stream, AT_LAST[stream.name], replace(last, offset=LAST + 51))
    stream.send(*observations(LAST + 60, LAST + 62))
    assert explained(stream, LAST + 61)["replayed_from"] == LAST + 51
    told = explained(stream, LAST + 61, "--without", "3")
    assert (told["replayed_from"], told["silences"]) == (LAST, [])


def test_what_no_worker_would_go_on_from_is_passed_over(stream: OperatedStream) -> None:
    good, at = AT_LAST[stream.name], LAST + 45
    stranger = good.identity.model_copy(update={"topic_id": "another"})
    knows_nothing = replace(good, offset=LAST + 10)  # of the silence that was taken before it
    damaged = replace(good, offset=LAST + 20, fields={**good.fields, "page:0": b"damaged"})
    of_another = replace(good, offset=LAST + 30, identity=stranger)
    kept(stream, good, knows_nothing, damaged, of_another)
    assert explained(stream, at)["replayed_from"] == LAST
    last = kept(stream, of_another)
    assert (explained(stream, at)["replayed_from"], last.offset) == (0, LAST + 51)


def test_where_the_model_of_then_is_gone_it_is_named(stream: OperatedStream) -> None:
    good = AT_LAST[stream.name]
    held = unpacked(good.fields["in_force"])
    gone = msgspec.structs.replace(held, model="0" * 64, path="/gone/old.model").packed()
    kept(stream, replace(good, fields={**good.fields, "in_force": gone}))
    said = stream.refused("explain", stream.name, "quiet", "--at", rfc3339(START + STEP * (LAST + 45)))
    assert "put its file back at /gone/old.model" in said


def test_the_doctor_says_what_snapshots_cost(stream: OperatedStream) -> None:
    kept(stream, AT_LAST[stream.name])
    done = stream.run("doctor", "--no-canary", "--json")
    told = {f["what"]: f["detail"] for f in map(json.loads, done.stdout.splitlines())}
    of = "1 snapshot of 1 partition, the oldest of 1970-01-02T00:00:00.000Z: 0.1 MiB of Redis's memory"
    assert told[f"snapshots {stream.name}"].startswith(of)


async def test_the_page_tries_the_same(stream: OperatedStream, monkeypatch: pytest.MonkeyPatch) -> None:
    from playwright.async_api import expect

    for name, value in stream.environment.items():
        monkeypatch.setenv(name, value)
    settings = load_settings(None)
    subscriber = AlertSubscriber(settings.kafka, f"{stream.name}.alerts", start="beginning")
    async with (
        serving(subscriber, settings=settings) as (address, _),
        browser_page(f"{address}#/what-if?stream={stream.name}") as page,
    ):
        await page.get_by_label("false alarms").fill("")
        await page.get_by_label("hold").fill("10m")
        await page.get_by_label("newest days").fill("300")
        await page.get_by_role("button", name="try").click()
        region = page.get_by_role("region", name="what if")
        await expect(region).to_contain_text("2 alerts now, 0 then")
        await expect(region).to_contain_text("would not fire: 2")
        await page.get_by_label("hold").fill("nonsense")
        await page.get_by_role("button", name="try").click()
        await expect(page.get_by_role("alert")).to_contain_text("alerts.hold")


def test_where_the_log_begins_later_a_snapshot_is_enough(stream: OperatedStream) -> None:
    row = LAST + 45
    from_log = from_the_log(stream, row)
    stream.expire(LAST - 5)
    cold = explained(stream, row)
    assert (cold["warm"], cold["replayed_from"]) == (False, LAST - 5)
    assert cold["score"] != from_log["score"]
    kept(stream, AT_LAST[stream.name])
    told = explained(stream, row)
    assert (told["warm"], told["replayed_from"]) == (True, LAST)
    assert {name: said for name, said in told.items() if name not in FROM} == from_log
    stream.expire(LAST + 5)  # now what follows the snapshot is not there
    assert explained(stream, row)["warm"] is False
