"""The time policy of a metric: what an observation's event time says of its place in the series. Compiled in `pipeline.steps.kernels.policy`.

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

from dataclasses import dataclass

import numpy as np

AGREEING = 13
DISAGREEING = 4
"""13 of 16 are the 80 % of `detectors.windowing.infer_interval`; four that disagree leave too few."""
TRIED = 64
RELEARN = 16
APART = 4
"""A step that is more than one in so many away from the usual one is another. Producers' timers are nearer, and intervals that people set are not."""
NEVER = 1 << 62
"""A time and a limit that no event time reaches."""
FARTHEST_GAP = 10_000
"""Usual steps behind which a time is a jump, however long the gaps are that may be filled: 64 bits hold that many of any step."""
COUNTS = ("late", "duplicate", "held", "confirmed", "dropped_future", "filled", "restarted")
"""What is counted, in the compiled loop's order."""

RULING = np.dtype(
    [
        ("fills", "<i8"),  # missing values go before it
        ("since", "<i8"),  # time of the observation before them
        ("apart", "<i8"),  # the usual step
        ("held_at", "<i8"),  # time of the held one that it confirms, 0: of none
        # place of the observation whose values its series held before it; `KEPT`: what its record holds
        ("held", "<i8"),
        ("holds", "<i8"),  # of a series' first: what the series holds behind all of them
        ("usual", "<i8"),  # a usual step that is another from here on, 0: there is none; -1: it is no other
        ("accepted", "?"),  # it enters the window
        ("anew", "?"),  # the window starts anew with it, or with the held one that it confirms
        ("vouched", "?"),  # the observation before it in its series vouches for its time
    ]
)
"""What the policy says of an observation."""
KEPT, EMPTY = -1, -2
"""In the place of an observation whose values are held: the one that is held already, and none."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Settings of the policy: `future_limit` in ms (`NEVER`: no jump is held), whether there are gaps (T > 1)."""

    fill_gaps: int
    future_limit: int
    gaps: bool

    def longest(self, usual: int) -> int:
        """The longest step that is no jump, given the usual one."""
        return max(self.future_limit, (min(self.fill_gaps, FARTHEST_GAP) + 2) * usual)
