"""A judgement of each newest row of a series: a score that ranks, and an alarm that decides, from the row itself and a small state.

    history ──▶ fit: clock, autoregression, short states, conditional ──▶ what was learnt (frozen) + a record (moves on with the series)
    rows    ──▶ step: terms ──▶ score = mean of log2(1 + term / its own q99)              (ranks; nothing in it adapts to what it ranks)
                          └───▶ strength = rarity among the recent terms - level          (decides; level from a false-alarm budget)

`population.Population` learns from histories and judges rows of any series that follow, in any cut, by compiled loops (`kernel`); `reference.Judge` is the same for
one series in numpy, to read and to test by. The same rows give the same bits however they are cut: what is recurrent goes row by row, what is slow
moves on every `state.BLOCK` rows of the series. Values are (n, C); event times are int64 ms; offsets of the local clock from UTC are handed in, so
daylight saving is the caller's.
"""

VERSION = 2
"""Of what a judgement says; part of the version that alerts name where it decides."""
