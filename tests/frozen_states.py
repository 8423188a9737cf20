"""Small streams whose states were frozen as bytes: what an older version wrote must go on in this one.

tests/data/state_format_<n>.json holds, for each kind, the log, the offset of the checkpoint and its fields, as the version wrote
them that had that format. `python tests/frozen_states.py FILE` writes such a file with the code at hand.
"""

from __future__ import annotations

import base64
import json
import random
import sys
import zlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from detectors.base import DetectorConfig
from detectors.baselines import Random, ZScore, ZScoreConfig
from detectors.calibration import GaussianTail
from detectors.features import FeatureEncoder
from detectors.model import Model
from detectors.scaling import SeriesScaling
from pipeline.partition.core import PartitionCore
from pipeline.partition.stream import Stream, create_stream
from pipeline.settings import AlertSettings, StreamSettings, ThresholdSettings
from pipeline.steps.batches.records import RecordBatch
from producers.records import Observation, encode

MINUTE = 60_000
KINDS = ("metric", "table", "otlp")
"""The third is in files of format 3 and later."""
KNOWN = ("s0", "s1", "s2")
RECORDS = 240
CUT = 155


def stream_of(kind: str) -> Stream:
    """The frozen stream of a kind."""
    chance = np.random.default_rng(1)
    features = None
    if kind == "table":
        features = FeatureEncoder(["bytes", "service"], categorical=["service"])
        features.fit([[float(i), "http" if i % 2 else "smtp"] for i in range(20)])
        detector: Any = Random(DetectorConfig(window=1, channels=features.channels))
    else:
        detector = ZScore(ZScoreConfig(window=4))
    config = detector.config
    detector.fit(chance.normal(size=(8, config.window, config.channels)).astype(np.float32))
    calibrator = GaussianTail()
    known = {name: np.array([[10.0], [1.0]]) for name in KNOWN}
    model = Model(
        kind="table" if kind == "table" else "metric",
        detectors=(detector,),
        calibrator=calibrator,
        scaling=SeriesScaling("none") if kind == "table" else SeriesScaling("standard", known, learn_rows=3),
        features=features,
        time_features=(),
        aggregation="mean",
        training_rows=dict.fromkeys(known, 4),
        calibrations={name: calibrator.fit(chance.random(64)).reshape(1) for name in known},
        interval_ms={},
        facts={},
    )
    settings = StreamSettings(
        name="frozen",
        topic="in",
        model=Path("none"),
        format="otlp" if kind == "otlp" else "native",
        probation=6,
        future_limit=timedelta(minutes=30),
        threshold=ThresholdSettings(level=0.7 if kind == "table" else 2.0),
        alerts=AlertSettings(
            hold=timedelta(minutes=2),
            silence=timedelta(minutes=20),
            suppression=timedelta(minutes=5),
            resolve_count=3,  # these as they were by default when the first states were frozen
            quiet=timedelta(0),
            split=False,
            warning=0.0,
            critical=6.0,
        ),
    )
    return create_stream(settings, model)


def log_of(kind: str) -> list[bytes]:
    """Values of its records, one at each offset from 0 on."""
    chance = random.Random(7)
    now, out = 1_000_000 * MINUTE, []
    totals = dict.fromkeys(("s3", "s4"), 0.0)
    for _ in range(RECORDS):
        now += chance.choice((0, MINUTE, MINUTE))
        series = f"s{chance.choice((0, 0, 0, 1, 1, 2, 3, 4))}"
        if kind == "table":
            values: list[float | str] = [float(chance.randrange(15)), chance.choice(("http", "smtp", "ftp"))]
            out.append(encode(Observation(series=series, timestamp=now, values=values)))
        else:
            value = chance.gauss(10, 1) + (chance.choice((8, -9)) if chance.random() < 0.12 else 0)
            if kind == "otlp":
                if series in totals:
                    totals[series] = value = totals[series] + 60 * value
                out.append(_export(series, now, value, total=series in totals))
                continue
            out.append(encode(Observation(series=series, timestamp=now, value=value)))
    return out


def _export(series: str, time: int, value: float, *, total: bool) -> bytes:
    points = {"dataPoints": [{"asDouble": value, "timeUnixNano": str(time * 1_000_000)}]}
    content = {"sum": {**points, "aggregationTemporality": 2, "isMonotonic": True}} if total else {"gauge": points}
    return json.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": series, **content}]}]}]}).encode()


def process(core: PartitionCore, values: list[bytes], first: int) -> list[bytes]:
    """Push records whose first has the offset `first`; returns the alerts' bodies."""
    n = len(values)
    records = RecordBatch("in", 0, np.arange(first, first + n), first + n, [None] * n, values, np.zeros(n, np.int64))
    observations, rejected = core.stream.decoder.decode(records)
    assert not rejected
    return [a.message("alerts").value or b"" for _, s in core.process(observations) for a in s.alerts]


def freeze(file: Path) -> None:
    """Write the states that this version would store."""
    frozen = {}
    for kind in KINDS:
        values = log_of(kind)
        core = stream_of(kind).core(0)
        process(core, values[:CUT], 0)
        fields = core.state.snapshot(everything=True)
        frozen[kind] = {
            "identity": core.stream.identity(cluster_id="c", topic_id="t").model_dump(),
            "offset": CUT,
            "log": [v.decode() for v in values],
            "fields": {n: base64.b64encode(zlib.compress(f, 9)).decode() for n, f in fields.items()},
        }
    file.write_text(json.dumps(frozen, indent=1) + "\n")


def frozen(file: Path, kind: str) -> tuple[dict[str, Any], int, list[bytes], dict[str, bytes]]:
    """Identity, offset, log and fields of a frozen state."""
    it = json.loads(file.read_text())[kind]
    fields = {n: zlib.decompress(base64.b64decode(f)) for n, f in it["fields"].items()}
    return it["identity"], it["offset"], [v.encode() for v in it["log"]], fields


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    freeze(Path(sys.argv[1]))
