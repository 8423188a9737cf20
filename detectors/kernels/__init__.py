"""Loops over rows as Numba compiles them (`detectors.compiling`): each module has `run`, the types of its arguments, and what it is made of.

The readable versions of the same, in numpy, are the tests' oracles (`tests/numpy_empirical.py`, `tests/numpy_budget.py`): equal by bits. So nothing is
compiled that would change the order of sums, and logarithms and powers are numpy's own (`ufuncs`).
"""
