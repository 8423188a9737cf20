"""What the series of a measurement with its tags are called, kept by the bytes they come in: a host sends the same ones again and again.

    cpu,host=a usage_user=3.1,usage_idle=96 ...      head cpu,host=a ──▶ fields usage_user, usage_idle ──▶ name and kind of each series

To sort, escape and join labels anew for each value costs twice as much as all the rest of reading it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from producers.formats.base import series_name
from producers.formats.prometheus import kind_of_field

Key = TypeVar("Key")


class Head:
    """A measurement with its tags, and what is known of the fields beside them: name and kind of each series."""

    __slots__ = ("fields", "labels", "metric")

    def __init__(self, metric: str, labels: dict[str, str]) -> None:
        self.metric = metric
        self.labels = labels
        self.fields: dict[str, tuple[str, int]] = {}


class Heads(Generic[Key]):
    """Those that were seen; bounded, whoever makes up names.

    Parameters
    ----------
    read
        Metric and labels of a head as it comes; what it raises is not kept.
    length
        How long it is: very long ones are not kept.
    """

    most, longest = 1 << 16, 1024

    def __init__(self, read: Callable[[Key], tuple[str, dict[str, str]]], length: Callable[[Key], int]) -> None:
        self._read = read
        self._length = length
        self._of: dict[Key, Head] = {}
        self._kept = 0

    def __len__(self) -> int:
        """Heads and fields that are kept."""
        return self._kept

    def of(self, key: Key) -> Head:
        """A head, as it comes."""
        head = self._of.get(key)
        if head is None:
            head = Head(*self._read(key))
            if self._length(key) <= self.longest:
                if self._kept >= self.most:
                    self._of, self._kept = {}, 0
                self._of[key] = head
                self._kept += 1
        return head

    def named(self, head: Head, field: str) -> tuple[str, int]:
        """Series and kind of a field that is not known yet. Raises Unusable."""
        name = head.metric if field == "value" else f"{head.metric}_{field}"
        named = series_name(name, head.labels), kind_of_field(head.metric, field)
        if self._kept < self.most:
            head.fields[field] = named
            self._kept += 1
        return named
