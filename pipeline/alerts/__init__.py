"""The life of an alert, its records, and those who read them.

In: scores and levels of a batch (`life`, one row per series; `attention` chooses whom a batch concerns, `lifecycle` is the rule for
one). Out: `Alert` records with a sequence number (`writer`; their form is `records`, their JSON Schemas `schemas`), and on the other side
of the topic: each record once (`subscribe`; `progress` is where each reader stands), for programs, for the page, for `sinks`. Begin with
`lifecycle`.
"""
