"""A shadow: a model or a threshold that learns of a partition's series beside the one that judges, says nothing, and takes over when it is live.

    decided ──▶ begun ──▶ looked at ──▶ looked at ──▶ live enough: it judges from this offset on
                  │  learns from each observation  │      or so many observations went by
                  └────────────── the old one judges ──────────────┘

- It is a second set of `Learning`'s components in the same state: same series, same rows, same pages. So a checkpoint holds it, a series that is forgotten
  is forgotten in both, and alerts, event time and what waits, of which there is one, know nothing of it. Whether there is one stands in what
  is in force, which is read before the rows (`pipeline.partition.deciding.decisions.InForce.shadow`).
- Of another model it has windows of its own, filled by what the others accept or refuse by the same rules. Of another threshold alone it has levels alone.
- Of other channels it reads each record a second time; what of an observation lacks one of them has no value for it. It does not take over before a series is whole.
- It is looked at where the log comes to an offset that is a multiple of about as many records as there are series, before the first record there: a
  function of the log, so it takes over at one place, however the stream is cut. It takes over when `SHARE` of the series that
  the old one can raise alerts of are live in it as well, or when the partition had `LONGEST` times as many observations as it needs of every series:
  of those that report seldom, it begins in the middle.
- A newer decision takes its place: there is one at most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from detectors import thresholds
from pipeline.alerts.selecting.selectors import Selectors
from pipeline.partition.shadows.learning import Learning, Learnt
from pipeline.steps import totals
from pipeline.steps.batches.observations import Observations
from pipeline.steps.batches.outcomes import Pushed
from pipeline.steps.batches.records import RecordBatch
from pipeline.steps.scoring import MemberScores
from pipeline.steps.state import PartitionState

if TYPE_CHECKING:
    from pipeline.partition.stream import Stream

PREFIX = "shadow."
"""Before the names of its components."""
SHARE = 0.9
LONGEST = 8
FEWEST = 64
"""Records between two looks, at least."""
_LOOK, _SINCE = "shadow look", "shadow since"
"""Scalars of the state: the offset of the next look; how many observations the partition had had when the shadow began."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a shadow is: `ready` of `live` series that the old one can raise alerts of; `observations` since it began, of `most`."""

    ready: int
    live: int
    observations: int
    most: int
    whole: bool = True
    """Whether any window is full."""

    @property
    def over(self) -> bool:
        """Whether it takes over."""
        return self.whole and (self.ready >= SHARE * self.live or self.observations >= self.most)

    @property
    def share(self) -> float:
        """Of the live series that are ready, 0 to 1."""
        return self.ready / self.live if self.live else 1.0

    def __str__(self) -> str:
        return f"{self.ready} of {self.live} series, {self.observations} of at most {self.most} observations"


