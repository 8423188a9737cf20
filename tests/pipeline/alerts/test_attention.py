"""What makes an observation anomalous, for an alert that is to begin and for one that there is."""

import pytest
from alert_logs import Log, Row, minute, scores, story, stream

from pipeline.alerts.attention import STILL, Attention


def test_hysteresis_keeps_a_firing_alert_but_begins_none():
    below = [3.2, 3.2, 5.0, 3.2, 3.2, 3.2, 3.2, 2.9, 2.9, 2.9]
    alerts = Log(stream(hysteresis=1.0)).run(scores("a", below))
    assert story(alerts) == [("firing", "anomaly", 10), ("resolved", "normal", 45)]
    assert minute(alerts[-1].ends_at) == 30


def test_hysteresis_takes_at_most_half_the_level_so_normal_scores_end_an_alert():
    alerts = Log(stream(hysteresis=9.0)).run(scores("a", [5.0, 2.5, 1.9, 1.9, 1.9]))
    assert story(alerts)[-1] == ("resolved", "normal", 20)


def test_a_score_of_zero_is_never_anomalous_whatever_the_level():
    assert Log(stream()).run(scores("a", [0.0] * 5, level=0.0)) == []


@pytest.mark.parametrize(
    ("policy", "observed", "expected", "fires"),
    [
        ({"direction": "up"}, 3.0, 1.0, True),
        ({"direction": "up"}, -3.0, 1.0, False),
        ({"direction": "down"}, -3.0, 1.0, True),
        ({"direction": "down"}, 3.0, 1.0, False),
        ({"min_deviation": 2.0}, 3.0, 1.0, True),
        ({"min_deviation": 2.5}, 3.0, 1.0, False),
        ({"min_relative_deviation": 0.5}, 140.0, 100.0, False),
        ({"min_relative_deviation": 0.5}, 50.0, 100.0, True),
        ({"min_relative_deviation": 0.5}, -50.0, -100.0, True),
        ({"direction": "up", "min_deviation": 1.0}, 0.0, float("nan"), True),
        ({}, 1.0, 1.0, True),
    ],
)
def test_only_deviations_that_matter_count(policy, observed, expected, fires):
    alerts = Log(stream(**policy)).run([Row("a", 0, 5.0, observed=(observed,), expected=(expected,))])
    assert bool(alerts) is fires


def test_one_channel_that_deviates_is_enough():
    row = Row("a", 0, 5.0, observed=(1.0, 9.0), expected=(1.0, 4.0))
    assert len(Log(stream(min_deviation=5.0)).run([row])) == 1
    assert Log(stream(min_deviation=5.1)).run([row]) == []


def test_a_deviation_too_small_does_not_keep_an_alert_going():
    rows = [Row("a", 5 * i, 5.0, observed=(v,), expected=(0.0,)) for i, v in enumerate([9.0, 9.0, 1.0, 1.0, 1.0])]
    assert story(Log(stream(min_deviation=5.0)).run(rows)) == [
        ("firing", "anomaly", 0),
        ("resolved", "normal", 20),
    ]


def test_batches_of_other_series_do_not_look_at_an_open_alert_until_its_patience_may_be_over(monkeypatch):
    looked_at = []
    plain = Attention._changes

    def counted(self, state, lives, heard):
        before = state.bounds.get(STILL, 0)
        found = plain(self, state, lives, heard)
        looked_at.append(not heard.watermarks[-1] < before)
        return found

    monkeypatch.setattr(Attention, "_changes", counted)
    log = Log(stream(silence=60))
    alerts = log.run([Row("a", 0, 9.0)])
    for at in range(5, 75, 5):
        alerts += log.run([Row("b", at)])
    assert story(alerts) == [("firing", "anomaly", 0), ("resolved", "silence", 60)]
    # At the first batch, when a's hour may be over, and behind the batch where it is: twice nothing is to be seen any more.
    assert looked_at == [True, *[False] * 12, True, *[False] * 1]


def test_whoever_is_heard_of_again_is_waited_for_anew_in_any_cut():
    rows = [Row("a", 0, 9.0), *(Row("b", m) for m in range(5, 55, 5)), Row("a", 55, 9.0), *(Row("b", m) for m in range(60, 130, 5))]  # fmt: skip
    whole = Log(stream(silence=60)).run(rows)
    log = Log(stream(silence=60))
    assert [a for row in rows for a in log.run([row])] == whole
    assert story(whole)[-1] == ("resolved", "silence", 115)
