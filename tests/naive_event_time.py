"""A partition's event time, one observation at a time, in plain Python: slow and obvious."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.steps.event_time import BORDERS, LATELY, OBSERVATIONS, STEPS


@dataclass
class Voter:
    """One series."""

    vote: int = 0
    step: int = 0
    moved: int = 0
    at: int = 0
    fresh: bool = False
    heard_at: int = 0


@dataclass
class NaiveEventTime:
    """`advance` is told of every observation; `None` for one that no series was found for."""

    now: int = 0
    progress: int = 0
    count: int = 0
    border: int = 1
    spacing: int = 1
    look: int = BORDERS
    voters: dict[int, Voter] = field(default_factory=dict)

    def advance(self, row: int | None, time: int, vouched: bool) -> int:
        if row is not None:
            voter = self.voters.setdefault(row, Voter())
            voter.heard_at = self.now or time
            if vouched:
                before, voter.step = voter.step, max(time - voter.vote, 0) if voter.vote else 0
                voter.moved += min(voter.step, 2 * before) if before else voter.step
                voter.vote, voter.fresh = time, True
        self.count += 1
        if self.count == self.border:
            self._border()
        return self.now

    def _border(self) -> None:
        self.progress += lower_median([v.moved for v in self.voters.values() if v.moved])
        for voter in self.voters.values():
            if voter.fresh:
                voter.at = self.progress
            voter.moved, voter.fresh = 0, False
        votes = [v.vote for v in self.voters.values() if v.vote and self.progress - v.at <= max(LATELY, STEPS * v.step)]
        if self.progress >= LATELY:
            self.now = max(self.now, lower_median(votes))
        if self.count == self.look:
            self.spacing = 1
            while self.spacing < len(votes):
                self.spacing *= 2
            self.look += self.spacing
            while self.look < self.count + max(BORDERS * self.spacing, min(self.count, OBSERVATIONS)):
                self.look += self.spacing
        self.border += self.spacing


def lower_median(values: list[int]) -> int:
    """0 of none."""
    return sorted(values)[(len(values) - 1) // 2] if values else 0
