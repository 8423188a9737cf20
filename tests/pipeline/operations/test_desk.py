"""Silences as people ask for them, and decisions in words: what is meant, and what is refused. No I/O."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from pipeline.alerts.selecting.feedback import Feedback
from pipeline.alerts.selecting.silences import calendar
from pipeline.errors import TidewatchError
from pipeline.operations.deciding import judging, refused
from pipeline.operations.desk import ASKED, Desk, fit, silence_asked, told
from pipeline.partition.deciding.carrying import differing
from pipeline.partition.deciding.decisions import InForce, Shadowed
from pipeline.partition.deciding.listing import Listing
from pipeline.partition.deciding.what import (
    Acknowledge,
    Close,
    Comment,
    Decision,
    Forget,
    Lift,
    SettingsOf,
    Silence,
    Undo,
)
from pipeline.partition.stores.memory import MemoryStore

NOW = 1_795_000_000_000
HOUR = 3_600_000


@pytest.mark.parametrize(
    ("series", "asked", "made"),
    [
        ("a*", {"lasts": HOUR}, Silence("a*", NOW + HOUR)),
        ("a", {"until": "2026-11-28T00:00Z", "why": "move"}, Silence("a", 1_795_824_000_000, "move")),
        ("a", {"since": "2026-11-28T00:00Z", "lasts": HOUR}, Silence("a", 1_795_827_600_000, since=1_795_824_000_000)),
        ("", {"where": ["env=te=*"], "lasts": HOUR}, Silence("*", NOW + HOUR, where={"env": "te=*"})),
        ("*", {"weekly": ["sat 01:00-02:00"]}, Silence("*", 0, calendar=calendar(["sat 01:00-02:00"], "UTC", now=NOW))),
    ],
)
def test_what_is_asked_for_is_what_is_decided(series: str, asked: dict[str, Any], made: Silence) -> None:
    assert silence_asked(series, now=NOW, **asked) == made


def test_a_window_is_told_with_its_place_and_its_end() -> None:
    made = silence_asked(
        "*",
        now=NOW,
        weekly=["sat 01:00-02:00", "daily 12:00-12:30"],
        zone="Europe/Berlin",
        until="2026-12-01",
        why="backups",
    )
    assert (
        told(made)
        == "silence * sat 01:00-02:00; daily 12:00-12:30 Europe/Berlin until 2026-12-01T00:00:00.000Z: backups"
    )


@pytest.mark.parametrize(
    ("series", "asked", "why"),
    [
        ("", {"lasts": 1}, "say of which series"),
        ("*", {}, "say how long"),
        ("*", {"lasts": 1, "until": "2026-11-28"}, "say how long"),
        ("*", {"lasts": 1, "weekly": ["sat 01:00-02:00"]}, "leave --for out"),
        ("*", {"weekly": ["sat 01:00"]}, "is no window of a week"),
        ("*", {"weekly": ["sat 01:00-02:00"], "zone": "Berlin"}, "there is no time zone"),
        ("*", {"lasts": 1, "zone": "UTC"}, "whose clock --weekly means"),
        ("*", {"lasts": 1, "where": ["env"]}, "LABEL=PATTERN"),
        ("*", {"since": "2026-11-22", "until": "2026-11-21"}, "is not after"),
        ("*", {"until": "soon"}, "is not a time"),
    ],
)
def test_what_cannot_be_is_refused_in_words(series: str, asked: dict[str, Any], why: str) -> None:
    with pytest.raises(TidewatchError, match=why):
        silence_asked(series, now=NOW, **asked)


def settings(level: float, model: str = "a" * 64, **more: Any) -> SettingsOf:
    return SettingsOf({"threshold": {"method": "fixed", "level": level}, "select": [], **more}, model, {})


def test_settings_are_told_by_what_they_change_of_those_before() -> None:
    first = settings(3.0, probation=50)
    assert told(first) == "settings: model aaaaaaaaaaaa, threshold 3.0"
    again = settings(3.0, probation=50)
    assert told(again, first) == "settings: the same again"
    other = settings(2.5, "b" * 64, probation=50, select=[{"series": "a*"}])
    assert (
        told(other, first)
        == "settings: model aaaaaaaaaaaa -> bbbbbbbbbbbb, select [] -> 1 of them, threshold.level 3.0 -> 2.5"
    )
    many = settings(3.0, probation=50, alerts={f"s{i}": i for i in range(9)})
    assert told(many, first).startswith("settings: alerts.s0 nothing -> 0, alerts.s1 nothing -> 1")
    assert told(many, first).endswith("alerts.s5 nothing -> 5, and 3 more")


def desk(*names: str) -> Desk:
    """Of the stream `web`, with series of these names, without Kafka."""

    async def nothing_taken() -> list[Any]:
        return []

    async def known(_: str) -> list[str]:
        return list(names)

    made = Desk.__new__(Desk)
    made.stream, made._names = cast("Any", SimpleNamespace(name="web")), known
    made._listing = Listing("web", MemoryStore(), nothing_taken, of_log="t")
    return made


async def test_what_is_asked_for_again_by_its_id_is_decided_once() -> None:
    at = desk()
    first = await at.decide(Silence("a", NOW), by="ann", id=f"{ASKED}k1")
    assert await at.decide(Silence("a", NOW + 5), by="ann", id=f"{ASKED}k1") == first  # the same 5 s later
    with pytest.raises(TidewatchError, match=r"^id k1 is decision 1 of stream web already, `silence a until"):
        await at.decide(Close("a"), id=f"{ASKED}k1")
    assert await at.decide(Silence("a", NOW)) == first + 1


async def test_a_silence_ends_once() -> None:
    at = desk()
    await at.decide(Silence("a", NOW))
    with pytest.raises(TidewatchError, match="decision 7 of stream web is no silence"):
        await at.decide(Lift(7))
    assert await at.decide(Lift(1)) == 2
    with pytest.raises(TidewatchError, match="silence 1 of stream web was ended by decision 2 already"):
        await at.decide(Lift(1))


async def test_the_same_word_of_an_alert_counts_once_until_it_is_taken_back() -> None:
    at, noise = desk(), Feedback("a", "noise", NOW, NOW, alert="5f0c")
    await at.decide(noise, by="ann")
    with pytest.raises(TidewatchError, match="decision 1 of stream web, by ann, says so of this alert already"):
        await at.decide(noise)
    assert await at.decide(Feedback("a", "noise", NOW, NOW, alert="5f0c", every="day")) == 2
    assert await at.decide(Feedback("a", "noise", NOW, NOW, alert="6f0c")) == 3
    await at.decide(Undo(1))
    assert await at.decide(noise) == 5


@pytest.mark.parametrize(
    ("what", "why"),
    [
        (Acknowledge("cpu*"), ""),
        (Acknowledge("nobody"), "none of the 2 series that are known matches nobody now"),
        (Close("nobody*"), "none of the 2 series that are known matches nobody* now"),
        (Forget("lag"), ""),
        (Comment("cpu*", "x"), "none of the 2 series that are known is cpu* now"),
        (Comment("gone", "x", "5f0c"), ""),
        (Silence("*", 1 << 50, where={"host": "b*"}), ""),
        (
            Silence("*", 1 << 50, where={"env": "b*"}),
            "none of the 2 series that are known matches * where env=b* now",
        ),
        (Silence("lag", 1_577_836_800_000), "it is over already: only what is as of a time before 2020-01-01"),
        (Lift(1), ""),
    ],
)
async def test_what_nothing_comes_of_is_said(what: Any, why: str) -> None:
    said = await desk('cpu{host="b1"}', "lag").nothing_comes_of(what)
    assert said.startswith(why) if why else said == ""
    if "known" in why:
        assert await desk().nothing_comes_of(what) == ""  # nobody knows


def test_words_are_on_one_line_and_no_terminal_obeys_them() -> None:
    assert fit(Close("a", "x\x1b[2Jy\n\u202ez")) == Close("a", "x [2Jy z")
    assert fit(Lift(3)) == Lift(3)
    for what in (Close("a", "x" * 501), Close("a" * 1025), Comment("a", "x" * 1001)):
        with pytest.raises(TidewatchError, match="are the most"):
            fit(what)


def test_settings_that_a_partition_took_and_cannot_go_on_with_are_known_as_refused() -> None:
    def decision(of: SettingsOf, serial: int) -> Decision:
        return Decision("x", of, "ann", "2026-11-27T00:00:00Z", serial)

    old, new = settings(3.0, channels=["a"]), settings(3.0, "b" * 64, channels=["a", "b"])
    learns = InForce(3, 9, old.settings, old.model, shadow=Shadowed(3, 9, new.settings, new.model))
    assert not refused(decision(old, 2), InForce(2, 9, old.settings, old.model))
    assert not refused(decision(new, 3), learns)
    assert not refused(decision(new, 3), learns.taken_over())
    assert not refused(decision(new, 4), learns)  # not taken yet
    late = decision(settings(3.0, "b" * 64, channels=["a", "b"], lateness="5m"), 4)
    assert refused(late, InForce(4, 9, old.settings, old.model, shadow=learns.shadow))
    assert refused(late, InForce(4, 9, old.settings, old.model))

    taken, asked = {"kind": "metric", "named": "a, b"}, {"kind": "metric", "named": "a, b", "waits": "yes"}
    assert differing(judging(taken, InForce()), asked) == ""
    assert "set lateness to 0" in differing(judging(taken, learns), asked)
    assert differing(judging(taken, learns.taken_over()), asked) == ""
