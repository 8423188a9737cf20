"""A worker must not go on with a topic that is gone, or is another one of the same name; a Kafka that is away is no such thing."""

from __future__ import annotations

import queue
from collections.abc import Mapping

import pytest

from pipeline.errors import BrokerError, ForeignState, TidewatchError
from pipeline.kafka.topic_watch import LOOKS, TopicWatch

KNOWN = {"taxi.observations": ("taxi", "id-1")}


class Kafka:
    """Answers in turn, then as the last time."""

    def __init__(self, *answers: Mapping[str, str] | BrokerError) -> None:
        self.answers = list(answers)

    def __call__(self) -> Mapping[str, str]:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, BrokerError):
            raise answer
        return answer


HERE, AWAY = {"taxi.observations": "id-1"}, BrokerError("Kafka does not answer")


def looks(*answers: Mapping[str, str] | BrokerError, known: Mapping[str, tuple[str, str]] = KNOWN) -> list[str]:
    watch = TopicWatch(Kafka(*answers), known, lambda _: None)
    return ["" if (error := watch.look()) is None else str(error) for _ in answers]


def test_a_topic_that_is_missing_again_and_again_is_told_with_the_mend() -> None:
    told = looks(*[HERE, AWAY, *[{}] * LOOKS])
    assert told[:-1] == [""] * (LOOKS + 1)
    assert "topic taxi.observations is no more" in told[-1]
    assert "`tidewatch state reset taxi`" in told[-1]


def test_a_broker_that_does_not_know_it_for_a_moment_is_no_reason() -> None:
    unknown: Mapping[str, str] = {}
    assert looks(*[*[unknown] * (LOOKS - 1), HERE] * 3) == [""] * 3 * LOOKS


def test_another_topic_of_the_same_name_is_told_at_once() -> None:
    (told,) = looks({"taxi.observations": "id-2"})
    assert "was deleted and created again while this worker ran" in told
    assert "`tidewatch state reset taxi`" in told


@pytest.mark.parametrize(("own", "now"), [("", "id-1"), ("id-1", ""), ("", "")])
def test_a_broker_that_tells_no_ids_is_believed(own: str, now: str) -> None:
    assert looks({"taxi.observations": now}, known={"taxi.observations": ("taxi", own)}) == [""]


def test_it_is_told_once_and_from_a_thread() -> None:
    told: queue.SimpleQueue[TidewatchError] = queue.SimpleQueue()
    kafka = Kafka(AWAY, HERE, {"taxi.observations": "id-2"})
    with TopicWatch(kafka, KNOWN, told.put, every=0.001):
        assert isinstance(told.get(timeout=60), ForeignState)
    assert told.empty()
