"""MNIST: 70,000 handwritten digits of 28 x 28 grey values. LeCun, Bottou, Bengio, Haffner, Proc. IEEE 1998; CC BY-SA 3.0.

As a data set, one digit is the anomaly: the first 10,000 training images of the nine others come first, then all 10,000 test images. An image is a row of
grey values between 0 and 1, line by line. `load` has all images as they are.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from producers.datasets.base import Dataset, Labels, Series, episodes
from producers.errors import DataError

SIDE = 28
LEARNT = 10_000
"""Training images of the data set."""
STEP_MS = 1000  # made up: images have no time
SOURCE = "MNIST (LeCun, Cortes, Burges; CC BY-SA 3.0)"


@dataclass(frozen=True)
class Digits:
    """Images (n, 784) uint8 and their digits (n,) uint8."""

    images: NDArray[np.uint8]
    digits: NDArray[np.uint8]


def load_without(folder: Path, digit: int) -> Dataset:
    """One series `digits`: the first training images without `digit`, then the test images, `digit` anomalous among them."""
    train, test = load(folder)
    kept = np.flatnonzero(train.digits != digit)[:LEARNT]
    pixels = np.concatenate([train.images[kept], test.images]).T / 255.0  # (784, n), a column for each pixel
    digits = np.concatenate([train.digits[kept], test.digits])
    anomalous = digits == digit
    kinds = digits.astype(str).astype(object)
    timestamps = np.arange(len(digits), dtype=np.int64) * STEP_MS
    names = tuple(f"r{i // SIDE}c{i % SIDE}" for i in range(SIDE * SIDE))
    source = f"{SOURCE}: {len(kept):,} training images without {digit}, then {len(test.digits):,} test images, where {digit} is the anomaly"
    labels = Labels(episodes(kinds, anomalous, timestamps, 0), anomalous, kinds)
    series = Series("digits", timestamps, tuple(np.ascontiguousarray(pixels)))
    name = f"mnist-{digit}" if digit else "mnist"
    return Dataset(name, "table", names, source, {"digits": series}, {"digits": labels})


def load(folder: Path) -> tuple[Digits, Digits]:
    """The 60,000 training and the 10,000 test digits."""
    return _part(folder, "train"), _part(folder, "t10k")


def _part(folder: Path, part: str) -> Digits:
    images = _idx(folder / f"{part}-images-idx3-ubyte.gz", 3)
    return Digits(images.reshape(len(images), -1), _idx(folder / f"{part}-labels-idx1-ubyte.gz", 1))


def _idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """One idx file: magic number 0, 0, 8 (unsigned bytes), the number of dimensions, their sizes, the values."""
    try:
        content = gzip.decompress(path.read_bytes())
        if content[:4] != bytes([0, 0, 8, dimensions]):
            raise ValueError("another magic number")  # noqa: TRY301
        shape = np.frombuffer(content, ">u4", dimensions, 4)
        return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
    except (OSError, EOFError, ValueError) as error:
        msg = f"{path}: not an idx file of {dimensions} dimensions ({error})"
        raise DataError(msg) from error
