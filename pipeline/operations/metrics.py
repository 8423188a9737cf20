"""What a worker measures, for Prometheus.

Metrics are made over a registry that is handed in, carry the fixed prefix `tidewatch_` and base units (seconds, bytes), and
are updated once per batch and checkpoint, never per record. `pipeline.operations.serving` answers `/metrics` with them.

    tidewatch_records_total, tidewatch_observations_total         read; decoded
    tidewatch_dead_letters_total{reason}                          records that could not be used
    tidewatch_records_missed_total                                expired before they were read
    tidewatch_records_rebuilt_total                               read again because the state was lost
    tidewatch_control_records_total
    tidewatch_tombstones_total                                    records without a value, passed over
    tidewatch_seen_before_total                                   observations of batches that came before
    tidewatch_policy_total{case}                                  late, duplicate, filled, ...: the time policy at work
    tidewatch_windows_scored_total, tidewatch_anomalous_total
    tidewatch_alerts_total{status}                                alert records published
    tidewatch_alerts_fired_total{severity}                        alerts that began to fire, by their severity then
    tidewatch_alerts_open{status, severity}                       alerts that are pending or firing now
    tidewatch_stage_seconds{stage}, tidewatch_batch_records       per batch
    tidewatch_checkpoint_seconds, tidewatch_checkpoint_bytes
    tidewatch_checkpoint_offset, tidewatch_position, tidewatch_lag_records
    tidewatch_series{state}                                       warming, live
    tidewatch_series_away_ratio                                   share of the series looked at that are not where their key says
    tidewatch_store_waiting                                       1 while the state store does not answer
    tidewatch_registry_waiting                                    1 while the schema registry does not answer
    tidewatch_event_time_seconds                                  the partition's event time
    tidewatch_ticks_total                                         times it was carried on because nothing came
    tidewatch_clocks_apart                                        series whose clock is far from it
    tidewatch_shadow_ready_ratio                                  share of live series that are live in a shadow too, while there is one
    tidewatch_partitions_open, tidewatch_topic_partitions         that this worker reads; that the input topic has

Counters exist with every value of their labels before the first record comes: `increase()` does not see a first burst whose
series begins with it.
"""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Sequence
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from pipeline.alerts.records import Severity, Status
from pipeline.operations.health import Health
from pipeline.operations.progress import Progress
from pipeline.partition.home import Verdict
from pipeline.partition.stores.patience import REGISTRY, STORE
from pipeline.partition.stores.presence import Presence
from producers.formats.base import Reason

POLICY = ("late", "duplicate", "first_total", "held", "confirmed", "dropped_future", "filled", "restarted", "warming")
"""Cases of the time policy, counted by `pipeline.steps.windows`."""

OPEN: tuple[Status, ...] = ("pending", "firing")
"""Statuses of an alert that is open."""

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_RECORDS = (1, 10, 100, 1_000, 10_000, 100_000)
_BYTES = (1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9)
_REJECTED, _ALERTS, _FIRED = "rejected_", "alerts_", "fired_"
_UNSCORABLE = f"{_REJECTED}not scorable"

STAGES = ("decode", "score", "batch")
"""Stages of a batch, as `pipeline.partition.loop` names them."""

REASONS = (*Reason, "series limit", "not scorable")
"""Why a record becomes a dead letter: its format's reasons, and those of later steps."""


