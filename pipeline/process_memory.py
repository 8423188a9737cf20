"""How a worker's process deals with its memory: Python's collector looks seldom, and what a batch freed stays for the next one."""

from __future__ import annotations

import ctypes
import gc

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Of `mallopt`."""
_KEPT, _LARGE = 64 << 20, 32 << 20


def collect_seldom() -> None:
    """Have Python's collector look seldom: what is imported stays, and records come as lists of bytes, which hold no cycles; it would walk them again and again.

    Reading 1,000,000 records takes 2.4 times the CPU time with its defaults.
    """
    gc.set_threshold(100_000, 50, 50)


def calm_collector() -> None:
    """The same where a process begins its work: what is there by now, it does not look at at all.

    It looks ten times as often as there, as a record waits while it does: for 2 ms now and then, where 100,000 objects take 40.
    """
    gc.freeze()
    gc.set_threshold(10_000, 50, 50)


def leave_uncollected() -> None:
    """The process ends, and what is there goes with it: the collector need not walk it twice more, 0.2 s behind each `score`."""
    gc.freeze()


def keep_freed() -> bool:
    """Let this process keep up to 64 MB that it has freed; False where the C library (not glibc's) has no such setting.

    Otherwise what a batch took goes back to the kernel with each, and comes again page by page: 2,300 faults, 0.3 us a record.
    """
    mallopt = getattr(ctypes.pythonapi, "mallopt", None)  # of the process, like all that is loaded
    return mallopt is not None and all(mallopt(*of) for of in ((_TRIM_THRESHOLD, _KEPT), (_MMAP_THRESHOLD, _LARGE)))
