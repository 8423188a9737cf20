"""A judgement of each newest row of a series: a score that ranks, and an alarm that decides, from the row itself and a small state.

    history ──▶ fit: clock, autoregression, short states, conditional ──▶ Judge (frozen) + State (moves on with the series)
    rows    ──▶ step: terms ──▶ score = mean of log2(1 + term / its own q99)              (ranks; nothing in it adapts to what it ranks)
                          └───▶ strength = rarity among the recent terms - level          (decides; level from a false-alarm budget)

`engine.Judge.fit` learns from a history in one go, `engine.Judge.step` goes on from a state by any number of rows. The same rows give the
same bits however they are cut: what is recurrent goes row by row in arrays of fixed shape, what is slow moves on every `engine.BLOCK` rows of
the series. Values are (n, C); event times are int64 ms; offsets of the local clock from UTC are handed in, so daylight saving is the caller's.
"""

VERSION = 1
"""Of what a judgement says; part of the version that alerts name where it decides."""
