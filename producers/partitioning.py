"""Which partition a series belongs to, as Kafka's usual partitioner has it: murmur2 of its name as the key."""

from __future__ import annotations


def hash_of(series: str) -> int:
    """What Kafka's usual partitioner makes of a series' name as a key; the partition is its remainder."""
    return murmur2(series.encode())


def murmur2(key: bytes) -> int:
    """The hash of any key, as Java, aiokafka and librdkafka's `murmur2_random` have it."""
    from aiokafka import partitioner

    return int(partitioner.murmur2(key)) & 0x7FFFFFFF


def home(series: str, partitions: int) -> int:
    """The partition of a series in a topic of so many."""
    return hash_of(series) % partitions
