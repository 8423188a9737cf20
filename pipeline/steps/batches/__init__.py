"""The columns that flow between the steps of the loop: one dataclass per border, B or N records each.

    RecordBatch ──decode──▶ Observations ──push──▶ Windows ──score, calibrate──▶ Scored ──advance──▶ Alert, Score

All arrays of one batch have the same length, and index i means the same record in each column.

`records` has what is read, `binary` its strings as they lie, `observations` what they say, `outcomes` what becomes of it. Begin with `records`.
"""
