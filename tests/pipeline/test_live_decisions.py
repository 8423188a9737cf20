"""Settings and word of people under a live worker: real Kafka, real Redis, a settings file that changes, kills, a store that forgets."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
from operated_stream import START, STEP, OperatedStream, observations, write_model

from detectors.calibration import create
from detectors.model_file import save
from detectors.training import train_metric
from pipeline.alerts.records import rfc3339
from pipeline.embedded.servers import EmbeddedServer, start_redis
from pipeline.partition.stores.presence import WorkerWord, heard

pytestmark = pytest.mark.kafka


@dataclass
class FiledStream(OperatedStream):
    """An operated stream whose settings stand in a file."""

    @property
    def file(self) -> Path:
        return self.folder / "tidewatch.toml"

    @property
    def environment(self) -> dict[str, str]:
        given = super().environment
        del given["TIDEWATCH_STREAMS"]
        return given | {"TIDEWATCH_CONFIG": str(self.file)}

    def write(self, *, level: float = 3.0, resolve_count: int = 400, model: Path | None = None) -> None:
        self.file.write_text(
            f'[[streams]]\nname = "{self.name}"\nmodel = "{model or self.model}"\nalert_topic = "{self.name}.alerts"\nprobation = 50\n'
            f'decision_topic = "{self.name}.decisions"\n[streams.threshold]\nlevel = {level}\n[streams.alerts]\nresolve_count = {resolve_count}\n'
        )

    def offset(self) -> int | None:
        """Of the stored state, which a commit follows; the group's coordinator need not be there yet."""
        return next((p["offset"] for p in self.shown()), None)

    def decided(self) -> list[dict[str, Any]]:
        done = self.run("decisions", self.name, "--json")
        assert done.exit_code == 0, (done.output, done.exception)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def taken(self, serial: int) -> bool:
        return len(self.decided()) >= serial and "0" in self.decided()[serial - 1]["taken"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    with start_redis(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
def stream(kafka: str, server: EmbeddedServer, tmp_path: Path) -> Iterator[FiledStream]:
    with ExitStack() as running:
        made = FiledStream(tmp_path, kafka, server.url, write_model(tmp_path / "quiet.model"), running=running)
        made.write()
        made.create_topic()
        yield made


def said(server: EmbeddedServer) -> list[WorkerWord]:
    """What the workers that are there say of themselves."""
    with redis.Redis.from_url(server.url) as client:
        return [
            w
            for key in client.keys("*:workers:*")
            for w in heard({k.decode(): v for k, v in client.hgetall(key).items()}, WorkerWord)
        ]


def once(alerts: list[dict[str, Any]]) -> dict[tuple[str, int], str]:
    """Each record once; repeated ones are equal to the byte."""
    found: dict[tuple[str, int], str] = {}
    for alert in alerts:
        body = json.dumps(alert)
        assert found.setdefault((alert["id"], alert["sequence"]), body) == body
    return found


def test_a_file_that_changes_keeps_what_fires_and_is_not_undone_by_an_old_one(
    stream: FiledStream, server: EmbeddedServer
) -> None:
    worker = stream.start()
    stream.send(*observations(0, 1300, 1200))
    stream.wait(lambda: stream.offset() == 1300, worker)
    fired = stream.alerts()[0]
    assert (fired["status"], fired["threshold"]) == ("firing", 3.0)

    stream.write(level=2.5, resolve_count=3)  # the alert would go on for 400 observations
    stream.wait(lambda: stream.taken(3), worker)
    stream.send(*observations(1300, 1310))
    stream.wait(lambda: stream.offset() == 1310, worker)
    resolved = stream.alerts()[-1]
    assert (resolved["id"], resolved["status"], resolved["threshold"]) == (fired["id"], "resolved", 2.5)
    assert len(once(stream.alerts())) == len(stream.alerts())  # nothing was read again
    stream.wait(lambda: [(p.offset, p.live) for w in said(server) for p in w.partitions] == [(1310, 1)], worker)
    assert (stream.shown()[0]["decision"], stream.shown()[0]["series"]) == (3, 1)

    # Killed, all that Redis held gone, and started again with the old file.
    before = once(stream.alerts())
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    with redis.Redis.from_url(server.url) as client:
        client.flushall()
    stream.write()
    worker = stream.start()
    stream.wait(lambda: stream.offset() == 1310, worker)
    stream.send(*observations(1310, 1400, 1380))
    stream.wait(lambda: stream.offset() == 1400, worker)
    assert [d["id"] for d in stream.decided()] == [d["id"] for d in stream.decided()][:3]
    assert stream.shown()[0]["decision"] == 3
    after = once(stream.alerts())
    assert before.items() <= after.items()
    assert {json.loads(body)["threshold"] for key, body in after.items() if key not in before} == {2.5}

    # Only a person brings the older content back.
    told = stream.run("apply", "--dry-run").output
    assert "threshold.level: 2.5 -> 3.0" in told
    done = stream.run("apply", "--wait")
    assert "partition 0 took it at offset 1400" in done.output, (done.output, done.exception)
    assert stream.run("apply", "--dry-run").output == f"stream {stream.name}: these settings hold already\n"
    assert len(said(server)) == 1
    stream.stop(worker)
    assert said(server) == []


def test_what_a_person_decides_before_the_file_says_so_is_decided_once(stream: FiledStream) -> None:
    """`score --apply` and `tune --apply` do so: the worker decided the same again, and learnt it from the beginning."""
    worker = stream.start()
    stream.send(*observations(0, 200))
    stream.wait(lambda: stream.offset() == 200, worker)
    old = stream.file.read_text()
    other = stream.folder / "other.toml"
    for serial, level in ((3, 2.5), (4, 3.0)):  # the second brings back what was replaced
        other.write_text(old.replace("level = 3.0", f"level = {level}"))
        done = stream.run("apply", "--wait", "--config", str(other))
        assert done.exit_code == 0, (done.output, done.exception)
        stream.write(level=level)
        time.sleep(3)  # the worker looks at its file once a second
        assert [d["serial"] for d in stream.decided()] == list(range(1, serial + 1))
    assert "were replaced since" not in stream.stop(worker)


def test_people_silence_acknowledge_close_and_forget(stream: FiledStream) -> None:
    worker = stream.start()
    stream.send(*observations(0, 1210, 1200))
    stream.wait(lambda: stream.offset() == 1210, worker)
    steps: list[tuple[tuple[str, ...], Callable[[dict[str, Any]], bool]]] = [
        (("ack", stream.name, "quiet"), lambda a: a["change"] == "acknowledged" and "@" in a["acknowledged"]),
        (("undo", stream.name, "3"), lambda a: a["change"] == "unacknowledged" and "acknowledged" not in a),
        (("ack", stream.name, "quiet"), lambda a: a["change"] == "acknowledged" and "@" in a["acknowledged"]),
        (
            ("close", stream.name, "qui*", "--why", "gone"),
            lambda a: (a["status"], a["change"]) == ("resolved", "closed"),
        ),
    ]
    for words, holds in steps:
        done = stream.run(*words, "--wait")
        assert "partition 0 took it at offset 1210" in done.output, (done.output, done.exception)
        end = time.monotonic() + 20
        while not holds(stream.alerts()[-1]) and time.monotonic() < end:
            time.sleep(0.2)
        assert holds(stream.alerts()[-1])
    ended = stream.alerts()[-1]
    done = stream.run("comment", stream.name, "the disk is  new", "--alert", ended["id"][:8], "--wait")
    assert "partition 0 took it at offset 1210" in done.output, (done.output, done.exception)
    assert (
        f"comment on alert {ended['id'][:8]} of quiet: the disk is new" in stream.run("decisions", stream.name).output
    )
    assert stream.run("undo", stream.name, "7", "--wait").exit_code == 0
    assert "was taken back by decision 8 already" in stream.refused("undo", stream.name, "7")
    assert "say on what" in stream.refused("comment", stream.name, "what?")
    assert stream.alerts()[-1] == ended
    weekly = ("--weekly", "daily 00:00-24:00", "--time-zone", "Europe/Berlin", "--why", "always")
    done = stream.run("silence", stream.name, "q*", *weekly, "--wait")
    assert "partition 0 took it at offset 1210" in done.output, (done.output, done.exception)
    assert "silence q* daily 00:00-24:00 Europe/Berlin: always" in stream.run("decisions", stream.name).output
    stream.send(*observations(1210, 1300, 1290))
    stream.wait(lambda: stream.offset() == 1300, worker)
    assert stream.alerts()[-1]["silenced"] is True
    assert stream.run("lift", stream.name, "9", "--wait").exit_code == 0
    stream.wait(lambda: stream.alerts()[-1]["change"] == "unsilenced", worker)  # it still fires, and is told now
    assert "silenced" not in stream.alerts()[-1]
    assert stream.run("forget", stream.name, "quiet", "--wait").exit_code == 0
    stream.wait(lambda: stream.shown()[0]["series"] == 0, worker)
    assert (stream.alerts()[-1]["change"], "silenced" in stream.alerts()[-1]) == ("forgotten", False)
    assert [d["what"]["type"] for d in stream.decided()] == [
        "settings", "partitions", "acknowledge", "undo", "acknowledge", "close", "comment", "undo", "silence", "lift", "forget",
    ]  # fmt: skip
    assert "is no silence" in stream.refused("lift", stream.name, "1")
    assert "is no duration" in stream.refused("silence", stream.name, "*", "--for", "soon")
    assert "is no window" in stream.refused("silence", stream.name, "*", "--weekly", "sat 01:00")
    assert "nothing" not in stream.run("decisions", stream.name).output
    stream.stop(worker)
    assert "did not take it within 1 s" in stream.refused("ack", stream.name, "*", "--wait", "--timeout", "1")


def test_people_say_what_was_normal_and_what_was_missed_and_take_it_back(stream: FiledStream) -> None:
    stream.write(resolve_count=3)
    stream.file.write_text(f'{stream.file.read_text()}quiet = "0s"\n')  # what comes back is another alert
    worker = stream.start()

    def spike(at: int, behind: int) -> dict[str, Any]:
        """Observations up to `behind` with a spike; the last record on the alert topic then."""
        stream.send(*observations(stream.offset() or 0, behind, at))
        stream.wait(lambda: stream.offset() == behind, worker)
        return stream.alerts()[-1]

    fired = spike(1200, 1202)
    assert (fired["status"], fired["threshold"]) == ("firing", 3.0)
    done = stream.run("feedback", stream.name, "normal", fired["id"][:8], "--why", "backup", "--wait")
    assert "partition 0 took it at offset 1202" in done.output, (done.output, done.exception)
    stream.wait(lambda: stream.alerts()[-1]["change"] == "feedback", worker)
    ended = stream.alerts()[-1]
    assert (ended["id"], ended["status"], ended["reason"]) == (fired["id"], "resolved", "normal")
    assert (ended["feedback"]["what"], ended["feedback"]["why"]) == ("normal", "backup")

    assert spike(1290, 1300) == ended
    at = rfc3339(START + STEP * 1290)
    told = stream.run("explain", stream.name, "quiet", "--at", at).output
    assert "which feedback has raised by" in told
    assert "normal (decision 3, +" in told
    assert told.startswith("no alert: ")
    told = stream.run("explain", stream.name, "quiet", "--at", at, "--without", "3").output
    assert told.startswith("a record was published: anomaly (firing")

    tried = stream.run("undo", stream.name, "3", "--dry-run", "--days", "1000")
    assert ": 1 alerts now, 2 then" in tried.output, (tried.output, tried.exception)
    assert f"\n  + {at} critical quiet jumped to 60" in tried.output
    assert stream.run("undo", stream.name, "3", "--wait").exit_code == 0
    again = spike(1390, 1392)
    assert (again["change"], again["threshold"]) == ("anomaly", 3.0)
    calm = rfc3339(START + STEP * 1250)
    done = stream.run("feedback", stream.name, "missed", "--series", "quiet", "--at", calm, "--wait")
    assert f"at {calm} its score was " in done.output, (done.output, done.exception)
    assert [d["what"]["type"] for d in stream.decided()] == ["settings", "partitions", "feedback", "undo", "feedback"]
    assert f"feedback missed: quiet at {calm}" in " ".join(stream.run("decisions", stream.name).output.split())

    said = ("feedback", stream.name)
    late = rfc3339(START + STEP * 1390)
    assert "so it was not the level" in stream.refused(*said, "missed", "--series", "quiet", "--at", late)
    assert "lies in the future" in stream.refused(*said, "missed", "--series", "quiet", "--at", "2126-01-01")
    assert "was taken by no partition" in stream.refused("undo", stream.name, "999", "--dry-run")
    assert "none of people's word" in stream.refused("undo", stream.name, "1", "--dry-run")
    assert "was taken by no partition" in stream.refused("explain", stream.name, "quiet", "--without", "999")
    assert "no alert whose id begins with ffff" in stream.refused(*said, "noise", "ffff")
    assert "no alert of series quiet at" in stream.refused(*said, "noise", "--series", "quiet", "--at", calm)
    assert "is no time" in stream.refused(*said, "missed", "--series", "quiet", "--at", "noon")
    assert "cannot be taken back" in stream.refused("undo", stream.name, "1")
    assert "is `partitions: 1`, which cannot be taken back" in stream.refused("undo", stream.name, "2")
    assert "taken back by decision 4 already" in stream.refused("undo", stream.name, "3")
    stream.stop(worker)


def other_model(file: Path, *, window: int = 24, channels: int = 1, seed: int = 0) -> Path:
    file.parent.mkdir(exist_ok=True)
    times, noise = START + STEP * np.arange(-1000, 0), np.random.default_rng(seed).normal(10, 1, (1000, channels))
    save(train_metric({"quiet": (times, noise)}, [("zscore", {"window": window})], create("empirical")), file)
    return file


def test_a_model_of_another_window_learns_beside_the_old_one_and_takes_over_with_what_fires(
    stream: FiledStream,
) -> None:
    worker = stream.start()
    stream.send(*observations(0, 1300, 1200))
    stream.wait(lambda: stream.offset() == 1300, worker)
    fired = stream.alerts()[-1]
    assert fired["status"] == "firing"

    stream.write(model=other_model(stream.folder / "wider.model", window=48))
    stream.wait(lambda: stream.taken(3), worker)
    stream.send(*observations(1300, 1350))
    stream.wait(lambda: stream.offset() == 1350, worker)
    assert stream.decided()[2]["learning"] == [0]
    assert "0:1300 (learns)" in stream.run("decisions", stream.name).output
    (shown,) = stream.shown()
    assert (shown["shadow"]["serial"], shown["shadow"]["offset"], shown["shadow"]["ready"]) == (3, 1300, 1)
    told = "decision 3 learns in partition 0 since offset 1,300: 1 of 1 series, 50 of at most 512 observations"
    assert told in stream.run("state", "show", stream.name).output

    worker.send_signal(signal.SIGKILL)  # the old model lies where it lay, and is found
    worker.wait()
    worker = stream.start()
    stream.send(*observations(1350, 1420, 1410))
    stream.wait(lambda: stream.offset() == 1420, worker)
    assert stream.decided()[2]["learning"] == []
    assert stream.run("close", stream.name, "quiet", "--wait").exit_code == 0
    stream.wait(lambda: stream.alerts()[-1]["change"] == "closed", worker)
    records = once(stream.alerts())
    assert {key[0] for key in records} == {fired["id"]}  # it went on, and nothing fired anew
    assert sorted(key[1] for key in records) == list(range(len(records)))
    last = stream.alerts()[-1]
    assert stream.shown()[0]["model"] == last["detector"]["model"] != fired["detector"]["model"]
    assert "the shadow judges from here on" in stream.stop(worker)


@pytest.mark.parametrize("window", [24, 48])
def test_behind_a_snapshot_each_observation_is_explained_by_the_model_that_judged_it(
    stream: FiledStream, window: int
) -> None:
    """Another model was decided between the snapshot and the second spike: of the same layout, or one that learnt beside the first one until it took over."""
    stream.write(resolve_count=3)
    stream.file.write_text(f'{stream.file.read_text()}quiet = "0s"\n')
    worker = stream.start()
    stream.send(*observations(0, 100))
    stream.wait(lambda: stream.offset() == 100, worker)
    stream.send(*observations(100, 300, 250))
    stream.wait(lambda: stream.offset() == 300, worker)
    first = stream.model
    stream.model = other_model(stream.folder / "other" / "other.model", window=window, seed=3)
    stream.write(resolve_count=3)
    stream.file.write_text(f'{stream.file.read_text()}quiet = "0s"\n')
    stream.wait(lambda: stream.taken(3), worker)
    stream.send(*observations(300, 600, 580))
    stream.wait(lambda: stream.offset() == 600, worker)
    stream.stop(worker)
    old, new = (next(a for a in stream.alerts() if a["evidence"]["offset"] == at) for at in (250, 580))
    assert old["detector"]["model"] != new["detector"]["model"]

    for row, said in ((250, old), (580, new)):
        done = stream.run("explain", stream.name, "quiet", "--at", rfc3339(START + STEP * row), "--json")
        assert done.exit_code == 0, (done.output, done.exception)
        told = json.loads(done.stdout.splitlines()[-1])
        assert 0 < told["replayed_from"] <= 100
        assert told["snapshot"] is not None
        assert (told["score"], told["level"], len(told["window"])) == (
            said["score"], said["threshold"], 24 if row == 250 else window,
        )  # fmt: skip
        assert [a["id"] for a in told["alerts"]] == [said["id"]]

    away = first.rename(first.with_name("away.txt"))
    asked = ("explain", stream.name, "quiet", "--at", rfc3339(START + STEP * 580))
    assert f"it is not at hand: put its file back at {first}" in stream.refused(*asked)
    away.rename(stream.model.with_name("kept.model"))  # beside the model of these settings, where a worker finds it too
    assert stream.run(*asked).exit_code == 0


def test_how_long_a_model_learns_is_said_before_it_is_decided(stream: FiledStream) -> None:
    stream.send(*observations(0, 100))
    stream.work_until(100)
    stream.write(model=other_model(stream.folder / "wider.model", window=48))
    tried = stream.run("apply", "--dry-run")
    assert "by shadow: learns about 64 observations of each series" in tried.output, (tried.output, tried.exception)
    stream.write(level=2.0)
    assert "by shadow" not in stream.run("apply", "--dry-run").output


def test_a_model_of_other_channels_is_refused_with_the_mend_and_reset_lets_it_begin(stream: FiledStream) -> None:
    stream.send(*observations(0, 100))
    stream.work_until(100)
    stream.write(model=other_model(stream.folder / "two.model", channels=2))
    worker = stream.start()
    _, errors = worker.communicate(timeout=60)
    assert worker.returncode == 2
    assert "channels: 2, and the state is of 1" in " ".join(errors.split())
    assert "tidewatch state reset" in errors
    assert "channels: 2" in stream.refused("apply")
    assert stream.run("state", "reset", stream.name, "--yes").exit_code == 0
    stream.work_until(100)
    assert stream.shown()[0]["offset"] == 100


def lines(start: int, stop: int, *spikes: int) -> list[bytes]:
    """Messages of one series that have three fields, a minute apart."""
    noise = np.random.default_rng(1).normal(10, 1, (stop, 3))
    noise[list(spikes)] = 60.0
    return [
        b"quiet user=%.4f,system=%.4f,idle=%.4f %d" % (*noise[i], (START + STEP * i) * 1_000_000)
        for i in range(start, stop)
    ]


def test_other_channels_that_the_settings_name_learn_beside_the_old_ones_and_take_over_with_what_fires(
    stream: FiledStream,
) -> None:
    def write(model: Path, *channels: str) -> None:
        stream.write(model=model)
        named = f'format = "influx"\nchannels = {json.dumps(channels)}\n[streams.threshold]'
        stream.file.write_text(stream.file.read_text().replace("[streams.threshold]", named))

    write(other_model(stream.folder / "two.model", channels=2), "user", "system")
    worker = stream.start()
    stream.send(*lines(0, 300, 280))
    stream.wait(lambda: stream.offset() == 300, worker)
    fired = stream.alerts()[-1]
    assert (fired["status"], len(fired["observed"])) == ("firing", 2)

    write(other_model(stream.folder / "three.model", channels=3), "idle", "system", "user")
    stream.wait(lambda: stream.taken(3), worker)
    stream.send(*lines(300, 320))
    stream.wait(lambda: stream.offset() == 320, worker)
    assert stream.decided()[2]["learning"] == [0]

    # What waits for older observations has the old channels alone: that is refused while the others learn, and told.
    three = stream.file.read_text()
    stream.file.write_text(three.replace("format = ", 'lateness = "5m"\nformat = '))
    stream.wait(lambda: stream.taken(4), worker)
    stream.wait(lambda: stream.decided()[3]["refused"] == [0], worker)
    assert stream.decided()[2]["learning"] == [0]
    listed = " ".join(stream.run("decisions", stream.name).output.split())
    assert "settings: lateness" in listed
    assert "0:320 (refused)" in listed
    for words in (["apply"], ["apply", "--dry-run"]):
        why = stream.refused(*words)
        assert "set lateness to 0 until they have taken over" in why
        assert "state reset" not in why
    stream.file.write_text(three)
    assert "these settings hold already" in stream.run("apply", "--dry-run").output
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    worker = stream.start()
    stream.send(*lines(320, 500, 480))
    stream.wait(lambda: stream.offset() == 500, worker)
    assert stream.decided()[2]["learning"] == []
    stream.file.write_text(three.replace("format = ", 'lateness = "5m"\nformat = '))
    assert "lateness" in stream.run("apply", "--wait").output  # the same file again, which holds now
    assert [line["refused"] for line in stream.decided() if line["what"]["type"] == "settings"] == [[]] * 4
    assert stream.run("close", stream.name, "quiet", "--wait").exit_code == 0
    stream.wait(lambda: stream.alerts()[-1]["change"] == "closed", worker)
    assert "the shadow judges from here on" in stream.stop(worker)
    records = once(stream.alerts())
    assert {key[0] for key in records} == {fired["id"]}
    assert sorted(key[1] for key in records) == list(range(len(records)))

    for row, fields in ((310, 2), (480, 3)):
        done = stream.run("explain", stream.name, "quiet", "--at", rfc3339(START + STEP * row), "--json")
        assert done.exit_code == 0, (done.output, done.exception)
        told = json.loads(done.stdout.splitlines()[-1])
        assert (len(told["observed"]), len(told["expected"]), len(told["window"][-1])) == (fields,) * 3
    said = " ".join(stream.run("decisions", stream.name).output.split())
    assert "channels ['user', 'system'] -> ['idle', 'system', 'user']" in said


def test_two_workers_with_two_files_end_on_the_newer_whoever_restarts(stream: FiledStream) -> None:
    stream.send(*observations(0, 50))
    old: subprocess.Popen[str] = stream.start()
    stream.wait(lambda: stream.offset() == 50, old)
    stream.stop(old)
    for level, replaced in ((2.0, False), (3.0, True), (2.0, False), (3.0, True)):
        stream.write(level=level)
        claimed = stream.shown()[0]["claimed_at"]
        worker = stream.start()
        stream.wait(lambda before=claimed: stream.shown()[0]["claimed_at"] != before and stream.taken(3), worker)
        assert ("were replaced since" in stream.stop(worker)) == replaced
        assert stream.shown()[0]["decision"] == 3
    assert len(stream.decided()) == 3
