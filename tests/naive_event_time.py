"""A partition's event time and who is absent, one observation at a time, in plain Python: slow and obvious."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.steps.clock import absence
from pipeline.steps.clock.absence import HABIT_LASTS
from pipeline.steps.clock.event_time import BORDERS, LATELY, OBSERVATIONS, STEPS


@dataclass
class Voter:
    """One series."""

    vote: int = 0
    step: int = 0
    moved: int = 0
    at: int = 0
    fresh: bool = False
    heard_at: int = 0
    since: int = 0
    usual: int = 0
    said: bool = False
    quiet_at: int = 0
    quiet_by: int = 0
    away: list[tuple[int, int]] = field(default_factory=list)
    """(how long, when it came back)."""
    due: int = 0
    state: str = "expected"

    @property
    def habit(self) -> int:
        """What it was away for at least twice, four weeks after the last time at most."""
        once = habit = at = 0
        for length, back in self.away:
            if back - at > HABIT_LASTS:
                once = habit = 0
            if 2 * length >= habit:
                at = back
            habit, once = max(habit, min(once, length)), max(once, length)
        return habit if self.vote - at <= HABIT_LASTS else 0


@dataclass
class NaiveEventTime:
    """`advance` is told of every observation; `None` for one that no series was found for."""

    now: int = 0
    progress: int = 0
    count: int = 0
    border: int = 1
    spacing: int = 1
    look: int = BORDERS
    begun: int = 0
    after: int | None = None
    idle_after: int = 1 << 60
    voters: dict[int, Voter] = field(default_factory=dict)
    votes: int = 0
    together: int = 0
    calm: list[bool] = field(default_factory=list)
    """Of the borders since which not many are absent together: whether somebody was given up there."""
    said: list[tuple[object, ...]] = field(default_factory=list)
    """(observations before it, what, ...)."""

    def advance(self, row: int | None, time: int, vouched: bool, usual: int | None = None) -> int:
        self.count += 1
        if row is not None:
            voter = self.voters.setdefault(row, Voter())
            voter.heard_at = self.now or time
            silent = min(self.now - max(voter.quiet_at, self.begun), self.progress - voter.quiet_by)
            silent = silent if voter.vote and not voter.said else 0
            voter.said = True
            voter.state = "expected"
            if vouched:
                before, voter.step = voter.step, max(time - voter.vote, 0) if voter.vote else 0
                voter.moved += min(voter.step, 2 * before) if before else voter.step
                if voter.usual and max(voter.step, silent) > absence.STEPS * voter.usual:
                    voter.away.append((max(voter.step, silent), time))
                voter.vote, voter.fresh = time, True
                voter.since = voter.since or time
            voter.usual = voter.usual if usual is None else usual
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
        self.votes = len(votes)
        self.begun = self.begun or self.now
        self._wait()
        if self.count == self.look:
            self.spacing = 1
            while self.spacing < len(votes):
                self.spacing *= 2
            self.look += self.spacing
            while self.look < self.count + max(BORDERS * self.spacing, min(self.count, OBSERVATIONS)):
                self.look += self.spacing
        self.border += self.spacing

    def _wait(self) -> None:
        missing = []
        for row, voter in self.voters.items():
            if voter.said:
                voter.said, voter.quiet_at, voter.quiet_by = False, self.now, self.progress
            silent = self.now - max(voter.quiet_at, self.begun)
            limit = self._limit(voter)
            if voter.state == "overdue":
                voter.state = "absent"
                missing.append(row)
            elif voter.state == "expected" and limit is not None and silent > limit < self.progress - voter.quiet_by:
                voter.state, voter.due = "overdue", voter.vote + limit
        gone = [row for row, v in self.voters.items() if v.state == "absent" and self._gone(v)]
        for row in gone:
            self.voters[row].state = "given up"
        absent = [row for row, voter in self.voters.items() if voter.state == "absent"]
        count = len(absent) + sum(voter.state == "overdue" for voter in self.voters.values())
        if self.together:
            many = count >= absence.FEW and 2 * absence.SHARE * count > self.votes + count
            self.calm = [] if many else [*self.calm, bool(gone)]
            if len(self.calm) == absence.CALM:
                self.together = 0
                self.said.append((self.count, "gone" if any(self.calm) else "normal", self.now, count))
                self.calm, missing = [], absent
        elif missing and count >= absence.FEW and count * absence.SHARE > self.votes + count:
            self.together = self.now
            self.said.append((self.count, "together", self.now, count))
        for row in missing:
            told = "with others" if self.together else "alone"
            self.said.append((self.count, told, row, self.voters[row].due))

    def _gone(self, voter: Voter) -> bool:
        return self.now - max(voter.quiet_at, self.begun) > self.idle_after

    def _limit(self, voter: Voter) -> int | None:
        if not voter.vote:
            return None
        if self.after is not None:
            return self.after
        if not voter.usual or voter.vote - voter.since < absence.A_DAY:
            return None
        return max(absence.STEPS * voter.usual, voter.habit + voter.habit // 4)


def lower_median(values: list[int]) -> int:
    """0 of none."""
    return sorted(values)[(len(values) - 1) // 2] if values else 0
