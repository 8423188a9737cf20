"""The time policy of a metric: what an observation's event time says of its place in the series. No arrays, no values.

    newest ──┬── not newer ...................... `late`, or `duplicate` at the newest's own time: not accepted
             ├── the next one, or near it ....... accepted
             ├── up to `fill_gaps` missing ...... accepted, after so many `filled` with the last value
             ├── more missing ................... accepted, `restarted`: the window starts anew with it
             └── more than `future_limit` ahead . `held`, not accepted. A next one that comes after it, near it, makes it
                                                  `confirmed`: the window starts anew with it. Any other drops it:
                                                  `dropped_future`. (A repetition of itself confirms nothing.)

- A series' first observation is a jump that nothing can be compared with: the next one, if it lies more than `future_limit`
  *before* it, drops it. Otherwise one wrong clock at the start would make all that follows late for ever.
- What is missing is counted in the series' usual step (0: it has none, and no gaps). The model says it for series that it
  knows; otherwise it is learnt: a step that 13 agree with, within 10 % of their mean, before 4 do not; none after 64 steps.
  16 steps in a row that agree with each other, and not with the usual one, are the usual one from there on: the scrape interval was changed. 16 restarts
  in a row that do not are no gaps but another usual step, which is learnt anew.
- Steps up to two more than `fill_gaps` are never a jump, however short `future_limit` is: weekly data has gaps too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

AGREEING = 13
DISAGREEING = 4
"""13 of 16 are the 80 % of `detectors.windowing.infer_interval`; four that disagree leave too few."""
TRIED = 64
RELEARN = 16
APART = 4
"""A step that is more than one in so many away from the usual one is another. Producers' timers are nearer, and intervals that people set are not."""
NEVER = 1 << 62
"""A time and a limit that no event time reaches."""


def near(usual: Any) -> tuple[Any, Any]:
    """The shortest and the longest step that are like the usual one, for numbers or arrays of them."""
    return usual - usual // APART, usual + usual // APART


@dataclass(frozen=True, slots=True)
class Policy:
    """Settings of the policy: `future_limit` in ms (`NEVER`: no jump is held), whether there are gaps (T > 1)."""

    fill_gaps: int
    future_limit: int
    gaps: bool

    def longest(self, usual: int) -> int:
        """The longest step that is no jump, given the usual one."""
        return max(self.future_limit, (self.fill_gaps + 2) * usual)


@dataclass(frozen=True, slots=True)
class Ruling:
    """What is to be done with an observation.

    Attributes
    ----------
    accepted
        It enters the window, after `fills` missing ones.
    anew
        The window starts anew: with the held observation, if this one `confirms` it, else with this one.
    counts
        What happened, by the names of `Pushed.counts`.
    """

    accepted: bool
    fills: int = 0
    anew: bool = False
    confirms: bool = False
    counts: tuple[str, ...] = ()


_ACCEPTED = Ruling(accepted=True)
_RESTARTED = Ruling(accepted=True, anew=True, counts=("restarted",))
_FIRST_DROPPED = Ruling(accepted=True, anew=True, counts=("dropped_future",))
_LATE = Ruling(accepted=False, counts=("late",))
_DUPLICATE = Ruling(accepted=False, counts=("duplicate",))
_HELD = Ruling(accepted=False, counts=("held",))


