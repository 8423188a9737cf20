"""The demo's three streams: which data, which detectors, which alert policy, and why.

Thresholds, calibration and alert policy of `taxi` and `nab` are the product's defaults. The taxi's detectors were chosen on its
synthetic twin (`producers.datasets.synthetic`): there an LSTM alone finds 1 of 5 planted events, with a weekly memory beside it
4, neither with a false alert. Whoever chose had seen the real labels too, so this is no blind test; `benchmarks/accuracy/run.py` makes
the honest figures. The threshold and calibration of `kdd` were picked with its labels in sight: that stream shows what the
pipeline does, it measures nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detectors.model import Model
    from detectors.training import Member, OnProgress
    from producers.datasets import Dataset


@dataclass(frozen=True)
class DemoStream:
    """One stream of the demo.

    Attributes
    ----------
    detectors
        Names and settings of the members.
    aggregation
        How their calibrated scores become one.
    time_features
        Given to the detectors beside the values.
    calibrator
        Settings of the empirical calibrator.
    table_fraction
        Tables: which part of the rows trains.
    settings
        The stream's table in tidewatch.toml, beside name, model and topics.
    why
        What the report says of these choices.
    """

    name: str
    title: str
    dataset: str
    detectors: tuple[Member, ...]
    why: str
    aggregation: str = "mean"
    time_features: tuple[str, ...] = ()
    calibrator: Mapping[str, float] = field(default_factory=dict)
    table_fraction: float = 0.3
    choose: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def open(self) -> Dataset:
        """The data; its synthetic twin where the real one cannot be had."""
        from producers.datasets import open_dataset

        return open_dataset(self.dataset, synthetic_ok=True).select(*self.choose, without=self.without)

    def train(self, data: Dataset, on_progress: OnProgress | None = None) -> Model:
        """Train on the first part of the data; what is replayed later is not looked at."""
        from detectors.calibration import Empirical, EmpiricalConfig
        from detectors.training import train_metric, train_table

        calibrator = Empirical(EmpiricalConfig.model_validate(self.calibrator))
        facts = {"data": data.source, "synthetic": data.synthetic}
        if data.kind == "table":
            return train_table(
                {
                    name: series.rows(0, int(self.table_fraction * len(series)))
                    for name, series in data.series().items()
                },
                data.channels,
                data.categorical,
                self.detectors,
                calibrator,
                training_rows=lambda n: n,
                facts=facts,
                on_progress=on_progress,
            )
        return train_metric(
            {name: (series.timestamps, series.values) for name, series in data.series().items()},
            self.detectors,
            calibrator,
            time_features=self.time_features,
            aggregation=self.aggregation,  # type: ignore[arg-type]  # checked when the model file is read
            facts=facts,
            on_progress=on_progress,
        )


TAXI = DemoStream(
    name="taxi",
    title="New York taxi passengers",
    dataset="taxi",
    detectors=("lstm", "seasonal"),
    aggregation="max",
    time_features=("day", "week"),
    settings={"idle_after": "30d"},
    why=(
        "An LSTM forecaster sees what is wrong for the hour; a seasonal memory (the last three hours against the same hours one "
        "and two weeks before) sees what is wrong for the day; either may raise the alarm. The two were chosen on the synthetic "
        "twin of this stream; threshold and alert policy are the product's defaults."
    ),
)
NAB = DemoStream(
    name="nab",
    title="Machine metrics (NAB realKnownCause, realAWSCloudwatch)",
    dataset="nab",
    choose=("*realKnownCause/*", "*realAWSCloudwatch/*"),
    without=("*nyc_taxi",),
    detectors=(("tcn", {"window": 48}),),
    settings={"idle_after": "30d"},
    why=(
        "One TCN forecaster for all series, each scaled by its own training part and calibrated by itself; threshold and alert "
        "policy are the product's defaults."
    ),
)
KDD = DemoStream(
    name="kdd",
    title="Network connections (KDD Cup 99, http)",
    dataset="kdd",
    detectors=("autoencoder",),
    calibrator={"poison_level": 4.0, "adapt_after": 20_000, "step": 255},
    settings={"threshold": {"level": 3.0}, "alerts": {"resolve_count": 50}},
    why=(
        "A dense autoencoder on single rows, trained on the first 30 % of the connections, which hold no attack. Attacks come in "
        "blocks of a thousand, so what is anomalous does not become normal by lasting. Threshold (one row in "
        "1,000) and calibration were picked with these labels in sight: a demonstration, not a measurement."
    ),
)
STREAMS = (TAXI, NAB, KDD)
