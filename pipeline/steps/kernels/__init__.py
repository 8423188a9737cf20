"""Loops over observations as Numba compiles them (`detectors.compiling`): each module has `run` and the types of its arguments.

Their oracles are the slow and obvious versions in the tests (`tests/naive_windows.py`): equal by bits.
"""
