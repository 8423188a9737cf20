"""The one-shot `train` of docker-compose.yml: the taxi model of the demo, into the file that is named; nothing where it is there.

    python deploy/compose/train.py /models/taxi.tidewatch

Exit code: 0 when the model is there, 2 with one line when it cannot be trained.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pipeline.demo.streams import TAXI
from pipeline.demo.training import train
from producers.datasets import open_dataset
from producers.errors import ProducerError


def main(path: Path) -> int:
    """Train on the real data only: a twin's model would judge the real stream, and nobody would notice."""
    if path.is_file():
        print(f"{path} is there already")
        return 0
    try:
        data = open_dataset(TAXI.dataset)
    except ProducerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    unfinished = path.with_name(f".{path.name}.unfinished")
    model = train(TAXI, data, unfinished, lambda _: None)
    unfinished.rename(path)
    print(f"{path}: {model.detector_name}, trained on {data.source}")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
