"""Slow, obvious versions of thresholds and the life of alerts: one record at a time, plain Python."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from detectors.thresholds import STEP, PotThreshold, QuantileThreshold
from pipeline.alerts import kinds


class NaiveQuantile:
    """QuantileThreshold of one series."""

    def __init__(self, probability):
        self.p = probability
        self.level = np.float32(-math.log10(probability))
        self.counts = [0] * len(QuantileThreshold.EDGES)
        self.seen = 0

    def apply(self, score, learn):
        level = self.level if self.seen or self.moved else -math.log10(self.p)
        if learn and not math.isnan(score):
            self._learn(score)
        return float(level)

    moved = False

    def _learn(self, score):
        edges = QuantileThreshold.EDGES
        for k in reversed(range(len(edges))):
            if score >= edges[k]:
                self.counts[k] += 1
                break
        self.seen += 1
        if self.seen % STEP == 0:
            self.moved = True
            if self.seen >= QuantileThreshold.MEMORY:
                self.seen //= 2
                self.counts = [c // 2 for c in self.counts]
            self.level = np.float32(min(max(self._solve(), 1e-3), 12.0))

    def _solve(self):
        prior = QuantileThreshold.PRIOR
        points = [(0.0, 0.0)]
        for k, edge in enumerate(QuantileThreshold.EDGES):
            share = (sum(self.counts[k:]) + prior * 10.0**-edge) / (self.seen + prior)
            points.append((edge, math.log10(share)))
        wanted = math.log10(self.p)
        for (x0, y0), (x1, y1) in pairwise(points):
            if y1 <= wanted:
                return x0 + (wanted - y0) * (x1 - x0) / (y1 - y0)
        x, y = points[-1]
        return x + (y - wanted)


class NaivePot:
    """PotThreshold of one series, keeping every peak (as many as it may)."""

    def __init__(self, probability):
        self.p = probability
        self.level = -math.log10(probability)
        self.learnt = 0
        self.seen = 0
        self.peaks = []

    def apply(self, score, learn):
        level = self.level
        if learn and not math.isnan(score):
            self.seen += 1
            if score < level + PotThreshold.MARGIN:
                self.learnt += 1
                if score > PotThreshold.PEAK:
                    self.peaks.append(round((score - PotThreshold.PEAK) * PotThreshold.UNIT) / PotThreshold.UNIT)
            if self.seen % STEP == 0:
                self.level = float(np.float32(min(self._solve(), 12.0)))
        return level

    def _solve(self):
        n = self.learnt + 300
        N = len(self.peaks) + 30
        mean = (sum(self.peaks) + 30 / math.log(10)) / N
        second = (sum(y * y for y in self.peaks) + 60 / math.log(10) ** 2) / N
        gamma = min(max(0.5 * (1 - mean**2 / (second - mean**2)), -0.5), 0.4)
        sigma = mean * (1 - gamma)
        ratio = min(self.p * n / N, 1.0)
        if abs(gamma) < 1e-6:
            return PotThreshold.PEAK - sigma * math.log(ratio)
        return PotThreshold.PEAK + sigma / gamma * (ratio**-gamma - 1)


INACTIVE, PENDING, FIRING = "inactive", "pending", "firing"
SEVERITIES = ["info", "warning", "critical"]


class NaiveLife:
    """AlertLife of all series of a partition: one observation of the log at a time, a dict per series."""

    def __init__(self, policy, hysteresis):
        self.p = policy
        self.hysteresis = hysteresis
        self.lives = {}

    def ms(self, name):
        return int(getattr(self.p, name).total_seconds() * 1000)

    def observe(self, row, clock, time, accepted, scored=None):
        """One observation of the log; `scored` is None where it was not scored. Returns the records it causes, by row.

        `clock` is the partition's event time after it, `time` its own, believed where it is `accepted`.
        """
        records = []
        for other in sorted(self.lives):
            life = self.lives[other]
            silence = self.ms("silence")
            if life["status"] != INACTIVE and silence and clock > life["heard_at"] + silence:
                fired = life["status"] == FIRING
                ended = min(life["heard"], life["heard_at"]) + silence
                self.record(records, other, "silence" if fired else "withdrawn", life["heard"] + silence, ended)
        life = self.lives.get(row)
        if life is not None and life["status"] != INACTIVE:
            if accepted:
                life["heard"] = max(life["heard"], time)
            else:
                life["heard"] += clock - life["heard_at"]
            life["heard_at"] = clock
        if scored is not None and scored["live"]:
            self.advance(records, row, clock, scored)
        return sorted(records, key=lambda r: r["row"])

    def look(self, s, since, usual):
        """Kind, observed, expected. The rule of kinds is not written down twice: it has tests of its own."""
        window = np.array(s["window"])
        expected = math.nan if s["expected"] is None else s["expected"][0]
        if math.isnan(expected):
            expected = float(np.median(window[:-1])) if math.isnan(usual) else usual
        kind = kinds.UNUSUAL if since is None else kinds.kind_of(window, expected, since)
        return kind, s["observed"][0], expected

    def begin(self, clock, s, look):
        now = s["time"]
        return {
            "onset": now, "ordinal": s["ordinal"], "last": now, "heard": now, "heard_at": clock, "peak": s["score"], "normal": [],
            "sequence": 0, "severity": "info", "since": now, "updated": now, "quiet_until": None, "kind": look[0], "count": 1,
            "usual": look[2], "at_peak": (now, *look[1:]), "until": None,
        }  # fmt: skip

    def take_in(self, life, s, look):
        """An anomalous observation; whether it is twice as far out as any before."""
        life["last"] = max(life["last"], s["time"])
        life["count"] += 1
        far, before = abs(look[1] - look[2]), abs(life["at_peak"][1] - life["at_peak"][2])
        way = kinds.side(life["kind"]) if self.p.split else 0
        worse = far > before and (not way or way == math.copysign(1, look[1] - look[2]))
        if worse:
            life["at_peak"] = (s["time"], *look[1:])
        life["peak"] = max(life["peak"], s["score"])
        return worse and far >= 2 * before > 0

    def advance(self, records, row, clock, s):
        life = self.lives.setdefault(row, {"status": INACTIVE, "until": None, "quiet_until": None})
        now, score, level = s["time"], s["score"], s["level"]
        far = self.deviates(s)
        if life["status"] == INACTIVE:
            suppressed = life["until"] is not None and now < life["until"]
            if not (score >= level and score > 0 and far and not suppressed):
                return
            look = self.look(s, 0, math.nan)
            again = life["quiet_until"] is not None and now < life["quiet_until"] and kinds.same(life["kind"], look[0])
            if again:
                self.take_in(life, s, look)
                life.update(heard=now, heard_at=clock, normal=[], since=now)
            else:
                life = self.lives[row] = self.begin(clock, s, look)
            life["severity"] = self.worst(life, s)
            life["status"] = PENDING if self.ms("hold") else FIRING
            life["updated"] = now
            self.record(records, row, "reopened" if again else "anomaly", now)
            return
        reason = None
        if score >= max(level - self.hysteresis, level / 2) and score > 0 and far:
            since = s["ordinal"] - life["ordinal"]
            look = self.look(s, None if since % kinds.LASTING else since, life["usual"])
            peak = abs(life["at_peak"][1] - life["at_peak"][2])
            small = kinds.side(look[0]) and abs(look[1] - look[2]) < peak / 4
            if self.p.split and life["status"] == FIRING and kinds.another(life["kind"], look[0]) and not small:
                self.record(records, row, "changed", now)
                life = self.lives[row] = self.begin(clock, s, look)
                life.update(status=FIRING, severity=self.worst(life, s))
                self.record(records, row, "anomaly", now)
                return
            farther = abs(look[1] - look[2]) > abs(life["at_peak"][1] - life["at_peak"][2])
            life["kind"] = kinds.refined(life["kind"], look[0], worst=farther)
            life["normal"] = []
            twice = self.take_in(life, s, look)
            severity = self.worst(life, s)
            if severity != life["severity"]:
                life["severity"] = severity
                reason = "severity"
            elif twice and life["status"] == FIRING:
                reason = "worse"
            if life["status"] == PENDING and now - max(life["onset"], life["since"]) >= self.ms("hold"):
                life["status"] = FIRING
                life["updated"] = now
                reason = "held"
        else:
            life["normal"].append(now)
            if life["status"] == PENDING:
                reason = "withdrawn"
            elif len(life["normal"]) >= self.p.resolve_count and now - life["normal"][0] >= self.ms("resolve_after"):
                reason = "normal"
        every = self.ms("update_every")
        if life["status"] == FIRING and every:
            steps_before = (life["updated"] - life["onset"]) // every
            if (now - life["onset"]) // every > steps_before:
                reason = reason or "update"
                life["updated"] = now
        if reason:
            self.record(records, row, reason, now)

    def deviates(self, s):
        if s["expected"] is None:
            return True
        for observed, expected in zip(s["observed"], s["expected"], strict=True):
            if math.isnan(expected):
                return True
            d = observed - expected
            if (self.p.direction == "up" and d <= 0) or (self.p.direction == "down" and d >= 0):
                continue
            limited = self.p.direction != "both" or self.p.min_deviation or self.p.min_relative_deviation
            if limited and d == 0:
                continue
            if abs(d) >= self.p.min_deviation and abs(d) >= self.p.min_relative_deviation * abs(expected):
                return True
        return False

    def worst(self, life, s):
        weight = s["score"] - s["level"] + math.log10(life["count"])
        critical = weight >= 2 if self.p.critical is None else s["score"] >= self.p.critical
        warning = weight >= 1 if self.p.warning is None else s["score"] >= self.p.warning
        now = "critical" if critical else "warning" if warning else "info"
        return max(now, life["severity"], key=SEVERITIES.index)

    def record(self, records, row, change, now, ended=None):
        life = self.lives[row]
        resolved = change in ("normal", "withdrawn", "silence", "changed")
        ended = now if ended is None else ended
        quiet = life["quiet_until"]
        if resolved and life["status"] == FIRING:
            quiet = ended + self.ms("quiet") if self.ms("quiet") and change != "changed" else None
        records.append(
            {
                "row": row,
                "status": "resolved" if resolved else life["status"],
                "change": change,
                "reason": {"reopened": "anomaly", "worse": "update", "changed": "normal"}.get(change, change),
                "severity": life["severity"],
                "sequence": life["sequence"],
                "as_of": now,
                "starts_at": life["onset"],
                "last_seen": life["last"],
                "ends_at": life["last"] if resolved else None,
                "peak_score": life["peak"],
                "kind": kinds.KINDS[life["kind"]],
                "observations": life["count"],
                "peak": tuple(None if v != v else v for v in life["at_peak"]),
                "reopens_until": quiet if resolved else None,
            }
        )
        life["sequence"] += 1
        if resolved:
            suppress = life["status"] == FIRING and self.ms("suppression")
            left = life if quiet is not None else {}
            until = ended + self.ms("suppression") if suppress else None
            self.lives[row] = {**left, "status": INACTIVE, "until": until, "quiet_until": quiet}
