"""What the log says again: why there was, or was not, an alert, and what other settings would have said.

`replaying` runs a partition's log through the worker's own steps; `explaining` stops at one observation, `trying` compares two settings. Begin with
`replaying`.
"""
