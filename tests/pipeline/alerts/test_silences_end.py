"""What fires when a silence ends is told then: as its own series goes on, or, where it says nothing, as the partition's event time does."""

import pytest
from alert_logs import MINUTE, T0, Log, Row, minute, scores, stream
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.alerts.records import encode
from pipeline.alerts.selecting.silences import Silenced
from pipeline.alerts.writer import Marks

NORMAL, ANOMALOUS = 0.5, 5.0


def silenced(*spans, **policy):
    """A log under silences [from, until) in minutes, of all series."""
    log = Log(stream(**{"update_every": 0, **policy}))
    log.life.records.marks = Marks(
        [Silenced(k, "*", T0 + b * MINUTE, since=T0 + a * MINUTE) for k, (a, b) in enumerate(spans)]
    )
    return log


def line(text, series="a", **facts):
    return scores(series, [ANOMALOUS if c == "!" else NORMAL for c in text], **facts)


def story(alerts):
    return [(a.series, a.change, minute(a.as_of), a.silenced is True) for a in alerts]


def test_what_fires_when_the_silence_ends_is_told_by_its_next_observation():
    told = silenced((0, 17)).run(line(".!!!!!..."))
    assert story(told) == [("a", "anomaly", 5, True), ("a", "unsilenced", 20, False), ("a", "normal", 40, False)]
    assert [a.sequence for a in told] == [0, 1, 2]
    assert (told[1].status, told[1].reason, told[1].severity) == ("firing", "update", told[0].severity)


def test_a_record_that_comes_anyway_tells_it():
    told = silenced((0, 17), update_every=5).run(line(".!!!!!..."))
    assert story(told)[1:5] == [
        ("a", "update", 10, True),
        ("a", "update", 15, True),
        ("a", "update", 20, False),
        ("a", "update", 25, False),
    ]


@pytest.mark.parametrize("spans", [((0, 21),), ((0, 21), (30, 60))])
def test_what_ended_within_is_not_told(spans):
    assert story(silenced(*spans).run(line(".!...!..."))) == [
        ("a", "anomaly", 5, True), ("a", "normal", 20, True), ("a", "anomaly", 25, False), ("a", "normal", 40, len(spans) > 1),
    ]  # fmt: skip


def test_of_silences_without_a_break_the_last_counts():
    told = silenced((0, 12), (10, 25)).run(line(".!!!!!!!"))
    assert story(told) == [("a", "anomaly", 5, True), ("a", "unsilenced", 25, False)]


def test_a_series_that_says_nothing_any_more_is_told_by_the_time_of_the_others():
    #      a fires at 5, is heard of until 10; nothing is waited for within the silence
    log = silenced((0, 40), silence=20, absent_after="auto")
    told = log.run([*line(".!!"), *[Row("b", m, NORMAL) for m in (20, 30, 31, 39, 41, 42)]])
    assert story(told) == [
        ("a", "anomaly", 5, True), ("a", "changed", 30, True), ("a", "anomaly", 30, True), ("a", "unsilenced", 40, False),
    ]  # fmt: skip
    assert told[-1].kind == "no data"
    assert told[-1].evidence.window is None


def test_a_series_whose_clock_is_ahead_is_told_in_its_own_time():
    told = silenced((0, 40)).run(line("!!!!", start=30, step=4))
    assert story(told) == [("a", "anomaly", 30, True), ("a", "unsilenced", 42, False)]


def test_a_pending_alert_is_told_when_it_fires():
    told = silenced((0, 12), hold=15).run(line(".!!!!!!"))
    assert story(told) == [("a", "anomaly", 5, True), ("a", "held", 20, False)]


@st.composite
def logs(draw):
    rows, now = [], dict.fromkeys("abc", 0.0)
    for _ in range(draw(st.integers(1, 60))):
        series = draw(st.sampled_from("aaabc"))
        now[series] += draw(st.sampled_from([1, 5, 5, 5, 40]))
        rows.append(
            Row(
                series,
                now[series],
                draw(st.sampled_from([NORMAL, ANOMALOUS, ANOMALOUS, None])),
                accepted=draw(st.integers(0, 9)) > 0,
            )
        )
    return rows


@settings(max_examples=60)
@given(
    logs(),
    st.lists(st.tuples(st.integers(0, 200), st.integers(1, 60)), max_size=3),
    st.sampled_from([{}, {"silence": 30}, {"silence": 20, "absent_after": "auto"}, {"hold": 10}, {"update_every": 15}]),
    st.lists(st.integers(0, 60), max_size=6),
)
def test_every_cut_gives_the_same_and_nothing_that_fires_stays_untold(rows, spans, policy, cuts):
    spans = [(a, a + b) for a, b in spans]
    whole, cut = silenced(*spans, **policy), silenced(*spans, **policy)
    alerts = whole.run(rows)
    assert [encode(a) for a in cut.run(rows, sorted(c for c in cuts if c <= len(rows)))] == [encode(a) for a in alerts]
    assert cut.state.arrays["alerts"].tobytes() == whole.state.arrays["alerts"].tobytes()
    last = {a.id: a for a in alerts}
    for alert in last.values():
        as_of = T0 + round(minute(alert.as_of) * MINUTE)
        quiet = whole.life.records.marks.quiet(alert.series)
        assert (alert.silenced is True) == quiet.covers(as_of)
        if alert.status != "firing" or alert.silenced is not True:
            continue
        life = whole.state.arrays["alerts"][whole.state.row_of(alert.series)]
        assert life["untold"]
        passed = max(int(whole.watermark - life["heard_at"]), 0)
        assert quiet.end(int(life["heard"])) > life["heard"] + passed
