"""A worker process for tests that kill it: `python killable_worker.py KAFKA GROUP TOPIC FOLDER [INSTANCE]`.

Its store is a folder: what a partition has processed, and the offset behind it, in one file that is replaced in one step. Its
checkpoints are rare, so a kill always loses work that has to be done again.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

from pipeline.kafka.agents import App
from pipeline.settings import KafkaSettings, Settings, WorkerSettings
from pipeline.steps.batches.records import RecordBatch, Standing


class FileLife:
    """A PartitionLife whose state is a list of the values seen."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.position = self.checkpointed = -1
        self.values: list[str] = []
        self.batches = 0

    async def assigned(self) -> int | None:
        if not self.file.exists():
            return None
        stored = json.loads(self.file.read_text())
        self.values, self.position = stored["values"], stored["offset"]
        self.checkpointed = self.position
        return self.position

    async def begin(self, now: Standing) -> int:
        return now.first if self.position < 0 else max(self.position, now.first)

    async def batch(self, records: RecordBatch) -> None:
        await asyncio.sleep(0.005)
        self.values += [(value or b"").decode() for value in records.values]
        self.position = records.next_offset
        self.batches += 1
        if self.batches % 7 == 0:
            self.checkpoint()

    async def idle(self) -> None:
        if self.position > self.checkpointed:
            self.checkpoint()

    async def revoked(self) -> None:
        if self.position > self.checkpointed:
            self.checkpoint()

    def checkpoint(self) -> None:
        new = self.file.with_suffix(".new")
        new.write_text(json.dumps({"offset": self.position, "values": self.values}))
        new.replace(self.file)
        self.checkpointed = self.position


async def main(kafka: str, group: str, topic: str, folder: Path, instance: str) -> None:
    settings = Settings(
        kafka=KafkaSettings(brokers=kafka),
        worker=WorkerSettings(
            group=group, instance_id=instance, session_timeout=timedelta(seconds=10), max_poll_records=40
        ),
    )

    def make(
        topic: str,
        partition: int,
        *,
        still_owner: Callable[[], Awaitable[bool]],
        surely_owner: Callable[[], bool],
        end_of_log: Callable[[], Awaitable[int]],
        generation: int,
    ) -> FileLife:
        return FileLife(folder / f"{topic}-{partition}.json")

    app = App.create(settings, [topic], make)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, app.ended.set)
    print(os.getpid(), flush=True)
    await app.serve()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4]), "".join(sys.argv[5:])))
