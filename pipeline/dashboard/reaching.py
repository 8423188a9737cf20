"""Whether Kafka answers, for a page that knows no streams: alerts that do not come and a Kafka that is away look the same from here."""

from __future__ import annotations

import asyncio
import json

from confluent_kafka.admin import AdminClient

from pipeline.dashboard.board import Board
from pipeline.errors import TidewatchError
from pipeline.kafka import topics
from pipeline.kafka.clients import connect_admin
from pipeline.settings import KafkaSettings

EVERY = 5.0
"""Seconds between two questions."""


async def watch_kafka(kafka: KafkaSettings, topic: str, board: Board) -> None:
    """Ask for the topic every few seconds while somebody listens, and say why there is no answer (empty: there is one); until it is cancelled."""
    admin = None
    while True:
        if board.listening:
            admin, away = await asyncio.to_thread(_asked, admin, kafka, topic)
            board.say("kafka", json.dumps({"away": away}).encode())
        await asyncio.sleep(EVERY)


def _asked(admin: AdminClient | None, kafka: KafkaSettings, topic: str) -> tuple[AdminClient | None, str]:
    """The client to ask the next time, and why there is no answer. One that hung is given up: it would wait for its time-outs before it connects again."""
    try:
        if admin is None:  # `or` would ask how many messages wait in it
            admin = connect_admin(kafka)
        topics.describe(admin, kafka, [topic])
    except TidewatchError as error:
        return None, str(error)
    return admin, ""
