"""The doctor: inverted scores, evicting Redis and unreachable servers cannot hide."""

from __future__ import annotations

import numpy as np

from detectors.base import Scores
from detectors.baselines import ZScore, ZScoreConfig
from pipeline.canary import PLANTED, START, STEP, _judged
from pipeline.doctor import _redis_itself, examine, planted_scores_higher
from pipeline.records import rfc3339
from pipeline.settings import Settings


class Inverted(ZScore):
    """Calls the most anomalous the most normal."""

    def _score(self, x):
        return Scores(-super()._score(x).raw)


def fitted(kind):
    detector = kind(ZScoreConfig(window=12))
    detector.fit(np.random.default_rng(0).normal(size=(8, 12, 1)))
    return detector


def test_an_inverted_score_is_noticed() -> None:
    assert planted_scores_higher(fitted(ZScore))
    assert not planted_scores_higher(fitted(Inverted))


def test_a_redis_that_evicts_fails_with_the_mend() -> None:
    info = {"maxmemory_policy": "allkeys-lru", "redis_version": "7.2.0", "aof_enabled": 1}
    finding = _redis_itself(info)
    assert finding.state == "failed"
    assert "set it to noeviction" in finding.detail
    assert _redis_itself(info | {"maxmemory_policy": "noeviction"}).state == "ok"


def test_servers_that_are_not_there_are_named() -> None:
    settings = Settings(
        kafka={"brokers": "127.0.0.1:1", "request_timeout": "1s"}, redis={"url": "redis://127.0.0.1:1/0"}
    )
    findings = {f.what: f for f in examine(settings)}
    assert findings["kafka"].state == findings["redis"].state == "failed"
    assert "127.0.0.1:1" in findings["kafka"].detail
    assert "127.0.0.1:1" in findings["redis"].detail


def test_the_canary_is_content_with_the_planted_alert_alone() -> None:
    planted = rfc3339(START + STEP * PLANTED)
    assert _judged({planted}, 1) == ""
    assert "inverted" in _judged({rfc3339(START)}, 1)
    assert "besides" in _judged({planted, rfc3339(START)}, 1)
    assert "dead letters" in _judged({planted}, 0)
