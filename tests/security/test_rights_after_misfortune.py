"""The two rights that serve only after a misfortune: where a worker lacks one, it says so and goes on."""

from __future__ import annotations

import pytest
from security.test_kafka_rights import Place, documented, kafka, place, redis_port
from structlog.testing import capture_logs

from pipeline.alerts.open_alerts import OpenAlerts
from pipeline.kafka.control import append
from producers.records import PartitionsAdded, encode_control

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

__all__ = ["kafka", "place", "redis_port"]  # fixtures


async def test_who_may_not_read_the_alert_topic_is_told_what_follows(place: Place) -> None:
    place.make_topics()
    place.allow([right for right in documented() if right[0] == "worker" and right[1:] != ("READ", "topic", "ALERTS")])
    with capture_logs() as logs:
        told = await OpenAlerts(place.settings("worker"), place.names["ALERTS"])("acl", place.names["INPUT"], 0)
    assert told == {}
    assert any("may not be read: alerts that are open stay open" in line["event"] for line in logs)


async def test_who_may_not_write_control_records_hears_a_plain_no(place: Place) -> None:
    place.make_topics()
    place.allow([right for right in documented() if right[0] == "worker" and right[1:] != ("WRITE", "topic", "INPUT")])
    key, value = encode_control(PartitionsAdded(1, 2))
    assert not await append(place.settings("worker"), place.names["INPUT"], 0, key, value)
    place.allow([("worker", "WRITE", "topic", "INPUT")])
    for _ in range(50):
        if await append(place.settings("worker"), place.names["INPUT"], 0, key, value):
            break
    assert place.count("INPUT") >= 1
