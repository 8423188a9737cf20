"""Numbers in order, in compiled code: numpy's own sort, partition and argmin bring scipy there, 0.2 s of every start."""

from __future__ import annotations

from detectors.compiling import inner


@inner
def kth(values, n, k):
    """The k-th smallest of the first n, from 0 on; these change places (Hoare's selection)."""
    low, high = 0, n - 1
    while low < high:
        pivot, i, j = values[(low + high) // 2], low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i, j = i + 1, j - 1
        if k <= j:
            high = j
        elif k >= i:
            low = i
        else:
            break
    return values[k]


@inner
def order(a, n):
    """Let the first n rise (heapsort)."""
    for step in range(n // 2 + n):  # first the heap is built, then its highest goes to the end, one by one
        at, size = n // 2 - 1 - step, n
        if at < 0:
            size = n + n // 2 - 1 - step
            a[0], a[size], at = a[size], a[0], 0
        while 2 * at + 1 < size:
            child = 2 * at + 1
            child += child + 1 < size and a[child + 1] > a[child]
            if a[child] <= a[at]:
                break
            a[at], a[child], at = a[child], a[at], child


@inner
def below(ranked, n, value):
    """How many of the first n, which rise, are below a value."""
    low, high = 0, n
    while low < high:
        middle = (low + high) // 2
        if ranked[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


@inner
def put(ranked, n, value):
    """Put a value among the first n; how many there are then."""
    at = below(ranked, n, value + 1)
    for i in range(n, at, -1):
        ranked[i] = ranked[i - 1]
    ranked[at] = value
    return n + 1


@inner
def drop(ranked, n, value):
    """Take a value out of the first n; how many are left."""
    for i in range(below(ranked, n, value), n - 1):
        ranked[i] = ranked[i + 1]
    return n - 1


@inner
def move(ranked, n, old, new):
    """Let one of the first n be another value; only those between the two change their places."""
    if new >= old:
        at, to = below(ranked, n, old + 1) - 1, below(ranked, n, new) - 1
        for i in range(at, to):
            ranked[i] = ranked[i + 1]
        ranked[max(at, to)] = new
    else:
        at, to = below(ranked, n, old), below(ranked, n, new + 1)
        for i in range(at, to, -1):
            ranked[i] = ranked[i - 1]
        ranked[to] = new
