"""The suite that every detector passes: the contract of `detectors.base`, as checks that can be run.

    for check in yield_checks(LSTM):
        check()                     # raises AssertionError and says what does not hold

A detector states the settings that it is checked with (`unit_test_params`) and the checks that cannot hold for it
(`unit_test_skips`). The checks are themselves tried on detectors that break the contract, one for each
(tests/detectors/test_checks.py).
"""

from __future__ import annotations

import copy
import gc
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from detectors import model_file
from detectors.base import Detector, DetectorError, NotFittedError, Scores
from detectors.calibration import create as create_calibrator
from detectors.memory import ALIGNMENT, aligned
from detectors.model import Model
from detectors.scaling import SeriesScaling

Check = Callable[[type[Detector]], None]

PLANTED = 12
"""Anomalies in the data of the checks."""
PERIOD = 24
"""Observations in a season of it."""


@dataclass(frozen=True)
class Data:
    """Windows to fit on and windows to score; what is planted among the latter, and labels of the former."""

    train: NDArray[np.float32]
    labels: NDArray[np.int8] | None
    x: NDArray[np.float32]
    planted: NDArray[np.bool_]


def yield_checks(detector: type[Detector]) -> Iterator[Callable[[], None]]:
    """Checks of a detector, those aside that it says cannot hold for it; `__name__` is the check's."""
    for name, check in inspect.getmembers(sys.modules[__name__], inspect.isfunction):
        if name.startswith("check_") and name not in detector.unit_test_skips:
            bound = partial(check, detector)
            bound.__name__ = name  # type: ignore[attr-defined]
            yield bound


def build(detector: type[Detector]) -> Detector:
    """Return an unfitted detector with its small settings."""
    return detector(detector.Config.model_validate(dict(detector.unit_test_params)))


@cache
def data(detector: type[Detector]) -> Data:
    """Windows of noisy waves, or rows of few degrees of freedom, with anomalies that anyone would call that.

    In a window the last position jumps; in a row the columns keep their size, but not what ties them together, and some
    are too large as well.
    """
    config = build(detector).config
    T, C, F = config.window, config.channels, config.covariates
    rng = np.random.default_rng(7)
    normal = _rows(rng, 900, C) if T == 1 else _waves(rng, 900, T, C, F)
    odd = normal[-PLANTED:].copy()
    jump = np.sign(rng.normal(size=(PLANTED, C))) * rng.uniform(6.0, 9.0, (PLANTED, C))
    odd[:, -1, :C] += jump.astype(np.float32)
    train, x = normal[:600], normal[600 : 900 - PLANTED]
    labels = None
    if detector.supervised:
        train = np.concatenate([train, odd + rng.normal(0.0, 0.1, odd.shape).astype(np.float32)])
        labels = np.r_[np.zeros(600, np.int8), np.ones(PLANTED, np.int8)]
    return Data(train, labels, np.concatenate([x, odd]), np.r_[np.zeros(len(x), np.bool_), np.ones(PLANTED, np.bool_)])


