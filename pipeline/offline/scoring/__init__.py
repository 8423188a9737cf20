"""From a data set to a row of scores for each of its rows: `ready` tidies it and learns, `recorded` makes observations of its rows, `rows` puts what was
said of them into its order, `writing` writes it; `room` and `texts` hold what is long. `pipeline.offline.scorefile` goes through them.
"""
