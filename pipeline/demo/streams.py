"""The demo's three streams: which data, and what is said of it. All are judged by the product's own default, nothing is chosen for one.

Metrics learn from their history, as `tidewatch train default` does; NAB's machine metrics from the part that NAB's protocol leaves for it, because their
labelled windows begin behind that, and nobody is waited for where a file ends. The table learns from its first 15 %.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detectors.model import Model
    from detectors.training import OnProgress
    from producers.datasets import Dataset


@dataclass(frozen=True)
class DemoStream:
    """One stream of the demo.

    Attributes
    ----------
    detector
        By name, in place of the product's default.
    probation
        Metrics: whether only what NAB's protocol allows is learnt from, min(15 %, 750 rows), not the whole history.
    choose, without
        Globs of series.
    settings
        The stream's table in tidewatch.toml, beside name, model and topics.
    why
        What the report says of it.
    """

    name: str
    title: str
    dataset: str
    why: str
    detector: str = ""
    probation: bool = False
    choose: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def open(self) -> Dataset:
        """The data; its synthetic twin where the real one cannot be had."""
        from producers.datasets import open_dataset

        return open_dataset(self.dataset, synthetic_ok=True).select(*self.choose, without=self.without)

    def train(self, data: Dataset, on_progress: OnProgress | None = None) -> Model:
        """Train on the first part of the data; what is replayed later is not looked at."""
        from detectors.recipes import by_name
        from detectors.training import metric_training_rows

        recipe = by_name(data.kind, self.detector)
        if data.kind == "table":
            rows = {name: series.rows(0, len(series)) for name, series in data.series().items()}
            model = recipe.train_table(rows, data.channels, data.categorical, on_progress=on_progress)
        else:
            model = recipe.train_metric(
                {name: (series.timestamps, series.values) for name, series in data.series().items()},
                training_rows=metric_training_rows if self.probation else None,
                on_progress=on_progress,
            )
        facts = {"data": data.source, "synthetic": data.synthetic, "settings": dict(recipe.settings)}
        return replace(model, facts={**model.facts, **facts})


TAXI = DemoStream(
    name="taxi",
    title="New York taxi passengers",
    dataset="taxi",
    settings={"idle_after": "30d"},
    why="The product's default, learnt from the first half of the year's half; Labor Day lies in it. Nobody tells it of holidays.",
)
NAB = DemoStream(
    name="nab",
    title="Machine metrics (NAB realKnownCause, realAWSCloudwatch)",
    dataset="nab",
    choose=("*realKnownCause/*", "*realAWSCloudwatch/*"),
    without=("*nyc_taxi",),
    probation=True,
    settings={"idle_after": "30d", "alerts": {"absent_after": "off"}},
    why=(
        "The product's default, one model for all series. It learns from what NAB's protocol allows, min(15 %, 750 rows): two days of most files, "
        "which hold no week and often not the nightly job. Its files end at different dates, which is no silence: nobody is waited for (absent_after)."
    ),
)
KDD = DemoStream(
    name="kdd",
    title="Network connections (KDD Cup 99, http)",
    dataset="kdd",
    why="The product's default for tables, learnt from the first 15 % of the connections, which hold no attack.",
)
STREAMS = (TAXI, NAB, KDD)
