"""The time policy of `pipeline.steps.clock.policy`, one observation after the other: the function that is compiled.

A series' clock is `s` (9,), its places are `LAST` and so on; times and steps in ms, 0 = none yet:

    LAST, ORDINAL   time of the newest accepted observation, and how many there were (a confirmed one counts)
    HELD_AT         time of the observation that awaits confirmation
    INTERVAL        the usual step once it is `DECIDED`; before, the sum of the `AGREE` steps that agree
    AGAINST, TRIED  steps that did not agree, and all that were looked at; once decided, `AGAINST` counts restarts in a row
    OTHER           once decided, the sum of the newest `AGREE` steps, in a row, that agree with each other and not with the usual one

The policy is `p` (4,): `fill_gaps`, `future_limit`, whether there are gaps, and whether there is a policy. What is to be done with an observation stands in `d`:
how many are `FILLS`ed in before it, whether the window starts `ANEW` with it, or with the held one that it `CONFIRMS`; `counts` says what happened, by `policy.COUNTS`.
"""

from __future__ import annotations

from detectors.compiling import inner
from detectors.kernels.ahead import fetch_line
from pipeline.steps.clock.policy import AGREEING, APART, DISAGREEING, EMPTY, FARTHEST_GAP, KEPT, RELEARN, RULING
from pipeline.steps.clock.policy import TRIED as MOST_TRIED

LAST, ORDINAL, HELD_AT, INTERVAL, DECIDED, AGREE, AGAINST, TRIED, OTHER = range(9)
FILL_GAPS, FUTURE_LIMIT, GAPS, JUDGED = range(4)
FILLS, ANEW, CONFIRMS = range(3)
AHEAD = 8
"""Series whose records are fetched while one is worked on: each is new to the cache where a batch has an observation of each of many."""
LATE, DUPLICATE, HELD, CONFIRMED, DROPPED, FILLED, RESTARTED, CHANGED = range(8)


def signature():
    """Of `run`."""
    import numba
    from numba import types as t

    def of(kind, readonly=False):
        return t.Array(kind, 1, "A", readonly=readonly, aligned=False)

    i8, u1 = t.int64, t.uint8
    return t.UniTuple(i8, 2)(
        t.Array(i8, 1, "C"),
        *(t.Array(i8, 1, "C"),) * 2,
        *(of(i8, readonly=True),) * 3,
        *(of(i8),) * 5,
        of(t.uint32),
        *(of(u1),) * 4,
        t.Array(numba.from_dtype(RULING), 1, "C"),
        t.Array(i8, 1, "C"),
    )


@inner
def usual(s):
    """The usual step; 0: there is none, or none yet."""
    return s[INTERVAL] if s[DECIDED] else 0


@inner
def longest(p, s):
    """The longest step that is no jump."""
    return max(p[FUTURE_LIMIT], (min(p[FILL_GAPS], FARTHEST_GAP) + 2) * usual(s))


@inner
def decide(s, interval):
    """The usual step is another from here on."""
    s[INTERVAL], s[DECIDED] = interval, 1
    s[AGREE], s[AGAINST], s[TRIED], s[OTHER] = 0, 0, 0, 0


