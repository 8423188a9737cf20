"""What stands in a window for values that are missing."""

from __future__ import annotations

import numpy as np
from window_runs import START, STEP, Run, at, model, windows_of


def test_a_gap_is_filled_with_the_last_value_flagged_and_not_scored() -> None:
    #   0  1  2  .  .  5  6  7  8
    #   +  +  +  2  2  W  W  W  W
    #                  f  f  f      the window holds filled values
    run = Run(model(4))
    pushed = run.push(at(0, 1, 2, 5, 6, 7, 8))
    assert windows_of(pushed) == [[2, 2, 2, 5], [2, 2, 5, 6], [2, 5, 6, 7], [5, 6, 7, 8]]
    assert pushed.windows.filled.tolist() == [True, True, True, False]
    assert pushed.windows.index.tolist() == [3, 4, 5, 6]
    assert pushed.windows.ordinals.tolist() == [4, 5, 6, 7]
    assert run.counts["filled"] == 2


def test_filled_values_have_their_own_time_of_day() -> None:
    pushed = Run(model(4, features=True)).push(at(0, 1, 3))
    exact = Run(model(4, features=True)).push(at(0, 1, 2, 3))
    assert pushed.windows.x[0, :, 1:].tolist() == exact.windows.x[0, :, 1:].tolist()


def test_filled_values_keep_the_usual_step_of_their_time() -> None:
    # One batch holds a filled gap, and then a new usual step that is learnt: as if in two.
    def times(*steps: int) -> list[tuple[str, int, list[float]]]:
        return [("known", START + s * STEP, [float(s)]) for s in np.cumsum(steps).tolist()]

    records = times(0, 1, 1, 3, *[7] * 40)
    of = model(100, features=True)
    whole, parted = Run(of), Run(of)
    whole.push(records)
    parted.push(records[:4])
    parted.push(records[4:])
    assert whole.counts["filled"] == 2
    assert (int(whole.slot("known")["decided"]), int(whole.slot("known")["interval"])) == (1, 7 * STEP)
    assert whole.slot("known").tobytes() == parted.slot("known").tobytes()
