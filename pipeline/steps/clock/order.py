"""The partition's event time where some observations wait for others: each moves it when it comes, and what goes on later finds it as it is then."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pipeline.steps.batches.observations import Observations, Order
from pipeline.steps.batches.outcomes import Absent, Pushed
from pipeline.steps.clock.event_time import EventTime


def places_of(observations: Observations, stop: int) -> NDArray[np.int64]:
    """The how-manyeth of the partition's observations each is, from 0; of who waited before, that of who came before it. There are `stop` up to here."""
    if observations.order is None:
        return stop - len(observations) + np.arange(len(observations))
    come = np.cumsum(~observations.order.waited)
    return np.asarray(come + (stop - come[-1:].sum() - 1), np.int64)


def advance(
    clock: EventTime,
    order: Order,
    rows: NDArray[np.intp],
    places: NDArray[np.int64],
    times: NDArray[np.int64],
    pushed: Pushed,
    begun: int,
    seen: int,
) -> tuple[NDArray[np.int64], NDArray[np.bool_], list[Absent]]:
    """`EventTime.advance` for N observations that came out of order, of which those were pushed that do not wait from here on.

    Parameters
    ----------
    rows, places, times : (N,)
        Of all of them.
    begun, seen
        How many observations the partition had before these, and has with them.

    Returns
    -------
    watermarks, vouched, absent
        The partition's event time behind each (N,), whose event times may move it (N,), and who is absent.
    """
    before, vouched = clock.now, order.vouched.copy()
    went_on, came = np.flatnonzero(~order.waits), np.flatnonzero(~order.waited)
    vouched[went_on] &= pushed.vouched
    if not len(came):
        return np.full(len(rows), before), vouched, []
    learnt = [(int(np.searchsorted(came, went_on[i])), row, step) for i, row, step in pushed.learnt]
    _, absent = clock.advance(rows[came], places[came], times[came], vouched[came], seen, learnt)
    at, waited = places[went_on], order.waited[went_on]
    absent = [replace(one, cause=_cause(at, waited, begun + one.behind, one.behind)) for one in absent]
    return clock.behind(places, before), vouched, absent


def _cause(places: NDArray[np.int64], waited: NDArray[np.bool_], place: int, number: int) -> float:
    """Which of observations at `places` (rising) came as that how-manyeth; where none of them did, between two, in the order of `number`."""
    at = int(np.searchsorted(places, place))
    own = at < len(places) and places[at] == place and not waited[at]
    return float(at) if own else at - 0.5 + number * 2.0**-30