def _rows(rng: np.random.Generator, n: int, C: int) -> NDArray[np.float32]:
    factors = rng.normal(size=(n, max(1, C // 2))) @ rng.normal(size=(max(1, C // 2), C))
    rows: NDArray[np.float64] = factors / factors.std(axis=0) + rng.normal(0.0, 0.1, (n, C))
    return rows[:, None, :].astype(np.float32)


def _waves(rng: np.random.Generator, n: int, T: int, C: int, F: int) -> NDArray[np.float32]:
    t = np.arange(n + T - 1)[:, None] * (2.0 * np.pi / PERIOD)
    values = np.sqrt(2.0) * np.sin(t + np.arange(C)) + rng.normal(0.0, 0.1, (len(t), C))
    known = np.sin(t + 0.5 + np.arange(F))
    both = np.concatenate([values, known], axis=1).astype(np.float32)
    x = np.lib.stride_tricks.sliding_window_view(both, T, axis=0).transpose(0, 2, 1)
    # In any order, so that the windows that are scored are as those that were fitted on.
    return np.ascontiguousarray(x[rng.permutation(n)])


def fit(detector: type[Detector]) -> Detector:
    """Fit one on its data."""
    d, built = data(detector), build(detector)
    built.fit(d.train, d.labels)
    return built


# One fit serves all checks that do not ask about fitting itself: scoring changes nothing, which is a check of its own.
fitted = cache(fit)


def check_settings_round_trip(detector: type[Detector]) -> None:
    """Settings survive the header of a model file, and refuse what they do not know."""
    config = build(detector).config
    assert type(config).model_validate_json(config.model_dump_json()) == config, "settings do not survive JSON"
    assert config.model_config.get("extra") == "forbid", "settings accept names that they do not know"
    assert detector.name == detector.name.lower().replace("_", "-").strip(), f"name {detector.name!r} is not lower case"
    assert detector.summary, "summary is empty"
    assert "\n" not in detector.summary, "summary is more than one line"


def check_score_is_pure(detector: type[Detector]) -> None:
    """Scoring twice gives the same, and changes neither input, nor weights, nor any random state."""
    d, built = data(detector), detector.from_arrays(fitted(detector).config, copy.deepcopy(fitted(detector).arrays()))
    x = d.x.copy()
    before = {name: a.copy() for name, a in built.arrays().items()}
    noise = (torch.get_rng_state().clone(), np.random.get_state()[1].tobytes())  # type: ignore[index]  # noqa: NPY002
    first, second = built.score(x), built.score(x)
    _assert_equal(first, second, "scored twice")
    assert np.array_equal(x, d.x), "score wrote to its input"
    for name, a in built.arrays().items():
        assert np.array_equal(a, before[name]), f"score changed {name}"
    after = (torch.get_rng_state(), np.random.get_state()[1].tobytes())  # type: ignore[index]  # noqa: NPY002
    assert torch.equal(noise[0], after[0]), "score drew from torch's random generator"
    assert noise[1] == after[1], "score drew from numpy's random generator"


def check_scores_have_the_stated_shapes(detector: type[Detector]) -> None:
    """One score a window; expected values and contributions per channel, and contributions not negative."""
    d, built = data(detector), fitted(detector)
    B, C = len(d.x), built.config.channels
    scores = built.score(d.x)
    assert scores.raw.shape == (B,), f"raw is {scores.raw.shape}, not {(B,)}"
    assert scores.raw.dtype == np.float64, f"raw is {scores.raw.dtype}, not float64"
    for name, of in (("expected", scores.expected), ("contributions", scores.contributions)):
        if of is not None:
            assert of.shape == (B, C), f"{name} is {of.shape}, not {(B, C)}"
            assert of.dtype == np.float32, f"{name} is {of.dtype}, not float32"
            assert np.isfinite(of).all(), f"{name} is not finite"
    if scores.contributions is not None:
        assert (scores.contributions >= 0).all(), "a contribution is negative"
    empty = built.score(d.x[:0])
    assert empty.raw.shape == (0,), "no windows do not give no scores"
    if detector.residual:
        assert scores.expected is not None, "a detector that scores by residuals says what it expected"
        residual = np.sqrt(np.square(d.x[:, -1, :C].astype(np.float64) - scores.expected).mean(axis=1))
        assert np.allclose(scores.raw, residual, rtol=1e-4, atol=1e-5), "raw is not the root mean square residual"


def check_batches_do_not_matter(detector: type[Detector]) -> None:
    """Scores are bit-equal for every cut into batches, every order, and every number of threads."""
    d, built = data(detector), fitted(detector)
    rng = np.random.default_rng(3)
    whole = built.score(d.x)
    for cuts in (np.arange(1, 32), np.sort(rng.choice(np.arange(1, len(d.x)), 20, replace=False))):
        _assert_equal(_join([built.score(part) for part in np.split(d.x, cuts)]), whole, f"cut into {len(cuts) + 1}")
    order = rng.permutation(len(d.x))
    _assert_equal(built.score(d.x[order]), _take(whole, order), "in another order")
    many = np.tile(np.arange(len(d.x)), 4)
    _assert_equal(built.score(d.x[many]), _take(whole, many), "in a larger batch")
    threads = torch.get_num_threads()
    try:
        for n in (1, 2, 4):
            torch.set_num_threads(n)
            _assert_equal(built.score(d.x), whole, f"with {n} threads")
    finally:
        torch.set_num_threads(threads)


def check_raw_scores_alone_are_the_same(detector: type[Detector]) -> None:
    """Whoever asks for raw scores alone gets those bits, and what a detector that `defers` says it tells is told."""
    d, built = data(detector), fitted(detector)
    whole = built.score(d.x)
    for n in (1, 5, len(d.x)):
        alone = built.score(d.x[:n], tell=False)
        _assert_equal(Scores(alone.raw), Scores(whole.raw[:n]), f"{n} alone")
    if built.defers:
        told = whole.expected is not None, whole.contributions is not None
        assert built.tells == told, f"tells is {built.tells}, and it told {told}"


def check_places_in_memory_do_not_matter(detector: type[Detector]) -> None:
    """Scores are bit-equal wherever windows and what was learnt lie in memory: every offset from a cache line is tried."""
    d, built = data(detector), fitted(detector)
    x = d.x[: built.tile + 7]  # a whole tile, and one that is padded
    whole = built.score(_lying(x, 0))
    for offset in range(x.itemsize, ALIGNMENT, x.itemsize):
        _assert_equal(built.score(_lying(x, offset)), whole, f"windows {offset} bytes behind a cache line")
    for offset in range(0, ALIGNMENT, x.itemsize):
        moved = {name: _lying(a, offset) for name, a in built.arrays().items() if offset % a.itemsize == 0}
        other = detector.from_arrays(built.config, built.arrays() | moved)
        _assert_equal(other.score(x), whole, f"what was learnt {offset} bytes behind a cache line")


def _lying(a: NDArray[Any], offset: int) -> NDArray[Any]:
    """Return a copy that begins so many bytes behind a cache line."""
    room = aligned((a.nbytes + ALIGNMENT,), np.uint8)
    copy = room[offset : offset + a.nbytes].view(a.dtype).reshape(a.shape)
    copy[...] = a
    return copy


def check_model_file_round_trip(detector: type[Detector]) -> None:
    """A loaded model scores bit-equal to the saved one, and saving it again gives the same bytes."""
    d, built = data(detector), fitted(detector)
    data_of = model_file.to_bytes(_model(built))
    loaded = model_file.from_bytes(data_of)
    assert loaded.detectors[0].config == built.config, "settings differ after loading"
    _assert_equal(loaded.detectors[0].score(d.x), built.score(d.x), "loaded from a model file")
    assert model_file.to_bytes(loaded) == data_of, "saved again, the model file differs"


def check_same_seed_same_weights(detector: type[Detector]) -> None:
    """Fitted twice with one seed, everything learnt is bit-equal; torch's own random state plays no part."""
    one = fitted(detector).arrays()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(991)
        other = fit(detector).arrays()
    assert one.keys() == other.keys(), "fitted twice, other arrays"
    for name, a in one.items():
        assert a.dtype.kind in "fiub", f"{name} holds {a.dtype}, which a model file cannot"
        assert a.tobytes() == other[name].tobytes(), f"fitted twice with one seed, {name} differs"


def check_broken_windows_get_nan_alone(detector: type[Detector]) -> None:
    """NaN or infinity in a window gives NaN for that window and leaves the others as they were; huge values score."""
    d, built = data(detector), fitted(detector)
    whole = built.score(d.x)
    for value in (np.nan, np.inf, -np.inf):
        x = d.x.copy()
        x[5, -1, 0] = value
        scores = built.score(x)
        assert np.isnan(scores.raw[5]), f"a window with {value} has the score {scores.raw[5]}, not NaN"
        others = np.arange(len(x)) != 5
        _assert_equal(_take(scores, others), _take(whole, others), f"beside a window with {value}")
    x = d.x.copy()
    x[5, -1, 0], x[6, 0, -1] = 1e30, -1e30
    assert np.isfinite(built.score(x).raw).all(), "a huge value has no finite score"


def check_wrong_input_is_refused(detector: type[Detector]) -> None:
    """Wrong shapes, values that are not finite, too few windows, missing labels: DetectorError, with the name in it."""
    d, built = data(detector), fitted(detector)
    new = build(detector)
    _refuses(lambda: new.score(d.x), NotFittedError, detector, "scoring before fitting")
    for wrong in (d.x[:, :, 0], d.x[:, :, :0], np.concatenate([d.x, d.x], axis=1), np.concatenate([d.x, d.x], axis=2)):
        _refuses(partial(built.score, wrong), DetectorError, detector, f"scoring {wrong.shape}")
        _refuses(partial(new.fit, wrong, d.labels), DetectorError, detector, f"fitting on {wrong.shape}")
    hole = d.train.copy()
    hole[3, 0, 0] = np.nan
    _refuses(lambda: new.fit(hole, d.labels), DetectorError, detector, "fitting on NaN")
    _refuses(lambda: new.fit(d.train[:1], d.labels), DetectorError, detector, "fitting on one window")
    other = np.zeros(len(d.train), np.int8) if d.labels is None else None
    _refuses(lambda: new.fit(d.train, other), DetectorError, detector, "labels missing or not wanted")
    surplus = {**built.arrays(), "surplus": np.zeros(3, np.float32)}
    _refuses(lambda: detector.from_arrays(built.config, surplus), DetectorError, detector, "loading a strange array")


def check_planted_anomalies_rank_first(detector: type[Detector]) -> None:
    """What was planted scores higher than everything normal: the score is not upside down, and sees the obvious."""
    d, built = data(detector), fitted(detector)
    raw = built.score(d.x).raw
    normal, planted = raw[~d.planted].max(), raw[d.planted].min()
    assert planted > normal, f"the least planted anomaly scores {planted:.4g}, a normal window {normal:.4g}"


def check_anomalies_in_training_do_not_ruin_it(detector: type[Detector]) -> None:
    """With one in fifty windows of the training data anomalous, what was planted still ranks first in the main."""
    if detector.supervised or not detector.learns:
        return
    d, built = data(detector), build(detector)
    train = d.train.copy()
    C = built.config.channels
    rng = np.random.default_rng(11)
    bad = rng.choice(len(train), len(train) // 50, replace=False)
    train[bad, -1, :C] += (np.sign(rng.normal(size=(len(bad), C))) * 7.0).astype(np.float32)
    built.fit(train)
    raw = built.score(d.x).raw
    found = np.isin(np.argsort(-raw)[:PLANTED], np.flatnonzero(d.planted)).mean()
    assert found >= 0.75, f"after fitting with 2 % anomalies only {found:.0%} of those planted rank first"


def check_cpu_and_cuda_agree(detector: type[Detector]) -> None:
    """Scores on the GPU are those of the CPU to 1e-5, and cut into batches they are bit-equal there too."""
    if not torch.cuda.is_available():
        return
    d, built = data(detector), fitted(detector)
    on_cpu = built.score(d.x)
    try:
        built.to("cuda")
        on_cuda = built.score(d.x)
        parts = _join([built.score(part) for part in np.array_split(d.x, 7)])
    finally:
        built.to("cpu")
    gap = np.abs(on_cpu.raw - on_cuda.raw) / np.maximum(1.0, np.abs(on_cpu.raw))
    assert gap.max() <= 1e-5, f"CPU and CUDA differ by {gap.max():.2g}"
    _assert_equal(parts, on_cuda, "cut into batches on CUDA")
    _assert_equal(built.score(d.x), on_cpu, "back on the CPU")


def check_memory_is_bounded(detector: type[Detector]) -> None:
    """Scoring many windows takes no more memory than input, output, and something that does not grow with them."""
    d, built = data(detector), fitted(detector)
    built.score(d.x)  # what is set up once
    few, many = (_peak(built, np.resize(d.x, (n, *d.x.shape[1:]))) for n in (5_000, 25_000))
    if few is None or many is None:
        return
    row = d.x[0].nbytes + 8 + 2 * 4 * built.config.channels  # a window, its score, its expected value and contribution
    allowed = 20_000 * row * 2 + (16 << 20)
    assert many - few <= allowed, f"20,000 more windows took {(many - few) >> 20} MiB more, not {allowed >> 20}"


def _peak(built: Detector, x: NDArray[np.float32]) -> int | None:
    """Bytes of resident memory that scoring x took at its highest, beside what there was; None off Linux."""
    try:
        with _no_garbage():
            Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
            before = _resident("VmRSS")
            built.score(x)
            return _resident("VmHWM") - before
    except OSError:
        return None


@contextmanager
def _no_garbage() -> Iterator[None]:
    """Collect garbage before and not within: what comes free while a detector scores would hide what that takes."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _resident(what: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) << 10
    raise OSError(what)


def _model(built: Detector) -> Model:
    """Return the smallest model around a detector."""
    return Model(
        kind="metric" if built.config.window > 1 else "table",
        detectors=(built,),
        calibrator=create_calibrator("empirical"),
        scaling=SeriesScaling(),
        features=None,
        time_features=(),
        aggregation="mean",
        training_rows={},
        calibrations={},
        interval_ms={},
        facts={},
    )


def _refuses(call: Callable[[], object], error: type[DetectorError], detector: type[Detector], what: str) -> None:
    try:
        call()
    except error as raised:
        text = str(raised)
        assert detector.name in text, f"{what}: the error does not name the detector: {text}"
        assert "\n" not in text, f"{what}: the error is more than one line: {text}"
        return
    raise AssertionError(f"{what} raised no {error.__name__}")


def _parts_of(scores: Scores) -> dict[str, NDArray[np.float64] | NDArray[np.float32]]:
    parts = {"raw": scores.raw, "expected": scores.expected, "contributions": scores.contributions}
    return {name: a for name, a in parts.items() if a is not None}


def _assert_equal(given: Scores, wanted: Scores, how: str) -> None:
    one, other = _parts_of(given), _parts_of(wanted)
    assert one.keys() == other.keys(), f"{how}: {sorted(one)} instead of {sorted(other)}"
    for name, a in one.items():
        b = other[name]
        different = (a != b) & ~(np.isnan(a) & np.isnan(b))
        if different.any():
            at = np.argwhere(different)[0]
            raise AssertionError(
                f"{how}: {different.sum()} of {a.size} {name} differ in their bits, "
                f"the first at {at.tolist()}: {a[tuple(at)]!r} instead of {b[tuple(at)]!r}"
            )


def _take(scores: Scores, which: NDArray[np.intp] | NDArray[np.bool_]) -> Scores:
    return Scores(
        scores.raw[which],
        None if scores.expected is None else scores.expected[which],
        None if scores.contributions is None else scores.contributions[which],
    )


def _join(parts: list[Scores]) -> Scores:
    expected = [part.expected for part in parts if part.expected is not None]
    contributions = [part.contributions for part in parts if part.contributions is not None]
    return Scores(
        np.concatenate([part.raw for part in parts]),
        np.concatenate(expected) if expected else None,
        np.concatenate(contributions) if contributions else None,
    )
