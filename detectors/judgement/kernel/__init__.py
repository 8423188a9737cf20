"""The judgement row by row, compiled: a row reads and changes the record of its own series and nothing else.

    rows.run ── for each row ──▶ row.judge ─▶ look (each channel) ─▶ given ─▶ scale ─▶ picture ─▶ rare ─▶ again ─▶ band ─▶ tell
                             │     └─ every 16th row of the series ─▶ slow (scales, clock, tails)
                             └─▶ first.gather, then begin: the first rows of a series that is not known

The formulas are those of `terms`, `ranking`, `alarm` and `clock`; tests hold the two together. All is scalar, one operation after the other in a fixed
order, without `fastmath`: no cut, order, neighbour or thread changes a bit. Records are the arrays of `record`, seen as 64, 32 and 16 bits:
`h` is where a series begins, `c` where one of its channels does, in units of 8 bytes; `m` where what was learnt of it begins. Constants in
capitals are places: of fields in a record (`field`), of a row's numbers in the array `w` (`layout`). `detectors.compiling` turns `rows.run` into machine code;
nothing else imports these modules, which need Numba.
"""
