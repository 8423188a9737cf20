"""What a worker says of itself: bounded, readable by others, gone with what it gave away. No I/O."""

from __future__ import annotations

from pipeline.partition.stores.presence import PartitionWord, Presence, WorkerWord, heard


def said(presence: Presence, problems: list[str] | None = None) -> WorkerWord:
    [word] = heard({"w": presence.word(problems or [], [])}, WorkerWord)
    return word


def test_it_says_what_it_holds_and_not_what_it_gave_away() -> None:
    now = [100.0]
    presence = Presence("1.2", worker="w", clock=lambda: now[0])
    presence.series("taxi", 1, warming=2, live=3)
    presence.checkpoint("taxi", 0, 500)
    now[0] = 107.0
    word = said(presence, ["not well"])
    assert (word.version, word.began, word.at, word.problems) == ("1.2", 100.0, 107.0, ["not well"])
    assert word.partitions == [
        PartitionWord("taxi", 0, offset=500, stored_at=100.0),
        PartitionWord("taxi", 1, warming=2, live=3),
    ]
    presence.forget("taxi", 1)
    presence.forget("taxi", 9)
    assert [p.partition for p in said(presence).partitions] == [0]


def test_whatever_there_is_to_say_it_stays_short() -> None:
    presence = Presence(worker="w")
    for partition in range(20_000):
        presence.series("s" * 200, partition, warming=1, live=1)
    problems = ["x" * 100_000 for _ in range(5000)]
    assert len(presence.word(problems, problems)) < 300_000
    assert said(presence, problems).problems[-1] == "and 4993 more"


def test_what_is_no_word_is_passed_over() -> None:
    word = Presence(worker="w").word([], [])
    assert [w.worker for w in heard({"a": b"", "b": b"[1]", "c": b"{}", "d": word, "e": b"\xff"}, WorkerWord)] == ["w"]