class WorkerMetrics:
    """The metrics of one worker process; what `pipeline.partition.reports.LoopMetrics` asks for, and a little more.

    Raises
    ------
    ValueError
        The registry holds them already (from prometheus_client).
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        health: Health | None = None,
        progress: Progress | None = None,
        presence: Presence | None = None,
    ) -> None:
        self._counters: dict[tuple[str, int], dict[str, Counter | None]] = {}
        self._stages: dict[str, dict[str, Histogram]] = {}
        self._sizes: dict[str, Histogram] = {}
        self.health = health if health is not None else Health()
        self.progress = progress if progress is not None else Progress()
        self.presence = presence if presence is not None else Presence()
        each = ("stream", "partition")

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"tidewatch_{name}", text, (*each, *labels), registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"tidewatch_{name}", text, (*each, *labels), registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"tidewatch_{name}", text, ("stream", *labels), registry=registry, buckets=buckets)

        self._plain = {
            "records": counter("records", "Records read from the input topic."),
            "observations": counter("observations", "Records decoded into observations."),
            "scored": counter("windows_scored", "Windows scored."),
            "anomalous": counter("anomalous", "Live observations at or above the threshold."),
            "rebuilt": counter("records_rebuilt", "Records read again, because the state was lost."),
            "control": counter("control_records", "Control records met, which versions before wrote."),
            "ticks": counter("ticks", "Times that event time was carried on because nothing came."),
            "tombstones": counter("tombstones", "Records without a value, passed over."),
            "seen_before": counter(
                "seen_before", "Observations that came before, by the position that their batch says."
            ),
        }
        self._missed = counter("records_missed", "Records that expired before they were read.")
        self._dead_letters = counter("dead_letters", "Records that became dead letters.", "reason")
        self._alerts = counter("alerts", "Alert records published, by the alert's new status.", "status")
        self._fired = counter("alerts_fired", "Alerts that began to fire, by their severity then.", "severity")
        self._policy = counter("policy", "Observations that the time policy treated specially.", "case")
        self._stage = histogram("stage_seconds", "Time of one batch in a stage.", _SECONDS, "stage")
        self._batch = histogram("batch_records", "Records of one batch.", _RECORDS)
        self._checkpoint_seconds = histogram("checkpoint_seconds", "Time of one checkpoint.", _SECONDS)
        self._checkpoint_bytes = histogram("checkpoint_bytes", "Bytes written by one checkpoint.", _BYTES)
        self._offset = gauge("checkpoint_offset", "Everything before it is in the state store.")
        self._position = gauge("position", "Next offset to process.")
        self._lag = gauge("lag_records", "Records of the partition that are not processed yet.")
        self._series = gauge("series", "Series held, by state.", "state")
        self._away = gauge(
            "series_away_ratio", "Share of the series looked at that are not in the partition of their key."
        )
        self._waiting = {
            STORE: gauge("store_waiting", "1 while the state store does not answer."),
            REGISTRY: gauge("registry_waiting", "1 while the schema registry does not answer."),
        }
        self._apart = gauge("clocks_apart", "Series whose clock is 15 minutes or more from the partition's event time.")
        self._shadow = gauge(
            "shadow_ready_ratio", "Share of the live series that are live in what is to judge next, while it learns."
        )
        self._event_time = gauge("event_time_seconds", "The partition's event time, in seconds since the epoch.")
        self._open = gauge("alerts_open", "Alerts that are open, by status and severity.", "status", "severity")

        def of_stream(name: str, text: str) -> Gauge:
            return Gauge(f"tidewatch_{name}", text, ("stream",), registry=registry)

        self._partitions = of_stream("partitions_open", "Partitions that this worker reads.")
        self._topic = of_stream("topic_partitions", "Partitions that the input topic has.")

    def stream(self, stream: str, partitions: int) -> None:
        """What this worker may come to count of a stream; called before the first record, and again where partitions were added."""
        self._topic.labels(stream).set(partitions)
        self._partitions.labels(stream)
        for stage in STAGES:
            self._stage.labels(stream, stage)
        for histogram in (self._batch, self._checkpoint_seconds, self._checkpoint_bytes):
            histogram.labels(stream)
        for labels in ((stream, str(p)) for p in range(partitions)):
            for plain in (*self._plain.values(), self._missed):
                plain.labels(*labels)
            for labelled, values in (
                (self._dead_letters, REASONS),
                (self._policy, POLICY),
                (self._alerts, get_args(Status)),
                (self._fired, get_args(Severity)),
            ):
                for value in values:
                    labelled.labels(*labels, value)

    def partitions_open(self, stream: str, partitions: int) -> None:
        """How many partitions this worker reads; told now and then."""
        self._partitions.labels(stream).set(partitions)

    def batch(self, stream: str, partition: int, counts: Counts[str], seconds: dict[str, float]) -> None:
        """One batch: what happened how often, and the seconds of each stage."""
        known = self._counters.setdefault((stream, partition), {})
        for name, n in counts.items():
            if n <= 0:
                continue
            if name not in known:
                known[name] = self._counter(name, stream, str(partition))
            if (counter := known[name]) is not None:
                counter.inc(n)
        if counts.get(_UNSCORABLE, 0) > 0:
            self.health.unscorable(stream, partition, counts[_UNSCORABLE])
        stages = self._stages.setdefault(stream, {})
        for stage, taken in seconds.items():
            if stage not in stages:
                stages[stage] = self._stage.labels(stream, stage)
            stages[stage].observe(taken)
        if stream not in self._sizes:
            self._sizes[stream] = self._batch.labels(stream)
        self._sizes[stream].observe(counts["records"])
        self.progress.batch(stream, counts)

    def _counter(self, name: str, *labels: str) -> Counter | None:
        """What counts a name of a batch's counts, found once: a batch of few records has half a dozen; None: nothing does."""
        if name in self._plain:
            return self._plain[name].labels(*labels)
        if name in POLICY:
            return self._policy.labels(*labels, name)
        of = {_REJECTED: self._dead_letters, _ALERTS: self._alerts, _FIRED: self._fired}
        return next((c.labels(*labels, name.removeprefix(p)) for p, c in of.items() if name.startswith(p)), None)

    def checkpoint(self, stream: str, partition: int, offset: int, size: int, seconds: float) -> None:
        """One checkpoint: its offset, bytes and seconds."""
        self._checkpoint_seconds.labels(stream).observe(seconds)
        self._checkpoint_bytes.labels(stream).observe(size)
        self._offset.labels(stream, str(partition)).set(offset)
        self.presence.checkpoint(stream, partition, offset)

    def waiting(self, stream: str, partition: int, waiting: bool, what: str) -> None:
        """Whether the partition waits for the store, or for the schema registry."""
        self._waiting[what].labels(stream, str(partition)).set(int(waiting))
        self.health.waiting(stream, partition, waiting, what)

    def missed(self, stream: str, partition: int, records: int) -> None:
        """Records expired before they were read."""
        self._missed.labels(stream, str(partition)).inc(records)

    def homes(self, stream: str, partition: int, share: float, verdict: Verdict | None) -> None:
        """Which share of the series looked at is not where it belongs, and what is to be said of it."""
        self._away.labels(stream, str(partition)).set(share)
        self.health.homes(stream, partition, verdict)
        self.progress.homes(stream, partition, verdict)

    def clocks(self, stream: str, partition: int, event_time: int, apart: Sequence[tuple[str, int]]) -> None:
        """The partition's event time (0: none yet), and the series whose clock is far from it: only how many; their names are in /healthz."""
        self._apart.labels(stream, str(partition)).set(len(apart))
        if event_time:
            self._event_time.labels(stream, str(partition)).set(event_time / 1000)
        self.health.clocks(stream, partition, apart)

    def shadow(self, stream: str, partition: int, ready: float | None) -> None:
        """Which share of the live series are live in the partition's shadow; None: there is none."""
        if ready is None:
            _remove(self._shadow, stream, str(partition))
        else:
            self._shadow.labels(stream, str(partition)).set(ready)

    def stands(self, stream: str, partition: int, why: str) -> None:
        """Why event time stands still though nothing comes; empty: it does not."""
        self.health.stands(stream, partition, why)

    def position(self, stream: str, partition: int, position: int, end: int) -> None:
        """Where the partition stands, and the end of its log; told now and then, also while nothing moves."""
        lag = max(end - position, 0)
        self._position.labels(stream, str(partition)).set(position)
        self._lag.labels(stream, str(partition)).set(lag)
        self.health.position(stream, partition, position, lag)
        self.progress.position(stream, partition, lag)

    def series(self, stream: str, partition: int, *, warming: int, live: int, once: int) -> None:
        """How many series are held, in probation and out of it, and how many came once and never again."""
        self._series.labels(stream, str(partition), "warming").set(warming)
        self._series.labels(stream, str(partition), "live").set(live)
        self.progress.series(stream, partition, warming=warming, live=live, once=once)
        self.health.series(stream, partition, series=warming + live, once=once)
        self.presence.series(stream, partition, warming=warming, live=live)

    def open_alerts(self, stream: str, partition: int, alerts: Counts[tuple[Status, Severity]]) -> None:
        """How many alerts are open, by status and severity."""
        for status in OPEN:
            for severity in get_args(Severity):
                self._open.labels(stream, str(partition), status, severity).set(alerts[status, severity])

    def forget(self, stream: str, partition: int) -> None:
        """The partition was given away: its gauges go, its counters stay."""
        labels = (stream, str(partition))
        for gauge in (
            self._offset, self._position, self._lag, *self._waiting.values(), self._away, self._apart, self._shadow,
            self._event_time,
        ):  # fmt: skip
            _remove(gauge, *labels)
        for state in ("warming", "live"):
            _remove(self._series, *labels, state)
        for status in OPEN:
            for severity in get_args(Severity):
                _remove(self._open, *labels, status, severity)
        self.health.forget(stream, partition)
        self.progress.forget(stream, partition)
        self.presence.forget(stream, partition)


def _remove(gauge: Gauge, *labels: str) -> None:
    gauge.labels(*labels)  # removing what was never set is an error
    gauge.remove(*labels)