@inner
def learn(s, step):
    """Take a step into account while there is no usual one; its sum with those that agree, and integers: nothing is rounded on the way."""
    s[TRIED] += 1
    if 10 * abs(step * s[AGREE] - s[INTERVAL]) <= s[INTERVAL]:
        s[INTERVAL] += step
        s[AGREE] += 1
    else:
        s[AGAINST] += 1
        if s[AGAINST] == DISAGREEING:
            s[INTERVAL], s[AGREE], s[AGAINST] = step, 1, 0
    if s[AGREE] == AGREEING:
        decide(s, (2 * s[INTERVAL] + AGREEING) // (2 * AGREEING))
    elif s[TRIED] == MOST_TRIED:
        decide(s, 0)


@inner
def is_usual_now(s, step):
    """Whether this step is the one with which another one has become the usual step."""
    about = s[INTERVAL] // APART
    if s[INTERVAL] - about <= step <= s[INTERVAL] + about:
        s[AGREE], s[OTHER] = 0, 0
        return False
    if 10 * abs(step * s[AGREE] - s[OTHER]) > s[OTHER]:
        s[AGREE], s[OTHER] = 0, 0
    s[OTHER] += step
    s[AGREE] += 1
    if s[AGREE] < RELEARN:
        return False
    decide(s, (2 * s[OTHER] + RELEARN) // (2 * RELEARN))
    return True


@inner
def missing(p, s, step):
    """How many values are missing after a step: the nearest whole number of usual steps, less one."""
    if not p[GAPS]:
        return 0
    if not s[DECIDED]:
        learn(s, step)
        return 0
    if not s[INTERVAL] or is_usual_now(s, step):
        return 0
    found = max((2 * step + s[INTERVAL]) // (2 * s[INTERVAL]) - 1, 0)
    s[AGAINST] = s[AGAINST] + 1 if found > p[FILL_GAPS] else 0
    if s[AGAINST] == RELEARN:
        for what in (INTERVAL, DECIDED, AGAINST, TRIED, AGREE, OTHER):
            s[what] = 0
    return found


@inner
def accept(s, time):
    """It is the newest."""
    s[LAST] = time
    s[ORDINAL] += 1
    return True


@inner
def begins(s, d, time):
    """Accept; the window starts anew with it."""
    d[ANEW] = 1
    return accept(s, time)


@inner
def follows(p, s, d, counts, time):
    """Whether it is accepted where none is held."""
    step = time - s[LAST]
    if not s[LAST]:
        return accept(s, time)
    if step <= 0:
        if s[ORDINAL] == 1 and -step > p[FUTURE_LIMIT]:
            counts[DROPPED] += 1
            return begins(s, d, time)
        counts[LATE if step else DUPLICATE] += 1
        return False
    if step > longest(p, s):
        s[HELD_AT] = time
        counts[HELD] += 1
        return False
    lost = missing(p, s, step)
    if lost > p[FILL_GAPS]:
        counts[RESTARTED] += 1
        return begins(s, d, time)
    d[FILLS] = lost
    counts[FILLED] += lost
    return accept(s, time)


@inner
def confirms(p, s, d, counts, held_at, time):
    """Accept it, and the one that was held before it where nothing is missing between them that is not filled in."""
    counts[CONFIRMED] += 1
    lost = missing(p, s, time - held_at)
    if lost > p[FILL_GAPS]:
        counts[RESTARTED] += 1
        return begins(s, d, time)
    s[ORDINAL] += 1
    d[FILLS], d[CONFIRMS] = lost, 1
    counts[FILLED] += lost
    return begins(s, d, time)


@inner
def judge(p, s, d, counts, time):
    """Whether the next observation of the series, in log order, is accepted."""
    d[FILLS], d[ANEW], d[CONFIRMS] = 0, 0, 0
    held_at = s[HELD_AT]
    if not held_at:
        return follows(p, s, d, counts, time)
    if time == held_at:
        counts[DUPLICATE] += 1
        return False
    s[HELD_AT] = 0
    if held_at < time <= held_at + max(longest(p, s), 2 * (held_at - s[LAST])):
        return confirms(p, s, d, counts, held_at, time)
    counts[DROPPED] += 1
    return follows(p, s, d, counts, time)


@inner
def rule(p, s, d, counts, ruling, time, place, held):
    """Judge the observation at a place, whose series holds what stands at `held`; returns what it holds from there on."""
    at, before, was = s[HELD_AT], s[LAST], usual(s)
    ruling.accepted = judge(p, s, d, counts, time)
    now = usual(s)
    ruling.usual = now if now != was else -1
    ruling.held_at, ruling.held = at if d[CONFIRMS] else 0, held
    ruling.fills, ruling.since, ruling.apart = d[FILLS], at if d[CONFIRMS] else before, s[INTERVAL]
    ruling.anew = d[ANEW] != 0
    counts[CHANGED] += now != was
    if s[HELD_AT] == at:
        return held
    return place if s[HELD_AT] else EMPTY


@inner
def begin_anew(ruling, counts):
    """Let the window begin with this one, whatever is missing before it."""
    counts[FILLED] -= ruling.fills
    counts[RESTARTED] += not ruling.anew
    ruling.fills, ruling.anew = 0, True


def run(
    p,
    s,
    d,
    order,
    rows,
    times,
    last,
    ordinal,
    held_at,
    interval,
    other,
    size,
    decided,
    agree,
    against,
    tried,
    rulings,
    counts,
):
    """Rule on N observations, series by series.

    Parameters
    ----------
    p : (4,)
    s, d : (9,), (3,)
        Scratch, zeros.
    order : (N,)
        Their places, sorted by series, each series' in log order.
    rows, times : (N,)
    last, ordinal, size
        Fields of the records, which are written with the window.
    held_at, interval, other, decided, agree, against, tried
        Fields that move on here.
    rulings : (N,) of RULING
        Takes what is ruled on each.
    counts : (8,)

    Returns
    -------
    How many positions all of them have in windows, those of missing and held ones among them, and how many series have some.
    """
    N, entries, series = len(order), 0, 0
    start = 0
    while start < N:
        r, stop = rows[order[start]], start
        if start + AHEAD < N:
            fetch_line(held_at, rows[order[start + AHEAD]], 0)
            fetch_line(tried, rows[order[start + AHEAD]], 0)
        while stop < N and rows[order[stop]] == r:
            stop += 1
        s[LAST], s[ORDINAL], brought, held = last[r], ordinal[r], 0, KEPT
        if p[JUDGED]:
            s[HELD_AT] = held_at[r]
        if p[GAPS]:
            s[INTERVAL], s[OTHER], s[DECIDED] = interval[r], other[r], decided[r]
            s[AGREE], s[AGAINST], s[TRIED] = agree[r], against[r], tried[r]
        # `start_anew` emptied the window: what is accepted first begins it, and nothing is filled in before it.
        broken, held_before, known = size[r] == 0 and s[LAST] != 0, s[HELD_AT], s[ORDINAL] > 0
        for j in range(start, stop):
            i = order[j]
            ruling, before = rulings[i], s[LAST]
            if p[JUDGED]:
                held = rule(p, s, d, counts, ruling, times[i], i, held)
                if ruling.held_at:
                    broken = False  # it came behind the break, with the one that it confirms
                if broken and ruling.accepted:
                    begin_anew(ruling, counts)
                    broken = False
            else:
                ruling.accepted, s[LAST], ruling.usual = True, times[i], -1
                known = known and times[i] - before <= p[FUTURE_LIMIT]
            ruling.vouched, known = ruling.accepted and known, True
            if ruling.accepted:
                brought += 1 + ruling.fills + (ruling.held_at != 0)
        rulings[order[start]].holds = KEPT if held == EMPTY and not held_before else held
        entries, series = entries + brought, series + (brought > 0)
        if p[JUDGED]:
            held_at[r] = s[HELD_AT]
        if p[GAPS]:
            interval[r], other[r], decided[r] = s[INTERVAL], s[OTHER], s[DECIDED]
            agree[r], against[r], tried[r] = s[AGREE], s[AGAINST], s[TRIED]
        start = stop
    return entries, series
