"""MNIST: 70,000 handwritten digits of 28 x 28 grey values. LeCun, Bottou, Bengio, Haffner, Proc. IEEE 1998; CC BY-SA 3.0.

No stream: images for the textbook experiment "which digit is the most anomalous", as arrays.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from producers.errors import DataError

SOURCE = "MNIST (LeCun, Cortes, Burges; CC BY-SA 3.0)"


@dataclass(frozen=True)
class Digits:
    """Images (n, 784) uint8 and their digits (n,) uint8."""

    images: NDArray[np.uint8]
    digits: NDArray[np.uint8]


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
