"""Static membership as Kafka means it: every request names the instance, so the broker can say that another one took its place.

aiokafka 0.14 names it only when it joins. A member whose place was taken by a second one of the same `group.instance.id` is then
merely unknown to the broker, joins anew, and takes the place back; so do both, for ever, and each looks healthy. Where the
heartbeats and commits name it too (KIP-345), the broker answers FENCED_INSTANCE_ID instead: that member is to end.
"""

# ruff: noqa: SLF001  aiokafka's coordinator has no other place for it

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import BrokerResponseError
from aiokafka.protocol.api import Request, RequestStruct
from aiokafka.protocol.commit import OffsetCommitRequest, OffsetCommitRequest_v3, OffsetCommitResponse_v3
from aiokafka.protocol.group import HeartbeatRequest, HeartbeatRequest_v1, HeartbeatResponse_v1
from aiokafka.protocol.types import Array, Int32, Int64, Schema, String

_ANY_EPOCH = -1


class FencedInstanceId(BrokerResponseError):  # type: ignore[misc]
    """Another member of the group has joined with the same instance id."""

    errno = 82
    message = "FENCED_INSTANCE_ID"
    description = "Another member of the group has joined with the same group.instance.id."
    retriable = False


def name_instance(consumer: AIOKafkaConsumer, instance_id: str, fenced: Callable[[], None]) -> None:
    """Let a consumer that was started, and has not joined yet, name its instance in every request of its group.

    Parameters
    ----------
    fenced
        Called when the broker says that another member has taken the place. Requests then end in FencedInstanceId, and the
        consumer does not join again.
    """
    coordinator = consumer._coordinator
    send = coordinator._send_req

    async def send_named(request: Any) -> Any:
        response = await send(_named(request, instance_id))
        if FencedInstanceId.errno in _errors(response):
            fenced()
            raise FencedInstanceId
        return response

    coordinator._send_req = send_named


def _named(request: Any, instance_id: str) -> Any:
    if isinstance(request, HeartbeatRequest):
        return _Heartbeat(instance_id, request)
    if isinstance(request, OffsetCommitRequest):
        return _OffsetCommit(instance_id, request)
    return request  # aiokafka's requests to join and to synchronise name it themselves


def _errors(response: Any) -> list[int]:
    """The error codes of a response: its own, or those of its partitions."""
    if hasattr(response, "error_code"):
        return [response.error_code]
    return [partition[1] for _, partitions in response.topics for partition in partitions if len(partition) == 2]


class _HeartbeatRequest_v3(RequestStruct):  # type: ignore[misc]  # noqa: N801  as aiokafka names them
    API_KEY = 12
    API_VERSION = 3
    RESPONSE_TYPE = HeartbeatResponse_v1  # the same since
    SCHEMA = Schema(
        ("group", String("utf-8")),
        ("generation_id", Int32),
        ("member_id", String("utf-8")),
        ("group_instance_id", String("utf-8")),
    )


class _Heartbeat(Request[HeartbeatRequest_v1 | _HeartbeatRequest_v3]):  # type: ignore[misc]
    """A heartbeat that names the instance, where the broker is not older than static membership (Kafka 2.3)."""

    API_KEY = 12

    def __init__(self, instance_id: str, plain: HeartbeatRequest) -> None:
        self._instance_id = instance_id
        self._plain = plain

    def build(self, request_struct_class: Any) -> Any:
        if request_struct_class is not _HeartbeatRequest_v3:
            return self._plain.build(request_struct_class)
        plain = self._plain
        return _HeartbeatRequest_v3(plain._group, plain._generation_id, plain._member_id, self._instance_id)


class _OffsetCommitRequest_v7(RequestStruct):  # type: ignore[misc]  # noqa: N801
    API_KEY = 8
    API_VERSION = 7
    RESPONSE_TYPE = OffsetCommitResponse_v3  # the same since
    SCHEMA = Schema(
        ("group", String("utf-8")),
        ("generation_id", Int32),
        ("member_id", String("utf-8")),
        ("group_instance_id", String("utf-8")),
        (
            "topics",
            Array(
                ("topic", String("utf-8")),
                (
                    "partitions",
                    Array(
                        ("partition", Int32),
                        ("offset", Int64),
                        ("leader_epoch", Int32),
                        ("metadata", String("utf-8")),
                    ),
                ),
            ),
        ),
    )


class _OffsetCommit(Request[OffsetCommitRequest_v3 | _OffsetCommitRequest_v7]):  # type: ignore[misc]
    """A commit that names the instance, where the broker is not older than static membership."""

    API_KEY = 8

    def __init__(self, instance_id: str, plain: OffsetCommitRequest) -> None:
        self._instance_id = instance_id
        self._plain = plain

    def build(self, request_struct_class: Any) -> Any:
        plain = self._plain
        if request_struct_class is not _OffsetCommitRequest_v7:
            return plain.build(request_struct_class)
        topics = [(topic, [(p, offset, _ANY_EPOCH, note) for p, offset, note in of]) for topic, of in plain._topics]
        return _OffsetCommitRequest_v7(
            plain._consumer_group, plain._consumer_group_generation_id, plain._consumer_id, self._instance_id, topics
        )
