"""A worker process."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field, SecretStr

from pipeline.settings.durations import Duration
from pipeline.settings.table import Table


class WorkerSettings(Table):
    """One worker process."""

    group: str = Field("tidewatch", description="Consumer group; the workers of one group share the partitions.")
    instance_id: str = Field(
        "", description="Static membership: a name of this worker that survives its restart; empty: dynamic."
    )
    session_timeout: Duration = Field(
        timedelta(seconds=20),
        description="After this silence Kafka gives a worker's partitions away; of the embedded Tansu, where joining takes half of it, 4 s at most.",
    )
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="Where detectors run; `auto`: on a GPU, where there is one and a network of the stream is large enough to gain by it.",
    )
    threads: int = Field(1, ge=1, description="Threads of one forward pass on the CPU.")
    max_batch_size: int = Field(65_536, ge=1, description="Windows that are scored in one go.")
    batch_wait: Duration = Field(timedelta(0), description="How long a small batch waits for more partitions' windows.")
    max_poll_records: int = Field(20_000, ge=1, description="Records of one partition that are handed on in one batch.")
    buffer_bytes: int = Field(
        64 << 20,
        ge=1 << 20,
        description="Bytes of fetched records waiting, unpacked, all partitions together; a batch that is being unpacked comes on top.",
    )
    checkpoint_every: Duration = Field(
        timedelta(seconds=2), description="Wall time between checkpoints of a partition."
    )
    checkpoint_records: int = Field(
        200_000,
        ge=1,
        description="A checkpoint is made at the latest after this many records, offsets that hold none among them.",
    )
    snapshots: int = Field(
        8,
        ge=0,
        le=366,
        description="Checkpoints of earlier days, one a day, that Redis keeps of each partition for `tidewatch explain`, packed: each takes a sixth to a third of the memory of what changed since. 0: none.",
    )
    rebuild_records: int = Field(
        2_000_000,
        ge=0,
        description="Where a partition's state was lost: how many records before the committed offset are read again at most.",
    )
    metrics_port: int = Field(0, ge=0, le=65535, description="Port of /metrics and /healthz; 0: none.")
    metrics_host: str = Field(
        "127.0.0.1", description="Address that the port is bound to; beyond loopback metrics_token is required."
    )
    metrics_token: SecretStr = Field(
        SecretStr(""), description="Who asks for /metrics must send it, as `Authorization: Bearer`."
    )
    intake: bool = Field(
        True,
        description="Whether workers run the intakes of the settings beside their streams; false: `tidewatch intake` does, elsewhere.",
    )
    log_format: Literal["console", "json"] = Field("console", description="Form of the log lines.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe level that is logged."
    )