@dataclass(slots=True)
class SeriesClock:
    """Event time of one series; times and steps in ms, 0 = none yet.

    Attributes
    ----------
    last, ordinal
        Time of the newest accepted observation, and how many there were (a confirmed one counts).
    held_at
        Time of the observation that awaits confirmation.
    interval
        The usual step once it is `decided`; before, the sum of the `agree` steps that agree.
    against, tried
        Steps that did not agree, and all that were looked at; once decided, `against` counts restarts in a row.
    other
        Once decided, the sum of the newest `agree` steps, in a row, that agree with each other and not with the usual one.
    """

    policy: Policy
    last: int = 0
    ordinal: int = 0
    held_at: int = 0
    interval: int = 0
    decided: int = 0
    agree: int = 0
    against: int = 0
    tried: int = 0
    other: int = 0

    def judge(self, time: int) -> Ruling:
        """Rule on the next observation of the series, in log order."""
        if not self.held_at:
            return self._next(time)
        if time == self.held_at:
            return _DUPLICATE
        held_at, self.held_at = self.held_at, 0
        if held_at < time <= held_at + max(self.longest, 2 * (held_at - self.last)):
            return self._confirmed(held_at, time)
        ruling = self._next(time)
        return replace(ruling, counts=("dropped_future", *ruling.counts))

    def follow(self, time: int, count: int) -> None:
        """Take `count` observations up to `time` that each came one usual step, or near it, after the one before."""
        self.last = time
        self.ordinal += count
        self.against = self.agree = self.other = 0

    @property
    def settled(self) -> bool:
        """Whether what follows from here on depends on the usual step and `last` alone."""
        return not self.held_at and (bool(self.decided) or not self.policy.gaps)

    @property
    def usual(self) -> int:
        """The usual step; 0: there is none, or none yet."""
        return self.interval if self.decided else 0

    @property
    def longest(self) -> int:
        """The longest step that is no jump."""
        return self.policy.longest(self.usual)

    def _next(self, time: int) -> Ruling:
        step = time - self.last
        if self.last and step <= 0:
            if self.ordinal == 1 and -step > self.policy.future_limit:
                return self._accept(time, _FIRST_DROPPED)
            return _LATE if step else _DUPLICATE
        if not self.last:
            return self._accept(time, _ACCEPTED)
        if step > self.longest:
            self.held_at = time
            return _HELD
        missing = self._missing(step)
        if not missing:
            return self._accept(time, _ACCEPTED)
        if missing > self.policy.fill_gaps:
            return self._accept(time, _RESTARTED)
        return self._accept(time, Ruling(accepted=True, fills=missing, counts=("filled",) * missing))

    def _confirmed(self, held_at: int, time: int) -> Ruling:
        missing = self._missing(time - held_at)
        if missing > self.policy.fill_gaps:
            return self._accept(time, Ruling(accepted=True, anew=True, counts=("confirmed", "restarted")))
        self.ordinal += 1
        counts = ("confirmed", *("filled",) * missing)
        return self._accept(time, Ruling(accepted=True, fills=missing, anew=True, confirms=True, counts=counts))

    def _accept(self, time: int, ruling: Ruling) -> Ruling:
        self.last = time
        self.ordinal += 1
        return ruling

    def _missing(self, step: int) -> int:
        """How many values are missing after a step: the nearest whole number of usual steps, less one."""
        if not self.policy.gaps:
            return 0
        if not self.decided:
            self._learn(step)
            return 0
        if not self.interval:
            return 0
        if self._is_usual_now(step):
            return 0
        missing = max((2 * step + self.interval) // (2 * self.interval) - 1, 0)
        self.against = self.against + 1 if missing > self.policy.fill_gaps else 0
        if self.against == RELEARN:
            self.interval = self.decided = self.against = self.tried = self.agree = self.other = 0
        return missing

    def _is_usual_now(self, step: int) -> bool:
        """Whether this step is the one with which another one has become the usual step."""
        least, most = near(self.interval)
        if least <= step <= most:
            self.agree = self.other = 0
            return False
        if 10 * abs(step * self.agree - self.other) > self.other:
            self.agree = self.other = 0
        self.other += step
        self.agree += 1
        if self.agree < RELEARN:
            return False
        self._decide((2 * self.other + RELEARN) // (2 * RELEARN))
        return True

    def _learn(self, step: int) -> None:
        self.tried += 1
        # The sum of the agreeing steps, and integers throughout: nothing is rounded on the way.
        if 10 * abs(step * self.agree - self.interval) <= self.interval:
            self.interval += step
            self.agree += 1
        else:
            self.against += 1
            if self.against == DISAGREEING:
                self.interval, self.agree, self.against = step, 1, 0
        if self.agree == AGREEING:
            self._decide((2 * self.interval + AGREEING) // (2 * AGREEING))
        elif self.tried == TRIED:
            self._decide(0)

    def _decide(self, interval: int) -> None:
        self.interval, self.decided = interval, 1
        self.agree = self.against = self.tried = self.other = 0
