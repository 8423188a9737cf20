"""The right that serves only after a misfortune: where a worker lacks it, it says so and goes on; and what it needs no right for."""

from __future__ import annotations

import pytest
from security.test_kafka_rights import Place, documented, kafka, place, redis_port
from structlog.testing import capture_logs

from pipeline.alerts.open_alerts import OpenAlerts
from pipeline.kafka.offsets import log_ends

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

__all__ = ["kafka", "place", "redis_port"]  # fixtures


async def test_who_may_not_read_the_alert_topic_is_told_what_follows(place: Place) -> None:
    place.make_topics()
    place.allow([right for right in documented() if right[0] == "worker" and right[1:] != ("READ", "topic", "ALERTS")])
    with capture_logs() as logs:
        told = await OpenAlerts(place.settings("worker"), place.names["ALERTS"])("acl", place.names["INPUT"], 0)
    assert told == {}
    assert any("may not be read: alerts that are open stay open" in line["event"] for line in logs)


async def test_who_may_read_the_input_and_no_more_counts_its_partitions_and_where_their_logs_end(place: Place) -> None:
    place.make_topics()
    place.allow([right for right in documented() if right[0] == "worker"])
    assert ("worker", "WRITE", "topic", "INPUT") not in documented()
    assert await log_ends(place.settings("worker"), place.names["INPUT"]) == [0]