class Shadow:
    """The shadow of a partition.

    Parameters
    ----------
    stream
        What is to judge.
    judge
        What judges until then.

    Attributes
    ----------
    whole
        Whether its model is another one; else its threshold alone is.
    reads
        Whether it is of other channels, so that records must be read for it (`read`).
    """

    def __init__(self, stream: Stream, judge: Stream) -> None:
        self.stream = stream
        self.whole = other_model(judge, stream)
        self._encodes = self.whole and stream.model.features is not None
        self.reads = other_channels(judge, stream)
        self.learning = Learning(
            stream.model, stream.settings, stream.windows, stream.threshold, Selectors(stream.settings)
        )
        own = self.learning.components if self.whole else {"threshold": stream.threshold.dtype}
        self.components = {PREFIX + name: dtype for name, dtype in own.items()}

    @property
    def need(self) -> int:
        """About how many observations of a series it needs, where its model does not know the series."""
        level = thresholds.READY if self.stream.threshold.learns and not self.learning.by_judgement else 0
        if not self.whole:
            return level
        return max(self.stream.windows.need + level, self.stream.settings.probation)

    def begin(self, state: PartitionState, offset: int) -> None:
        """Begin with all series that are there, at an offset; its components are empty."""
        own = state.under(PREFIX)
        if self.whole:
            self.stream.windows.go_on_from(own.arrays["windows"], state.arrays["windows"])
            self.learning.begin(own)
        else:
            self.learning.begin_threshold(own)
        state.touch(state.rows())
        state.scalars[_SINCE] = state.scalars.get("observations", 0)
        self.look_again(state, offset)

    def goes_on_from(self, other: Shadow) -> bool:
        """Whether what another shadow of the same partition has learnt is what this one would have: it differs in no more than how it judges by it."""
        mine, theirs = self.stream, other.stream
        return (
            self.components == other.components
            and not other_model(theirs, mine)
            and mine.settings.probation == theirs.settings.probation
        )

    def go_on(self, state: PartitionState) -> None:
        """The settings that it is for are others now, and it goes on."""
        self.learning.threshold.changed(state.under(PREFIX).arrays["threshold"])
        state.touch(state.rows())

    def admit(self, state: PartitionState, new: Sequence[int]) -> None:
        """Begin with new series, which the judging one has admitted."""
        own = state.under(PREFIX)
        if not self.whole:
            for row in new:
                usual = self.stream.model.interval_ms.get(state.names[row] or "", 0)
                trained = int(state.arrays["admission"]["training"][row])
                self.learning.threshold.admit(own.arrays["threshold"], row, usual, trained)
            return
        if self.stream.windows.counts:
            own.arrays["windows"]["kind"][list(new)] = state.arrays["windows"]["kind"][list(new)]
        self.learning.admit(own, new)
        self.stream.windows.admit(own, list(new))

    def read(self, records: RecordBatch, observations: Observations) -> None:
        """Read what it is told of observations from their records."""
        if not self.reads:
            return
        own, _ = self.stream.decoder.decode(records)
        at = {
            key: i for i, key in enumerate(zip(own.offsets.tolist(), own.series, own.timestamps.tolist(), strict=True))
        }
        keys = zip(observations.offsets.tolist(), observations.series, observations.timestamps.tolist(), strict=True)
        found = np.fromiter((at.get(key, -1) for key in keys), np.intp, len(observations))
        observations.others = np.full((len(observations), self.stream.windows.C), np.nan)
        observations.others[found >= 0] = own.values[found[found >= 0]]

    def push(self, state: PartitionState, observations: Observations, rows: NDArray[np.intp]) -> Pushed | None:
        """Move its windows on by what the judging one's were moved on by; None where they are the same."""
        if not self.whole:
            return None
        values = observations.values
        if self._encodes and observations.originals is not None:
            assert self.stream.model.features is not None
            values, failed = self.stream.model.features.encode(observations.originals)
            values[list(failed)] = np.nan
        if self.reads:
            values = np.full((len(rows), self.stream.windows.C), np.nan)
            if observations.others is not None:  # what waited for older ones has none
                values = observations.others
        return self.stream.windows.follow(state.under(PREFIX), observations.timestamps, values, rows)

    def learn(
        self,
        state: PartitionState,
        observations: Observations,
        rows: NDArray[np.intp],
        pushed: Pushed,
        judge: Learnt,
        scores: MemberScores | None,
        living: NDArray[np.int64] | None,
    ) -> None:
        """Learn from scores of its own windows (`pushed` are these), or where it has none from what the judging one has `learnt`."""
        own = state.under(PREFIX)
        if scores is not None:
            self.learning.learn(own, observations, rows, pushed, scores.raw, living)
        else:
            assert judge.score is not None
            budgets = self.learning.budgets(own, rows)
            self.learning.level(own, observations, pushed, judge.score, judge.learn, living, budgets)

    def start_anew(self, state: PartitionState) -> None:
        """Records were missed."""
        if self.whole:
            self.stream.windows.start_anew(state.under(PREFIX))

    def in_place(self, state: PartitionState) -> PartitionState:
        """The state as it is when the shadow has taken over; running totals were kept by the one that judged."""
        own = state.under(PREFIX)
        if self.whole and self.stream.windows.counts:
            for name, _ in totals.FIELDS:
                own.arrays["windows"][name] = state.arrays["windows"][name]
        for scalar in (_LOOK, _SINCE):
            own.scalars.pop(scalar, None)
        return own

    # When it takes over

    def standing(self, state: PartitionState, judge: Learning) -> Standing:
        """How far it is."""
        own, names = state.under(PREFIX), len(state.names)
        live = judge.live(state)
        ready, whole = live & self.learning.live(own), True
        if self.whole:
            full = self.stream.windows.full(own)[:names]
            ready &= full
            whole = not self.reads or bool(full.any())
        if not self.learning.by_judgement:
            ready &= self.learning.threshold.ready(own.arrays["threshold"])[:names]
        since = state.scalars.get("observations", 0) - state.scalars.get(_SINCE, 0)
        most = LONGEST * max(self.need, 1) * max(len(state), 1)
        return Standing(int(np.count_nonzero(ready)), int(np.count_nonzero(live)), since, most, whole)

    def next_look(self, state: PartitionState) -> int:
        """The offset from which on it is to be looked at."""
        return state.scalars.get(_LOOK, 0)

    def look_again(self, state: PartitionState, offset: int) -> None:
        """It is not live at an offset: look again later."""
        apart = max(FEWEST, 1 << (max(len(state), 1) - 1).bit_length())
        state.scalars[_LOOK] = (offset // apart + 1) * apart


def dropped(state: PartitionState) -> None:
    """A shadow is no more: nothing is kept of it."""
    for scalar in (_LOOK, _SINCE):
        state.scalars.pop(scalar, None)


def other_model(judge: Stream, stream: Stream) -> bool:
    """Whether the model is another one."""
    old, new = judge.model, stream.model
    if other_channels(judge, stream):
        return True
    return (old.hash, old.detector_name) != (new.hash, new.detector_name) or judge.windows.dtype != stream.windows.dtype


def other_channels(judge: Stream, stream: Stream) -> bool:
    """Whether the channels of a series are others, or in another order."""
    old, new = judge.settings.channels, stream.settings.channels
    return bool(old and new) and old != new


def cut(records: RecordBatch, look: Callable[[int], int | None]) -> Iterator[RecordBatch]:
    """A batch, cut where a shadow is to be looked at; each part is to be processed before the next is asked for.

    `look` is called with the offset of the record that is next, looks where it is time to, and says from which offset on it is next; None: no more.
    """
    while len(records):
        at = look(int(records.offsets[0]))
        if at is None or at >= records.next_offset:
            break
        yield records.before(at)
        records = records.since(at)
    yield records
