"""Whole alerts, as a stream's partition would publish them: what shows alerts is tried on these."""

from __future__ import annotations

import numpy as np
from alert_logs import Log, Row, metric_model, scores, stream

from detectors.features import FeatureEncoder


def life(series, *, start=0.0, values=(5.0, 7.0, 0.1, 0.1, 0.1)):
    """An alert with a window that rises at its end, an expected value and a band."""
    log = Log(stream(), metric_model(interval_ms={series: 300_000}))
    rows = scores(series, values, start=start, observed=(30.0,), expected=(20.0,))
    observations, heard, scored = log.columns(rows)
    scored.packed[:] = 20 + np.sin(np.arange(len(scored.packed)))[:, None]
    scored.packed[2::3] = 30.0
    scored.margins = lambda at: np.full((len(at), 1), 4.0)
    return log.life.advance(log.state, observations, heard, scored)


def row_alerts():
    encoder = FeatureEncoder(["bytes", "service"], categorical=["service"]).fit([[10.0, "http"], [30.0, "smtp"]])
    log = Log(stream(name="kdd"), metric_model(kind="table", features=encoder))
    return log.run(
        [Row("http", 50, 5.0, observed=(0.0,) * 4, contributions=(0.5, 0, 1.5, 0.25), original=[10.0, "ftp"])]
    )
