"""Several channels, harder than `planted.several`: three to six sources, channels of unequal noise, some of them almost alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.judgement.items import Item, item
from benchmarks.unseen import planted

KINDS = ("broken", "spike", "shift", "frozen", "swapped")
NORMALS = ("daily", "cycle", "wander", "load", "business")
_LENGTHS, _CHANNELS, _SOURCES = (2000, 4000, 8000), (6, 16), (3, 7)


def several(seed: int) -> Iterator[Item]:
    """Every kind of anomaly with every kind of normal; it lies in one or two channels."""
    for k, normal in enumerate(NORMALS):
        for j, anomaly in enumerate(KINDS):
            rng = np.random.default_rng([seed, 500 + k, j])
            n, channels, hidden = int(rng.choice(_LENGTHS)), int(rng.integers(*_CHANNELS)), int(rng.integers(*_SOURCES))
            minutes = np.arange(n) * 5.0
            # Sources of two kinds: what explains one channel need not explain another.
            names = [normal if i % 3 else str(rng.choice(NORMALS)) for i in range(hidden)]
            sources = np.stack([planted.NORMAL[name](rng, minutes) for name in names])
            mixture = rng.normal(0, 1, (hidden, channels)) * (rng.random((hidden, channels)) < 0.6)
            x = sources.T @ mixture / np.sqrt(hidden)
            noise = 10.0 ** rng.uniform(-1.7, 0.0, channels)  # 0.02 to 1: some channels are nearly noise alone
            clear = np.flatnonzero((noise < 0.3) & (x.std(axis=0) > 2 * noise))
            if not len(clear):  # no source reaches a quiet channel: the quietest one follows the first source
                clear = np.array([int(noise.argmin())])
                x[:, clear[0]] += sources[0]
            y = np.zeros(n, np.bool_)
            for at in planted._places(rng, n, spike=anomaly == "spike"):
                y[at] = True
                for c in rng.permutation(clear)[: 1 + int(rng.random() < 0.3)]:
                    if anomaly == "broken":
                        x[at, c] = np.roll(x[:, c], int(n * 0.37))[at]
                    elif anomaly == "swapped":
                        x[at, c] = x[:, c].mean() - (x[at, c] - x[:, c].mean())
                    else:
                        size = max(float(x[:, c].std()), 5 * noise[c]) * (0.5 + rng.random())
                        planted.ANOMALIES[anomaly](rng, x[:, c], at, size)
            values = (x + rng.normal(0, 1, x.shape) * noise) * 10.0 ** rng.uniform(-1, 3, channels)
            first = planted.metric_training_rows(n)
            yield item("several", f"{normal} x{channels}, {anomaly}", 5.0, values, y, first)
