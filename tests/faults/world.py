"""A stream of its own on the shared brokers: workers as processes, the project's own producer, and what came of it all.

    Recording ──▶ World.feed ──▶ topic ──▶ `tidewatch worker` (killed, paused, stopped, ...) ──▶ alerts, scores, dead letters, Redis
                                                                                                └─▶ Outcome, compared with the reference

Records, offsets, stream and model are the same in every World, the names of topics differ but not their length: so after an
exchange of names everything that comes out must be equal to the byte, whatever happened meanwhile.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
import tomli_w
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic
from faults.recording import PARTITIONS, PROBATION, Recording
from kafka_fixtures import committed_offsets
from msgspec.structs import replace

from pipeline.embedded.servers import EmbeddedServer, start_redis
from pipeline.partition.deciding.decisions import Entry, Taken, decode_entry, unpacked, valid
from pipeline.partition.stores.eras import versions
from pipeline.steps.stored.pieces import folded
from producers.publisher import Publisher

ROOT = Path(__file__).parents[2]
STREAM = "faults"
PATIENCE = 300.0
"""Seconds that a condition is waited for: generous, since the machine may be busy."""

Message = tuple[bytes | None, bytes | None, tuple[tuple[str, bytes], ...]]


@dataclass
class Outcome:
    """What a run left behind. Messages by their identity: repeated ones must be equal, and count once."""

    offsets: dict[int, int] = field(default_factory=dict)
    states: dict[tuple[int, bytes], bytes] = field(default_factory=dict)
    alerts: dict[tuple[str, int], Message] = field(default_factory=dict)
    scores: dict[tuple[int, int, str, int], Message] = field(default_factory=dict)
    letters: dict[tuple[str, str], Message] = field(default_factory=dict)
    repeated: Counter[str] = field(default_factory=Counter)
    torn: list[str] = field(default_factory=list)
    """Messages that came again with other contents."""

    @property
    def observations(self) -> int:
        """Observations that the states have seen."""
        return sum(json.loads(v)["observations"] for (_, name), v in self.states.items() if name == b"f:scalars")

    def differences(self, other: Outcome) -> list[str]:
        """What is not as in the other, one line each; repeated messages do not count."""
        found = [f"came again with other contents: {what}" for what in self.torn]
        for what in ("offsets", "states", "alerts", "scores", "letters"):
            mine, theirs = getattr(self, what), getattr(other, what)
            found += [f"{what}: {key} is missing" for key in theirs.keys() - mine.keys()]
            found += [f"{what}: {key} is too many" for key in mine.keys() - theirs.keys()]
            found += [f"{what}: {key} differs" for key in mine.keys() & theirs.keys() if mine[key] != theirs[key]]
        return found


def _comparable(name: bytes, field: bytes) -> bytes:
    """A field of the state without where the log ended when a worker first asked how many partitions there are: no two runs ask at the same instant."""
    if name != b"f:in_force":
        return field
    in_force = unpacked(field)
    return replace(in_force, growth=replace(in_force.growth, history=0)).packed()


class Worker:
    """One worker process; its log is a file of JSON lines."""

    def __init__(self, command: list[str], environment: dict[str, str], folder: Path, log: Path) -> None:
        self.log = log
        with log.open("ab") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=out, env=environment, cwd=folder)

    def kill(self) -> None:
        """As a power cut."""
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def stop(self, *, within: float = 60.0) -> int:
        """SIGTERM; returns the exit code."""
        self.process.terminate()
        return self.process.wait(within)

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def events(self, event: str = "") -> list[dict[str, Any]]:
        """Its log lines of one event; all of them where none is named."""
        lines = [json.loads(line) for line in self.text().splitlines() if line.startswith("{")]
        return [line for line in lines if not event or line["event"] == event]


class World:
    """See the module. `with` it: whatever still runs is ended, the topics are deleted."""

    def __init__(
        self,
        brokers: str,
        model: Path,
        recording: Recording,
        folder: Path,
        *,
        persistent: bool = False,
        redis_folder: Path | None = None,
        replicas: tuple[int, ...] = (1, 2, 3),
        **settings: Any,
    ) -> None:
        self.brokers = brokers
        self.recording = recording
        self.folder = folder
        self.name = f"f{uuid.uuid4().hex[:10]}"
        self.admin = AdminClient({"bootstrap.servers": brokers, "log_level": 0})
        self.workers: list[Worker] = []
        self.fed = 0
        self.partitions = PARTITIONS
        self._published_before = 0
        self._running = ExitStack()
        self._persistent = persistent
        self.store: EmbeddedServer = self._running.enter_context(
            start_redis(redis_folder or folder / "redis", persistent=persistent)
        )
        self._settings = {"checkpoint_every": "300ms", "session_timeout": "6s", **settings}
        self._model = model
        self.alert_policy: dict[str, Any] = {}
        self.stream_settings: dict[str, Any] = {}
        self._publisher: Publisher | None = None
        self.create_topic(replicas)

    # Topics

    @property
    def topic(self) -> str:
        return f"{self.name}.observations"

    def create_topic(self, replicas: tuple[int, ...] = (1, 2, 3)) -> None:
        """The input topic, on these brokers; leaderships take turns."""
        turns = [[*replicas[i % len(replicas) :], *replicas[: i % len(replicas)]] for i in range(PARTITIONS)]
        config = {"min.insync.replicas": str(max(len(replicas) - 1, 1))}
        new = NewTopic(self.topic, PARTITIONS, replica_assignment=turns, config=config)
        self.admin.create_topics([new])[self.topic].result(30)
        wait_for(lambda: self.topic in self.admin.list_topics(timeout=10).topics, "the topic")

    def ends(self, topic: str = "") -> dict[int, int]:
        """The end of each partition's log; empty where there is no such topic (yet)."""
        return {p: ends for p, (_, ends) in self._bounds(topic or self.topic).items()}

    def _bounds(self, topic: str) -> dict[int, tuple[int, int]]:
        consumer = Consumer({"bootstrap.servers": self.brokers, "group.id": "none", "log_level": 0})
        try:
            known = consumer.list_topics(topic, timeout=30).topics[topic].partitions
            return {p: consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=30) for p in known}
        except KafkaException:
            return {}
        finally:
            consumer.close()

    def expire(self, until: dict[int, int]) -> None:
        """What retention does: the records before these offsets are gone."""
        asked = [TopicPartition(self.topic, p, offset) for p, offset in until.items()]
        for done in self.admin.delete_records(asked).values():
            done.result(30)
        self.wait_for(lambda: {p: first for p, (first, _) in self._bounds(self.topic).items()} == until, "the deletion")

    def grow(self, partitions: int) -> None:
        """Add partitions to the input topic; the producer hears of it."""
        self.admin.create_partitions([NewPartitions(self.topic, partitions)])[self.topic].result(30)
        self.wait_for(lambda: len(self.ends()) == partitions, "the new partitions")
        self.partitions, self._publisher = partitions, None

    def open_alerts(self) -> dict[str, str]:
        """Alerts that are firing now: id -> series."""
        last = {alert["id"]: alert for alert in map(body, self.read(f"{self.name}.alerts"))}
        return {i: alert["series"] for i, alert in last.items() if alert["status"] == "firing"}

    def committed(self) -> dict[int, int]:
        """The group's offsets."""
        return committed_offsets(self.brokers, self.name, self.topic, range(self.partitions))

    # Records in

    def feed(self, share: float = 1.0, *, wait: bool = True) -> None:
        """Send the recording up to a share of it, with the project's own producer."""
        if self._publisher is None:
            self._publisher = Publisher(self.topic, {"bootstrap.servers": self.brokers}, delivery_timeout=300.0)
        self._published_before = self.published()
        until = round(share * len(self.recording))
        self._publisher.send(self.recording.keys[self.fed : until], self.recording.values[self.fed : until])
        self.fed = max(self.fed, until)
        if wait:
            self._publisher.flush(PATIENCE)

    @property
    def delivered(self) -> int:
        """Records that Kafka has acknowledged."""
        return 0 if self._publisher is None else self._publisher.delivered

    def flush(self) -> None:
        """Wait until all that was sent is acknowledged."""
        assert self._publisher is not None
        self._publisher.flush(PATIENCE)

    # Workers

    def start(self, instance: str = "", *, plant: str = "", store: str = "", **changes: Any) -> Worker:
        """A worker process: `tidewatch worker`, or one with something planted in it (`faults.planted`)."""
        file = self.folder / f"tidewatch-{len(self.workers)}.toml"
        file.write_text(tomli_w.dumps(self.settings(instance, store or self.store.url, **changes)))
        script = [str(Path(__file__).with_name("planted.py")), plant] if plant else ["-m", "pipeline"]
        command = [sys.executable, *script, "worker", "--config", str(file)]
        python_path = f"{ROOT}{os.pathsep}{ROOT / 'tests'}"
        environment = {**os.environ, "PYTHONPATH": python_path, "OMP_NUM_THREADS": "1"}
        worker = Worker(command, environment, self.folder, self.folder / f"worker-{len(self.workers)}.log")
        self._running.callback(worker.process.wait)
        self._running.callback(worker.process.kill)
        self.workers.append(worker)
        return worker

    def settings(self, instance: str, store: str, **changes: Any) -> dict[str, Any]:
        """What stands in tidewatch.toml."""
        return {
            "kafka": {
                "brokers": self.brokers, "replication": 3, "min_insync_replicas": 2, "partitions": PARTITIONS,
                "request_timeout": "30s",
            },
            "redis": {"url": store, "prefix": self.name, "timeout": "2s"},
            "worker": {
                "group": self.name, "instance_id": instance, "log_format": "json", "device": "cpu",
                **self._settings, **changes,
            },
            "streams": [{
                "name": STREAM, "topic": self.topic, "model": str(self._model), "probation": PROBATION,
                "alert_topic": f"{self.name}.alerts", "score_topic": f"{self.name}.scores",
                "decision_topic": f"{self.name}.decisions", **self.stream_settings,
                "threshold": {"level": 3.0}, "alerts": {"update_every": "10m", "resolve_count": 6, **self.alert_policy},
            }],
        }  # fmt: skip

    # People

    def decide(self, verb: str, *arguments: str) -> None:
        """What somebody says at a command line: `tidewatch VERB faults ...`."""
        file = self.folder / "decide.toml"
        file.write_text(tomli_w.dumps(self.settings("", self.store.url)))
        command = [sys.executable, "-m", "pipeline", verb, STREAM, *arguments, "--config", str(file)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def entries(self, partition: int) -> list[Entry]:
        """What the topic of decisions says of a partition, in order."""
        lines = [decode_entry(value or b"") for _, value, _ in self.read(f"{self.name}.decisions")]
        return [line for line in lines if line is not None and line.partition == partition]

    def taken(self) -> dict[int, list[tuple[int, int]]]:
        """What counts of it: of each partition (serial, offset), what it began with, settings and partitions, left out."""
        found = {p: self.entries(p) for p in range(self.partitions)}
        lines = {p: valid(entries, entries[0].log) for p, entries in found.items() if entries}  # type: ignore[union-attr]
        return {
            p: [(t.serial, t.offset) for t in of if isinstance(t, Taken) and t.serial > 2] for p, of in lines.items()
        }

    # What is there

    def redis(self) -> redis.Redis:
        """A client of the store itself."""
        return redis.Redis(port=self.store.port, socket_timeout=10)

    def key(self, partition: int) -> str:
        return f"{self.name}:state:{STREAM}:{partition}"

    def checkpointed(self) -> dict[int, int]:
        """The offsets in the store."""
        with self.redis() as client:
            try:
                found = {p: client.hget(self.key(p), "offset") for p in range(self.partitions)}
            except redis.RedisError:
                return {}
        return {p: int(offset) for p, offset in found.items() if offset is not None}

    def published(self) -> int:
        """Scores and dead letters so far, repeated ones too: a sign of progress that does not wait for a checkpoint."""
        return sum(sum(self.ends(f"{self.name}.{topic}").values()) for topic in ("scores", "observations.dlq"))

    def alerts(self) -> int:
        """Alert records so far, repeated ones too."""
        return sum(self.ends(f"{self.name}.alerts").values())

    def crash_redis(self) -> None:
        """SIGKILL: what it has not written to disk is gone."""
        os.kill(self.store.pid, signal.SIGKILL)
        self.store.stop()

    def restart_redis(self) -> None:
        """Start it again at its port, with what it has on disk."""
        self.store = self._running.enter_context(
            start_redis(self.store.log.parent, port=self.store.port, persistent=self._persistent)
        )

    def wait_for(self, true: Callable[[], object], what: str, *, timeout: float = PATIENCE) -> None:
        """Wait; a failure shows the end of each worker's log."""
        wait_for(true, what, timeout=timeout, more=self.logs)

    def progress(self) -> None:
        """Wait until something was published since `feed` was called last."""
        self.wait_for(lambda: self.published() > self._published_before, "progress")

    def settled(self) -> bool:
        """Whether everything sent is in the store."""
        ends = {p: end for p, end in self.ends().items() if end}
        return self.fed > 0 and self.checkpointed() == ends

    def logs(self) -> str:
        """The last words of all workers."""
        return "\n".join(f"--- {w.log.name}\n{w.text()[-2500:]}" for w in self.workers)

    def finish(self) -> Outcome:
        """Wait until all is processed, stop the workers in order, and collect what they left."""
        self.wait_for(self.settled, "all records in the store")
        alive = [worker for worker in self.workers if worker.alive]
        # Before it has started, SIGTERM ends it as it ends any process, and not with 0.
        self.wait_for(lambda: all(w.events("worker started") for w in alive if w.alive), "the start of all workers")
        for worker in alive:
            if worker.alive:
                assert worker.stop() == 0, worker.text()[-3000:]
        return self.collect()

    def collect(self) -> Outcome:
        """What is in Kafka and Redis now, with the topic's name taken out."""
        outcome = Outcome()
        with self.redis() as client:
            for partition in range(self.partitions):
                stored = client.hgetall(self.key(partition))
                outcome.offsets[partition] = int(stored.get(b"offset", -1))
                newest = {
                    name: stored[at] for name, at in versions(stored).items()
                }  # snapshots are of when they were made
                fields = {f"f:{name}".encode(): value for name, value in folded(newest).items()}
                outcome.states |= {(partition, n): _comparable(n, v) for n, v in fields.items()}
        for kind, identity, found in (
            ("alerts", _alert_identity, outcome.alerts),
            ("scores", _score_identity, outcome.scores),
            ("observations.dlq", _letter_identity, outcome.letters),
        ):
            for message in self.read(f"{self.name}.{kind}"):
                message = self._anonymous(message)
                key = identity(message)
                if key in found:
                    outcome.repeated[kind] += 1
                    if found[key] != message:
                        outcome.torn.append(f"{kind} {key}")
                found.setdefault(key, message)
        return outcome

    def read(self, topic: str) -> Iterator[Message]:
        """All that a topic holds now, partition by partition."""
        options = {"bootstrap.servers": self.brokers, "group.id": "none", "log_level": 0, "enable.auto.commit": False}
        consumer = Consumer({**options, "auto.offset.reset": "earliest"})
        try:
            for partition, (first, end) in self._bounds(topic).items():
                consumer.assign([TopicPartition(topic, partition, first)])
                while first < end:
                    message = consumer.poll(30)
                    assert message is not None, f"{topic}[{partition}] could not be read from {first} to {end}"
                    assert message.error() is None, message.error()
                    first = message.offset() + 1
                    yield message.key(), message.value(), tuple(message.headers() or ())
        finally:
            consumer.close()

    def _anonymous(self, message: Message) -> Message:
        mine, everyones = self.name.encode(), b"f-the-world"
        key, value, headers = message
        return (
            key,
            None if value is None else value.replace(mine, everyones),
            tuple((n, v.replace(mine, everyones)) for n, v in headers),
        )

    # The end

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()
        for topic in ("observations", "alerts", "scores", "observations.dlq", "decisions"):
            name = f"{self.name}.{topic}"
            with suppress(KafkaException):  # it was never made
                self.admin.delete_topics([name], operation_timeout=10)[name].result(15)


def wait_for(
    true: Callable[[], object], what: str, *, timeout: float = PATIENCE, more: Callable[[], str] = str
) -> None:
    """Wait until something holds; an AssertionError that says what did not come."""
    end = time.monotonic() + timeout
    while not true():
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come within {timeout:.0f} s\n{more()}")
        time.sleep(0.1)


def body(message: Message) -> dict[str, Any]:
    """The JSON in a message."""
    found: dict[str, Any] = json.loads(message[1] or b"")
    return found


def _alert_identity(message: Message) -> tuple[str, int]:
    found = body(message)
    return found["id"], found["sequence"]


def _score_identity(message: Message) -> tuple[int, int, str, int]:
    found = body(message)  # several observations that waited may go on with one record
    return found["partition"], found["offset"], found["series"], found["timestamp"]


def _letter_identity(message: Message) -> tuple[str, str]:
    headers = {name: value.decode() for name, value in message[2]}
    return headers["tidewatch.error.partition"], headers["tidewatch.error.offset"]
