"""Whether Kafka answers, for a page that knows no streams: alerts that do not come and a Kafka that is away look the same from here."""

from __future__ import annotations

import asyncio
import json

from pipeline.dashboard.board import Board
from pipeline.errors import TidewatchError
from pipeline.kafka import topics
from pipeline.kafka.clients import connect_admin
from pipeline.settings import KafkaSettings

EVERY = 5.0
"""Seconds between two questions."""


async def watch_kafka(kafka: KafkaSettings, topic: str, board: Board) -> None:
    """Ask for the topic every few seconds while somebody listens, and say why there is no answer (empty: there is one); until it is cancelled."""
    while True:
        if board.listening:
            board.say("kafka", json.dumps({"away": await asyncio.to_thread(_away, kafka, topic)}).encode())
        await asyncio.sleep(EVERY)


def _away(kafka: KafkaSettings, topic: str) -> str:
    try:
        topics.describe(connect_admin(kafka), kafka, [topic])
    except TidewatchError as error:
        return str(error)
    return ""
