"""`detectors.isolation_forest`'s walk: all trees, a level at a time for all rows of a tile, since a step waits for the one before it but not for its neighbours."""

from __future__ import annotations

import numpy as np


def signature():
    """Of `run`."""
    from numba import types as t

    cells, sums = t.Array(t.float32, 2, "C"), t.Array(t.float64, 1, "C")
    nodes = t.Array(t.uint32, 2, "C")
    return t.void(cells, nodes, cells, t.Array(t.float64, 2, "C"), cells, sums, t.Array(t.float64, 2, "C"))


def run(x, feature, cut, depth, bits, depths, told):
    """Walk rows through full trees of L leaves.

    Parameters
    ----------
    x : (B, D)
    feature, cut : (trees, L - 1)
        Of the inner nodes; a row goes left where x[feature] <= cut.
    depth : (trees, L)
    bits : (trees, 2 L - 1) or (0, 0)
        What each node tells of the column above it.
    depths : (B,)
        Takes the sum of the depths, tree after tree.
    told : (B, D) or (0, 0)
        Takes the sum of the bits by column. They are 16-bit floats, of which so many add up without rounding, in whatever order.
    """
    # Unsigned, or each index would be looked at for one from behind.
    columns, one, two = np.uint32(x.shape[1]), np.uint32(1), np.uint32(2)
    inner = np.uint32(feature.shape[1])
    cells, node = x.ravel(), np.empty(len(x), np.uint32)
    for t in range(len(feature)):
        features, cuts, leaves = feature[t], cut[t], depth[t]
        node[:] = 0
        left = inner
        while left:
            for b in range(np.uint32(len(x))):
                at = node[b]
                node[b] = two * at + one + np.uint32(cells[np.uint32(b) * columns + features[at]] > cuts[at])
            if len(told):
                for b in range(len(x)):
                    told[b, features[(node[b] - one) // two]] += bits[t, node[b]]
            left //= two
        for b in range(len(x)):
            depths[b] += leaves[node[b] - inner]
