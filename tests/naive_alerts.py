"""Slow, obvious versions of thresholds and the life of alerts: one record at a time, plain Python."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from detectors.thresholds import STEP, PotThreshold, QuantileThreshold


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
        n = self.learnt + 1000
        N = len(self.peaks) + 20
        mean = (sum(self.peaks) + 20 / math.log(10)) / N
        second = (sum(y * y for y in self.peaks) + 40 / math.log(10) ** 2) / N
        gamma = min(max(0.5 * (1 - mean**2 / (second - mean**2)), -0.5), 0.4)
        sigma = mean * (1 - gamma)
        ratio = min(self.p * n / N, 1.0)
        if abs(gamma) < 1e-6:
            return PotThreshold.PEAK - sigma * math.log(ratio)
        return PotThreshold.PEAK + sigma / gamma * (ratio**-gamma - 1)
