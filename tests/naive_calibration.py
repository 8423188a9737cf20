"""`Empirical` for one series, one score at a time, with every learnt score kept: slow, and plain to read."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from detectors.calibration import EmpiricalConfig

TAIL = 5
BODY = (0.5, 0.1, 0.02)


def f32(x: float) -> float:
    return float(np.float32(x))


@dataclass
class NaiveEmpirical:
    config: EmpiricalConfig
    current: list[float] = field(default_factory=list)
    previous: list[float] = field(default_factory=list)
    tail: list[float] = field(default_factory=list)
    body: list[float] = field(default_factory=list)
    known: int = 0
    seen: int = 0
    run: int = 0
    cut: bool = False
    in_step: list[float] = field(default_factory=list)

    def fit(self, raw: list[float]) -> None:
        values = [f32(x) for x in raw if not math.isnan(x)][-self.config.generation :]
        if values:
            self.current = values
            self.body = [f32(float(np.quantile(values, 1 - p))) for p in BODY]
            self.refer()

    def calibrate(self, raw: float, learn: bool = True) -> float:
        if math.isnan(raw):
            return math.nan
        x = f32(raw)
        ready = self.known >= self.config.minimum
        level = min(max(self.level(x), 0.0), 12.0) if ready else 0.0
        if learn:
            self.learn(x, level)
        return level

    def learn(self, x: float, level: float) -> None:
        poisoned = level >= self.config.poison_level
        self.run = self.run + 1 if poisoned else 0
        if poisoned and self.run <= self.config.adapt_after:
            if not self.cut and self.run == 1:
                self.cut = True
                self.take(min(x, f32(self.raw_at(self.config.poison_level))))
        else:
            self.take(x)
        self.seen += 1
        if self.seen % self.config.step == 0:
            if 0 < self.run - self.config.adapt_after <= self.config.step:
                self.forget()
            self.advance()

    def take(self, x: float) -> None:
        self.current.append(x)
        self.in_step.append(x)

    def points(self) -> list[tuple[float, float]]:
        high = [(x, math.log10(self.known + 1) - math.log10(j + 1)) for j, x in enumerate(self.tail)][::-1]
        first_x, first_level = high[0]
        return [
            (min(b, first_x), min(-math.log10(p), first_level)) for b, p in zip(self.body, BODY, strict=True)
        ] + high

    def scale(self) -> float:
        points = self.points()
        x = [p for p, _ in points]
        levels = [q for _, q in points]
        q = len(BODY)
        excess = sum(v - x[q] for v in x[q + 1 :]) / (TAIL - 1)
        body = (x[q] - x[0]) / (max(levels[q] - levels[0], 0.1) * math.log(10))
        return max(excess, 0.5 * body, abs(x[-1]) * 1e-3, 1e-9)

    def level(self, x: float) -> float:
        points = self.points()
        if x > points[-1][0]:
            over = (x - points[-1][0]) / self.scale()
            if self.config.shape > 0:
                over = math.log1p(self.config.shape * over) / self.config.shape
            return points[-1][1] + over / math.log(10)
        if x <= points[0][0]:
            (x0, l0), (x1, l1) = points[0], points[1]
            return min(l0, l0 + (x - x0) * (l1 - l0) / (x1 - x0 if x1 > x0 else 1.0))
        below = sum(p < x for p, _ in points)
        (x0, l0), (x1, l1) = points[below - 1], points[below]
        return min(l0 + (x - x0) * (l1 - l0) / (x1 - x0), l1)

    def raw_at(self, level: float) -> float:
        points = self.points()
        if level > points[-1][1]:
            over = (level - points[-1][1]) * math.log(10)
            if self.config.shape > 0:
                over = math.expm1(self.config.shape * over) / self.config.shape
            return points[-1][0] + over * self.scale()
        below = sum(q < level for _, q in points)
        segment = min(max(below - 1, 0), len(points) - 2)
        (x0, l0), (x1, l1) = points[segment], points[segment + 1]
        return x0 + (level - l0) / (l1 - l0 if l1 > l0 else 1.0) * (x1 - x0)

    def forget(self) -> None:
        """Only the highest of what was learnt before the step are ever looked at again: they stand for one step's."""
        before = len(self.current) - len(self.in_step)
        old = sorted(self.current[:before], reverse=True)[: self.config.step]
        self.current, self.previous = old + self.in_step, []

    def advance(self) -> None:
        if self.known:
            self.merge_body()
        else:
            first = self.in_step[0]
            over = sum_in_single([f32(x - first) for x in self.in_step]) / len(self.in_step)
            self.body = [f32(f32(first) + f32(over))] * len(BODY)
        self.refer()
        self.in_step, self.cut = [], False
        if len(self.current) >= self.config.generation:
            self.previous, self.current = self.current, []

    def merge_body(self) -> None:
        points = self.points()[: len(BODY) + 1]
        m = len(self.in_step)
        weight = m / max(len(self.current) + len(self.previous), 1)
        mixed: list[float] = []
        for (_, level), b in zip(points, self.body, strict=False):
            share = min(max(sum(x > b for x in self.in_step), 0.5) / max(m, 1), 1.0)
            mixed.append(-math.log10((1 - weight) * 10**-level + weight * share))
        mixed.append(points[-1][1])
        for i in range(1, len(mixed)):
            mixed[i] = max(mixed[i], mixed[i - 1])
        body: list[float] = []
        for p in BODY:
            target = -math.log10(p)
            segment = min(max(sum(level < target for level in mixed) - 1, 0), len(BODY) - 1)
            rise = mixed[segment + 1] - mixed[segment]
            share = min(max((target - mixed[segment]) / (rise if rise > 0 else 1.0), -1.0), 1.0)
            x0, x1 = points[segment][0], points[segment + 1][0]
            body.append(f32(x0 + share * (x1 - x0)))
            body[-1] = max(body)
        self.body = body

    def refer(self) -> None:
        both = sorted(self.current, reverse=True)[:TAIL] + sorted(self.previous, reverse=True)[:TAIL]
        self.tail = sorted(both, reverse=True)[:TAIL]
        self.tail += [self.tail[-1] if self.tail else 0.0] * (TAIL - len(self.tail))
        self.known = len(self.current) + len(self.previous)


def sum_in_single(values: list[float]) -> float:
    total = np.float32(0)
    for x in values:
        total = np.float32(total + np.float32(x))
    return float(total)
