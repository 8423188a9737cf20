"""Training: which rows are fitted on, which calibrate, which are not looked at; resuming; threads; robustness."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from detectors import registry
from detectors.base import Detector, DetectorError, Progress, TrainingReport
from detectors.calibration import Empirical
from detectors.checkpoint import TrainingCheckpoint
from detectors.model_file import to_bytes
from detectors.networks import TrainingConfig
from detectors.torched.training import Adam, reproducible, trimmed_mean
from detectors.training import Member, OnProgress, metric_training_rows, train_metric, train_table

STEP = 300_000
Series = dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]


def waves(n: int = 2000, names: tuple[str, ...] = ("a",), C: int = 1) -> Series:
    rng = np.random.default_rng(5)
    t = np.arange(n)
    return {
        name: (t * STEP, 100.0 * k + np.sin(t / 5.0)[:, None] + rng.normal(0.0, 0.05, (n, C)))
        for k, name in enumerate(names, 1)
    }


class Watching(Empirical):
    """Notes how many scores it was fitted on."""

    def __init__(self) -> None:
        super().__init__()
        self.fitted_on: list[int] = []

    def fit(self, raw: NDArray[np.float64]) -> NDArray[Any]:
        self.fitted_on.append(len(raw))
        return super().fit(raw)


def test_the_training_part_is_nabs_probation() -> None:
    assert [metric_training_rows(n) for n in (0, 10, 40, 100, 4032, 5000, 22695)] == [0, 5, 20, 30, 604, 750, 750]


def test_70_percent_of_the_training_part_are_fitted_on_and_the_rest_calibrates(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, NDArray[np.float32]] = {}

    def fit(self: Detector, x: NDArray[np.float32], y: Any, **others: Any) -> TrainingReport:
        seen["fit"], seen["validation"] = x, others["validation"]
        self.fitted = True
        return TrainingReport()

    detector = registry.find("zscore")
    monkeypatch.setattr(detector, "fit", fit)
    monkeypatch.setattr(detector, "learns", True)
    calibrator = Watching()
    series = waves(10_000)
    model = train_metric(series, [("zscore", {"window": 16})], calibrator)
    assert model.training_rows == {"a": 750}
    assert calibrator.fitted_on == [225]
    assert len(seen["fit"]) + len(seen["validation"]) == 525 - 16 + 1
    assert len(seen["validation"]) == 51
    # Whatever comes after the training part, the model is the same.
    times, values = series["a"]
    values = values.copy()
    values[750:] = 1e9
    again = train_metric({"a": (times, values)}, [("zscore", {"window": 16})], Watching())
    assert again.calibrations["a"].tobytes() == model.calibrations["a"].tobytes()
    assert np.array_equal(again.scaling.known["a"], model.scaling.known["a"])


def test_each_series_has_its_own_scale_state_and_interval() -> None:
    model = train_metric(waves(names=("a", "b", "c")), [("zscore", {"window": 8})], Empirical())
    assert set(model.calibrations) == set(model.scaling.known) == {"a", "b", "c"}
    assert model.scaling.known["b"][0, 0] == pytest.approx(200.0, abs=0.1)
    assert model.interval_ms == {"a": STEP, "b": STEP, "c": STEP}


def test_rows_that_the_stream_would_not_take_are_left_out() -> None:
    times, values = waves()["a"]
    times, values = np.concatenate([times[:50], times[40:]]), np.concatenate([values[:50], values[40:]])
    values[60] = np.nan
    model = train_metric({"a": (times, values)}, [("zscore", {"window": 8})], Empirical())
    assert model.training_rows["a"] == metric_training_rows(len(times)) - 10 - 1


def test_no_window_reaches_over_a_gap() -> None:
    times, values = waves()["a"]
    calibrator = Watching()
    model = train_metric({"a": (times, values)}, [("zscore", {"window": 8})], calibrator)
    times = times.copy()
    times[280:] += 100 * STEP
    with_gap = Watching()
    gap = train_metric({"a": (times, values)}, [("zscore", {"window": 8})], with_gap)
    assert model.training_rows == gap.training_rows == {"a": 300}
    assert with_gap.fitted_on[0] == calibrator.fitted_on[0] - 7


def test_a_series_that_is_too_short_stays_unknown_but_one_must_be_long_enough() -> None:
    series = {**waves(), "short": (np.array([0]), np.zeros((1, 1)))}
    model = train_metric(series, [("zscore", {"window": 8})], Empirical())
    assert set(model.training_rows) == {"a"}
    with pytest.raises(DetectorError, match="zscore: no series has enough training rows for windows of 48"):
        train_metric(waves(100), ["zscore"], Empirical())


def test_series_must_have_the_same_channels_and_there_must_be_a_detector() -> None:
    mixed = {**waves(), "two": waves(C=2)["a"]}
    with pytest.raises(DetectorError, match=r"same number of channels, got \[1, 2\]"):
        train_metric(mixed, ["zscore"], Empirical())
    with pytest.raises(DetectorError, match="no detector to train"):
        train_metric(waves(), [], Empirical())
    with pytest.raises(DetectorError, match="zscore: setting windows: Extra inputs"):
        train_metric(waves(), [("zscore", {"windows": 8})], Empirical())


def test_a_table_is_encoded_with_what_the_fitted_rows_say() -> None:
    rng = np.random.default_rng(0)
    rows: list[list[float | str]] = [[float(rng.normal()), "x"] for _ in range(1000)]
    rows[120][1] = "seen while calibrating"
    rows[500][1] = "never seen"
    calibrator = Watching()
    small = {"layers": (2,), "training": {"epochs": 1}}
    model = train_table({"t": rows}, ["n", "c"], ["c"], [("autoencoder", small)], calibrator)
    assert model.training_rows == {"t": 150}
    assert calibrator.fitted_on == [45]
    assert model.features is not None
    assert model.features.to_header()["categories"] == [["x"]]


class Stop(Exception):
    pass


SMALL = {"window": 8, "hidden": 4, "blocks": 2, "training": {"epochs": 5}}


def windows(detector: Detector) -> NDArray[np.float32]:
    rng = np.random.default_rng(1)
    return rng.normal(size=(300, detector.config.window, 1)).astype(np.float32)


def test_a_run_that_was_stopped_goes_on_to_the_same_weights() -> None:
    def stop_after(epochs: int) -> Callable[[Progress], None]:
        def on_progress(progress: Progress) -> None:
            if progress.epoch == epochs:
                raise Stop

        return on_progress

    whole = registry.create("tcn", **SMALL)
    report = whole.fit(windows(whole))
    assert whole.checkpoint is None
    for epochs in (1, 3):
        first = registry.create("tcn", **SMALL)
        with pytest.raises(Stop):
            first.fit(windows(first), on_progress=stop_after(epochs))
        second = registry.create("tcn", **SMALL)
        second.checkpoint = first.checkpoint
        resumed = second.fit(windows(second))
        assert resumed == report
        for name, a in whole.arrays().items():
            assert np.array_equal(a, second.arrays()[name]), name


def test_a_checkpoint_of_other_data_is_refused() -> None:
    first = registry.create("tcn", **SMALL)
    kept: list[Any] = []
    first.fit(windows(first), on_progress=lambda _: kept.append(first.checkpoint))
    second = registry.create("tcn", **SMALL)
    second.checkpoint = kept[0]
    with pytest.raises(DetectorError, match="other settings or other data"):
        second.fit(windows(second) + 1.0)


def test_training_stops_early_and_keeps_the_best_weights() -> None:
    detector = registry.create("tcn", **{**SMALL, "training": {"epochs": 50, "patience": 2}})
    report = detector.fit(windows(detector))  # noise: there is nothing to learn
    assert report.stopped_early
    assert report.epochs == report.best_epoch + 2
    assert min(report.validation_loss) == report.validation_loss[report.best_epoch - 1]
    assert len(report.train_loss) == report.epochs < 50


def test_the_trimmed_mean_leaves_out_the_highest_losses_and_their_gradients() -> None:
    losses = torch.tensor([1.0, 2.0, 3.0, 100.0], requires_grad=True)
    trimmed = trimmed_mean(losses, 0.25)
    trimmed.backward()  # type: ignore[no-untyped-call]
    assert trimmed.item() == 2.0
    assert losses.grad is not None
    assert losses.grad.tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0])
    assert trimmed_mean(losses, 0.0).item() == 26.5


def test_adam_takes_the_steps_of_the_paper() -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(5, 3)
    w, m, v = layer.weight.detach().numpy().astype(np.float64).copy(), np.zeros((3, 5)), np.zeros((3, 5))
    layer.bias.requires_grad_(False)
    adam = Adam(layer, TrainingConfig(learning_rate=0.01, weight_decay=0.1, clip=0.5))
    for t in range(1, 21):
        x = torch.randn(8, 5)
        layer(x).square().mean().backward()
        assert layer.weight.grad is not None
        g = layer.weight.grad.numpy().astype(np.float64)
        g = g * min(1.0, 0.5 / np.linalg.norm(g))
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        w = w * (1 - 0.01 * 0.1) - 0.01 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        adam.step(0.01)
        assert not layer.weight.grad.any()
    assert np.allclose(layer.weight.detach().numpy(), w, atol=1e-5)


def test_training_leaves_torch_as_it_found_it() -> None:
    before = (torch.get_rng_state(), torch.get_num_threads(), torch.get_deterministic_debug_mode())
    train_metric(waves(), [("tcn", SMALL)], Empirical(), threads=2)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (torch.get_num_threads(), torch.get_deterministic_debug_mode())
    with reproducible(1) as generator:
        first = torch.randn(3), torch.randn(3, generator=generator)
    with reproducible(1) as generator:
        assert torch.equal(first[0], torch.randn(3))
        assert torch.equal(first[1], torch.randn(3, generator=generator))


def test_progress_is_told_for_every_epoch() -> None:
    told: list[tuple[str, int, int]] = []
    train_metric(
        waves(),
        [("tcn", SMALL)],
        Empirical(),
        on_progress=lambda detector, p: told.append((detector.name, p.epoch, p.epochs)),
    )
    assert told == [("tcn", epoch, 5) for epoch in range(1, 6)]


def stop_at(name: str, epoch: int) -> OnProgress:
    def on_progress(detector: Detector, progress: Progress) -> None:
        if (detector.name, progress.epoch) == (name, epoch):
            raise Stop

    return on_progress


MEMBERS: list[Member] = [
    ("tcn", SMALL),
    ("isolation-forest", {"window": 8, "trees": 10}),
    ("zscore", {"window": 8}),
    ("gru", {"window": 8, "hidden": 4, "training": {"epochs": 5}}),
]


@pytest.mark.parametrize(("name", "epoch"), [("tcn", 1), ("gru", 2)])
def test_a_stopped_training_of_several_goes_on_from_its_checkpoint(tmp_path: Path, name: str, epoch: int) -> None:
    whole = to_bytes(train_metric(waves(), MEMBERS, Empirical()))
    path = tmp_path / "m.checkpoint"
    with pytest.raises(Stop):
        train_metric(
            waves(), MEMBERS, Empirical(), checkpoint=TrainingCheckpoint(path), on_progress=stop_at(name, epoch)
        )
    told: list[tuple[str, int]] = []
    resumed = train_metric(
        waves(),
        MEMBERS,
        Empirical(),
        checkpoint=TrainingCheckpoint(path),
        on_progress=lambda detector, p: told.append((detector.name, p.epoch)),
    )
    assert to_bytes(resumed) == whole
    assert told[0] == (name, epoch + 1)
    TrainingCheckpoint(path).delete()
    assert TrainingCheckpoint(path).empty


def test_a_checkpoint_of_another_training_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "m.checkpoint"
    train_metric(waves(), [("tcn", SMALL)], Empirical(), checkpoint=TrainingCheckpoint(path))
    with pytest.raises(DetectorError, match=r"m\.checkpoint is of other settings or other data; delete it"):
        train_metric(waves(3000), [("tcn", SMALL)], Empirical(), checkpoint=TrainingCheckpoint(path))
    path.write_bytes(b"no checkpoint")
    with pytest.raises(DetectorError, match=r"m\.checkpoint cannot be read"):
        TrainingCheckpoint(path)


def test_supervised_detectors_learn_from_labels_and_calibrate_on_what_is_normal() -> None:
    rng = np.random.default_rng(0)
    labels = rng.random(1000) < 0.1
    rows: list[list[float | str]] = [
        [float(a), float(b)] for a, b in rng.normal(size=(1000, 2)) + 4.0 * labels[:, None]
    ]
    watching = Watching()
    small = {"hidden": 4, "blocks": 1, "training": {"epochs": 10, "trim": 0.0}}
    model = train_table(
        {"t": rows},
        ["a", "b"],
        [],
        [("tcn-classifier", small)],
        watching,
        training_rows=lambda n: 600,
        labels={"t": labels},
    )
    assert watching.fitted_on == [int((~labels[420:600]).sum())]
    assert model.features is not None
    raw = model.detectors[0].score(model.features.encode(rows)[0][600:, None]).raw
    assert raw[labels[600:]].mean() > raw[~labels[600:]].mean() + 2.0
    with pytest.raises(DetectorError, match="must have normal and labelled anomalous"):
        train_table({"t": rows}, ["a", "b"], [], [("tcn-classifier", small)], watching)


def test_a_detector_of_windows_takes_no_table() -> None:
    with pytest.raises(DetectorError, match="lstm takes windows of metrics only"):
        train_table({"t": [[1.0]] * 100}, ["a"], [], ["lstm"], Empirical())
    with pytest.raises(DetectorError, match="image-autoencoder takes rows of a table only"):
        train_metric(waves(), ["image-autoencoder"], Empirical())


@pytest.mark.parametrize(("name", "settings"), [("autoencoder", {"layers": (100, 50, 100)}), ("image-autoencoder", {})])
def test_sums_of_many_products_are_the_same_with_any_number_of_threads(name: str, settings: dict[str, Any]) -> None:
    x = np.random.default_rng(0).normal(size=(300, 1, 784)).astype(np.float32)
    quick = {**settings, "channels": 784, "training": {"epochs": 1, "windows_per_epoch": 64}}
    detector = registry.create(name, **quick)
    detector.fit(x)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        wanted = detector.score(x).raw
        for threads in (2, 3):
            torch.set_num_threads(threads)
            assert np.array_equal(detector.score(x).raw, wanted), threads
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
