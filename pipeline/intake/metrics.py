"""What intakes measure, for Prometheus; updated about once a second and once per batch, never per record.

    tidewatch_intake_records_total{topic, partition}          raw records read
    tidewatch_intake_records_missed_total{topic, partition}   expired before they were read
    tidewatch_intake_observations_total                       written, and acknowledged
    tidewatch_intake_messages_total                           the batches that they were written in
    tidewatch_intake_dead_letters_total{reason}               raw records that could not be used
    tidewatch_intake_position{topic, partition}               all before it is acknowledged
    tidewatch_intake_lag_records{topic, partition}            raw records that are not yet
    tidewatch_intake_waiting{topic, partition}                observations that wait for sources that are behind
    tidewatch_intake_paused{topic, partition}                 1 while a source that is ahead is not read
    tidewatch_intake_unacknowledged_bytes                     sent, and not acknowledged
    tidewatch_intake_sources                                  raw partitions that this process reads; 0: it stands by
    tidewatch_intake_failing                                  1 while it cannot run, or waits for what does not answer

Each with the label `intake`. Counters exist with every reason before the first record comes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aiokafka import TopicPartition
from prometheus_client import CollectorRegistry, Counter, Gauge

from pipeline.intake.health import IntakeHealth
from producers.formats.base import Reason


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a source is.

    Attributes
    ----------
    position
        All before it is acknowledged.
    end
        Of its log, as last heard; None: nothing was heard yet.
    waiting
        Observations that wait for sources that are behind.
    paused
        Whether it is so far ahead that it is not read.
    """

    position: int
    end: int | None
    waiting: int
    paused: bool

    @property
    def lag(self) -> int:
        """Records that are not written and acknowledged yet."""
        return 0 if self.end is None else max(self.end - self.position, 0)


class IntakeMetrics:
    """The metrics and the health of all intakes of a process.

    Raises
    ------
    ValueError
        The registry holds them already (from prometheus_client).
    """

    def __init__(self, registry: CollectorRegistry, health: IntakeHealth | None = None) -> None:
        self.health = health if health is not None else IntakeHealth()
        self._held: dict[str, set[TopicPartition]] = {}

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"tidewatch_intake_{name}", text, ("intake", *labels), registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"tidewatch_intake_{name}", text, ("intake", *labels), registry=registry)

        source = "topic", "partition"
        self._records = counter("records", "Raw records read.", *source)
        self._missed = counter("records_missed", "Raw records that expired before they were read.", *source)
        self._observations = counter("observations", "Observations written, and acknowledged.")
        self._messages = counter("messages", "Batches that observations were written in.")
        self._dead_letters = counter("dead_letters", "Raw records that became dead letters.", "reason")
        self._position = gauge("position", "Offset before which all is written and acknowledged.", *source)
        self._lag = gauge("lag_records", "Raw records that are not written and acknowledged yet.", *source)
        self._waiting = gauge("waiting", "Observations that wait for sources that are behind.", *source)
        self._paused = gauge("paused", "1 while a source that is ahead of others is not read.", *source)
        self._unacknowledged = gauge("unacknowledged_bytes", "Bytes sent and not acknowledged.")
        self._sources = gauge("sources", "Raw partitions that this process reads.")
        self._failing = gauge("failing", "1 while the intake cannot run, or waits for what does not answer.")

    @property
    def sources(self) -> int:
        """Raw partitions that this process reads, of all its intakes."""
        return sum(map(len, list(self._held.values())))

    def intake(self, intake: str) -> None:
        """What may come to be counted of an intake; called before the first record."""
        for of in (self._observations, self._messages, self._unacknowledged, self._sources, self._failing):
            of.labels(intake)
        for reason in Reason:
            self._dead_letters.labels(intake, reason)

    def read(self, intake: str, source: TopicPartition, records: int) -> None:
        """Records of one batch."""
        self._records.labels(intake, source.topic, str(source.partition)).inc(records)

    def missed(self, intake: str, source: TopicPartition, records: int) -> None:
        """Records expired before they were read."""
        self._missed.labels(intake, source.topic, str(source.partition)).inc(records)

    def rejected(self, intake: str, reason: str) -> None:
        """A record became a dead letter."""
        self._dead_letters.labels(intake, reason).inc()

    def written(self, intake: str, observations: int, messages: int) -> None:
        """So much was acknowledged."""
        self._observations.labels(intake).inc(observations)
        self._messages.labels(intake).inc(messages)

    def failing(self, intake: str, why: str) -> None:
        """Why it cannot run, or what it waits for; empty: it runs."""
        self._failing.labels(intake).set(bool(why))
        self.health.failing(intake, why)

    def standing(self, intake: str, sources: Mapping[TopicPartition, Standing], unacknowledged: int) -> None:
        """How far all that it holds is."""
        for gone in self._held.get(intake, set()) - sources.keys():
            for gauge in (self._position, self._lag, self._waiting, self._paused):
                gauge.remove(intake, gone.topic, str(gone.partition))
        self._held[intake] = set(sources)
        for tp, source in sources.items():
            labels = intake, tp.topic, str(tp.partition)
            self._records.labels(*labels)
            self._missed.labels(*labels)
            self._position.labels(*labels).set(source.position)
            self._lag.labels(*labels).set(source.lag)
            self._waiting.labels(*labels).set(source.waiting)
            self._paused.labels(*labels).set(source.paused)
        self._sources.labels(intake).set(len(sources))
        self._unacknowledged.labels(intake).set(unacknowledged)
        if sources:
            whole = sources.values()
            self.health.standing(intake, sum(s.position for s in whole), sum(s.lag for s in whole))
        else:
            self.health.forget(intake)
