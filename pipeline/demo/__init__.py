"""`make demo`: data sets to alerts in a few minutes, with servers, workers, replays and a report of its own.

In: nothing but data. Out: a report in out/demo. `streams` says what is shown, `run` does it step by step, `judge` holds the alerts against
the labels, `page` writes the report. Begin with `run`.
"""
