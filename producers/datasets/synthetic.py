"""Seeded synthetic twins of the streams, for machines that cannot have the real data: same lengths and steps, planted anomalies.

They exist so that everything can be tried anywhere; results on them say nothing about results on real data. So the
data set's `synthetic` is True, its source says so, and every series' name does: `realKnownCause/synthetic-nyc_taxi`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from producers.datasets import creditcard as real_creditcard
from producers.datasets import kdd as real_kdd
from producers.datasets import taxi as real_taxi
from producers.datasets.base import Dataset, Labels, Series, Window, inside
from producers.errors import DataError

_DAY = 86_400

# file, rows, step in seconds, first time stamp, median, standard deviation of NAB's 58 files
_NAB_SHAPES = """\
artificialNoAnomaly/art_daily_no_noise 4032 300 2014-04-01T00:00:00 20.3 28
artificialNoAnomaly/art_daily_perfect_square_wave 4032 300 2014-04-01T00:00:00 20 29
artificialNoAnomaly/art_daily_small_noise 4032 300 2014-04-01T00:00:00 21.6 28.1
artificialNoAnomaly/art_flatline 4032 300 2014-04-01T00:00:00 45 0
artificialNoAnomaly/art_noisy 4032 300 2014-04-01T00:00:00 13.5 3.15
artificialWithAnomaly/art_daily_flatmiddle 4032 300 2014-04-01T00:00:00 -17.5 45.4
artificialWithAnomaly/art_daily_jumpsdown 4032 300 2014-04-01T00:00:00 21.6 27.5
artificialWithAnomaly/art_daily_jumpsup 4032 300 2014-04-01T00:00:00 21.6 32.4
artificialWithAnomaly/art_daily_nojump 4032 300 2014-04-01T00:00:00 21.4 27.6
artificialWithAnomaly/art_increase_spike_density 4032 300 2014-04-01T00:00:00 0 2.87
artificialWithAnomaly/art_load_balancer_spikes 4032 300 2014-04-01T00:00:00 0 0.442
realAWSCloudwatch/ec2_cpu_utilization_24ae8d 4032 300 2014-02-14T14:30:00 0.134 0.0948
realAWSCloudwatch/ec2_cpu_utilization_53ea38 4032 300 2014-02-14T14:30:00 1.8 0.101
realAWSCloudwatch/ec2_cpu_utilization_5f5533 4032 300 2014-02-14T14:27:00 42.9 4.3
realAWSCloudwatch/ec2_cpu_utilization_77c1ca 4032 300 2014-04-02T14:25:00 0.1 26.9
realAWSCloudwatch/ec2_cpu_utilization_825cc2 4032 300 2014-04-10T00:04:00 92.4 12.1
realAWSCloudwatch/ec2_cpu_utilization_ac20cd 4032 300 2014-04-02T14:29:00 34.7 21.9
realAWSCloudwatch/ec2_cpu_utilization_c6585a 4032 300 2014-04-02T14:29:00 0.066 0.0852
realAWSCloudwatch/ec2_cpu_utilization_fe7f93 4032 300 2014-02-14T14:27:00 2.58 11.8
realAWSCloudwatch/ec2_disk_write_bytes_1ef3de 4730 300 2014-03-01T17:34:00 0 4.04e+07
realAWSCloudwatch/ec2_disk_write_bytes_c0d644 4032 300 2014-04-02T14:25:00 0 7.97e+07
realAWSCloudwatch/ec2_network_in_257a54 4032 300 2014-04-10T00:04:00 2.34e+05 4.61e+06
realAWSCloudwatch/ec2_network_in_5abac7 4730 300 2014-03-01T17:36:00 68.4 7.76e+05
realAWSCloudwatch/elb_request_count_8c0756 4032 300 2014-04-10T00:04:00 48 56.7
realAWSCloudwatch/grok_asg_anomaly 4621 300 2014-01-16T00:00:00 33.4 13.1
realAWSCloudwatch/iio_us-east-1_i-a2eb1cd9_NetworkIn 1243 300 2013-10-09T16:25:00 3.8e+06 4.53e+06
realAWSCloudwatch/rds_cpu_utilization_cc0c53 4032 300 2014-02-14T14:30:00 6.08 3.65
realAWSCloudwatch/rds_cpu_utilization_e47b3b 4032 300 2014-04-10T00:02:00 16.7 5.6
realAdExchange/exchange-2_cpc_results 1624 3600 2011-07-01T00:00:01 0.101 0.0337
realAdExchange/exchange-2_cpm_results 1624 3600 2011-07-01T00:00:01 0.295 0.162
realAdExchange/exchange-3_cpc_results 1538 3600 2011-07-01T00:15:01 0.118 0.0756
realAdExchange/exchange-3_cpm_results 1538 3600 2011-07-01T00:15:01 0.695 0.337
realAdExchange/exchange-4_cpc_results 1643 3600 2011-07-01T00:15:01 0.0728 0.129
realAdExchange/exchange-4_cpm_results 1643 3600 2011-07-01T00:15:01 0.468 0.747
realKnownCause/ambient_temperature_system_failure 7267 3600 2013-07-04T00:00:00 71.9 4.25
realKnownCause/cpu_utilization_asg_misconfiguration 18050 300 2014-05-14T01:14:00 32 15.6
realKnownCause/ec2_request_latency_system_failure 4032 300 2014-03-07T03:41:00 45 2.29
realKnownCause/machine_temperature_system_failure 22695 300 2013-12-02T21:15:00 89.4 13.7
realKnownCause/nyc_taxi 10320 1800 2014-07-01T00:00:00 1.68e+04 6.94e+03
realKnownCause/rogue_agent_key_hold 1882 300 2014-07-06T20:10:00 0 0.0565
realKnownCause/rogue_agent_key_updown 5315 300 2014-07-06T20:10:00 0 5.37
realTraffic/TravelTime_387 2500 600 2015-07-10T14:24:00 201 399
realTraffic/TravelTime_451 2162 600 2015-07-28T11:56:00 203 445
realTraffic/occupancy_6005 2380 300 2015-09-01T13:45:00 3.83 3.4
realTraffic/occupancy_t4013 2500 300 2015-09-01T11:30:00 6.83 4.37
realTraffic/speed_6005 2500 300 2015-08-31T18:22:00 82 8.74
realTraffic/speed_7578 1127 300 2015-09-08T11:39:00 66 9.23
realTraffic/speed_t4013 2495 300 2015-09-01T11:25:00 63 5.19
realTweets/Twitter_volume_AAPL 15902 300 2015-02-26T21:42:53 47 321
realTweets/Twitter_volume_AMZN 15831 300 2015-02-26T21:42:53 50 30.6
realTweets/Twitter_volume_CRM 15902 300 2015-02-26T21:42:53 2 4.61
realTweets/Twitter_volume_CVS 15853 300 2015-02-26T21:42:53 0 1.09
realTweets/Twitter_volume_FB 15833 300 2015-02-26T21:42:53 14 19.7
realTweets/Twitter_volume_GOOG 15842 300 2015-02-26T21:42:53 16 18.6
realTweets/Twitter_volume_IBM 15893 300 2015-02-26T21:42:53 3 5.5
realTweets/Twitter_volume_KO 15851 300 2015-02-26T21:42:53 8 24.8
realTweets/Twitter_volume_PFE 15858 300 2015-02-26T21:42:53 0 1.46
realTweets/Twitter_volume_UPS 15866 300 2015-02-26T21:42:53 2 21.6"""


def nab(seed: int = 0) -> Dataset:
    """58 metrics of NAB's lengths, steps and units, two planted anomalies each outside the two `NoAnomaly` and flat ones."""
    series: dict[str, Series] = {}
    labels: dict[str, Labels] = {}
    for line in _NAB_SHAPES.splitlines():
        file, rows, step, first, median, deviation = line.split()
        folder, stem = file.split("/")
        name = f"{folder}/synthetic-{stem}"
        one, windows = _metric(
            name,
            int(rows),
            int(step),
            first,
            float(median),
            float(deviation),
            seed,
            0 if folder.endswith("NoAnomaly") else 2,
        )
        series[name] = one
        labels[name] = Labels(windows, inside(one.timestamps, windows))
    return Dataset("nab", "metric", ("value",), _source("NAB", seed), series, labels, synthetic=True)


def taxi(seed: int = 0) -> Dataset:
    """Half-hourly passengers of a made-up city over 215 days: days, weeks, noise, and five planted events."""
    generator = _generator(seed, "taxi")
    n, step = 10_320, 1_800_000
    start = _start("2014-07-01T00:00:00")
    timestamps = start + np.arange(n, dtype=np.int64) * step
    day = np.arange(n) / 48.0
    hour = (np.arange(n) % 48) / 2.0
    weekend = (day.astype(int) % 7) >= 4
    shape = (
        0.55
        - 0.45 * np.cos((hour - 4.5) * 2 * np.pi / 24)
        + np.where(weekend, 0.25 * (hour < 4), 0.15 * (abs(hour - 19) < 2))
    )
    values = 26_000 * shape * (1 + 0.03 * np.sin(day * 2 * np.pi / 90)) * (1 + 0.03 * _noise(generator, n, 0.7))
    windows = []
    for at, length, factor, what in (
        (124, 1.0, 1.45, "surge"),
        (149, 1.5, 0.55, "quiet holiday"),
        (177, 1.5, 0.5, "second quiet holiday"),
        (184, 0.4, 1.8, "night surge"),
        (209, 1.2, 0.15, "standstill"),
    ):
        rows = slice(int(at * 48), int((at + length) * 48))
        values[rows] *= factor
        windows.append(
            Window(
                int(timestamps[rows.start] - _DAY * 1000), int(timestamps[rows.stop] + _DAY * 1000), f"planted {what}"
            )
        )
    series = Series("synthetic-taxi", timestamps, (np.round(np.maximum(values, 0)),), step)
    return replace(real_taxi.dataset(series, tuple(windows)), source=_source("New York taxi", seed), synthetic=True)


def kdd(seed: int = 0) -> Dataset:
    """64,293 connections of one service with KDD's 41 features; runs of three planted attacks, none in the first 30 %."""
    generator = _generator(seed, "kdd")
    n = 64_293
    attacks = np.full(n, "normal", object)
    for at, length, name in (
        (0.35, 3, "probe"),
        (0.48, 1000, "flood"),
        (0.52, 1000, "flood"),
        (0.57, 23, "scan"),
        (0.72, 1, "probe"),
        (0.79, 142, "scan"),
        (0.88, 37, "scan"),
        (0.95, 124, "scan"),
    ):
        attacks[int(at * n) : int(at * n) + length] = name
    columns: dict[str, NDArray[np.float64]] = {name: np.zeros(n) for name in real_kdd.FEATURES}
    columns["src_bytes"] = np.round(generator.lognormal(5.5, 0.35, n))
    columns["dst_bytes"] = np.round(generator.lognormal(7.9, 1.2, n))
    columns["logged_in"] = np.ones(n)
    columns["count"] = generator.poisson(8, n).astype(np.float64)
    columns["srv_count"] = columns["count"] + generator.poisson(2, n)
    columns["same_srv_rate"] = np.ones(n)
    columns["dst_host_count"] = generator.integers(1, 256, n).astype(np.float64)
    columns["dst_host_srv_count"] = np.full(n, 255.0)
    columns["dst_host_same_srv_rate"] = np.ones(n)
    columns["dst_host_same_src_port_rate"] = np.round(1 / columns["dst_host_count"], 2)
    flags = generator.choice(np.array(["SF", "S1", "REJ"], object), n, p=[0.98, 0.01, 0.01])
    flood, scan, probe = (attacks == name for name in ("flood", "scan", "probe"))
    columns["src_bytes"][flood] = 54_540
    columns["dst_bytes"][flood] = np.round(generator.normal(8_300, 20, int(flood.sum())))
    columns["hot"][flood] = 2
    for name in ("src_bytes", "dst_bytes", "logged_in"):
        columns[name][scan] = 0
    columns["serror_rate"][scan] = columns["srv_serror_rate"][scan] = 1
    columns["count"][scan] = generator.integers(100, 300, int(scan.sum()))
    flags[scan] = "S0"
    columns["src_bytes"][probe] = 10
    columns["dst_host_same_srv_rate"][probe] = 0.01
    named: dict[str, NDArray[Any]] = dict(columns)
    named |= {
        "protocol_type": np.full(n, "tcp", object),
        "service": np.full(n, "synthetic-http", object),
        "flag": flags,
    }
    made = real_kdd.tables(tuple(named[f] for f in real_kdd.FEATURES), attacks, rate=real_kdd.RATE, name="kdd")
    return replace(made, source=_source("KDD Cup 99 http", seed), synthetic=True)


def creditcard(seed: int = 0) -> Dataset:
    """19,562 transactions of 29 independent columns, 492 planted frauds that differ in a few of them."""
    generator = _generator(seed, "creditcard")
    n, frauds = 19_562, 492
    timestamps = real_creditcard.START_MS + np.sort(generator.integers(0, 2 * _DAY, n)) * 1000
    values = generator.standard_t(5, (n, 28)) * np.linspace(1.9, 0.3, 28)
    amount = np.round(generator.lognormal(3.1, 1.6, n), 2)
    fraud = np.zeros(n, np.bool_)
    fraud[generator.choice(n, frauds, replace=False)] = True
    values[fraud, 9:17] += generator.normal(-3, 2, (frauds, 8))
    columns: tuple[NDArray[np.float64], ...] = (*(values[:, i] for i in range(28)), amount)
    made = real_creditcard.tables(timestamps, columns, fraud)
    series = {"synthetic-cards": replace(made.all_series["cards"], name="synthetic-cards")}
    labels = {"synthetic-cards": made.all_labels["cards"]}
    return replace(made, all_series=series, all_labels=labels, source=_source("credit card", seed), synthetic=True)


TWINS: dict[str, Callable[[], Dataset]] = {"nab": nab, "taxi": taxi, "kdd": kdd, "creditcard": creditcard}


def twin(name: str) -> Dataset:
    """The twin of a data set. Raises DataError where there is none."""
    if name not in TWINS:
        msg = f"{name} has no synthetic twin; there are {', '.join(TWINS)}"
        raise DataError(msg)
    return TWINS[name]()


def _metric(
    name: str, n: int, step_s: int, first: str, median: float, deviation: float, seed: int, planted: int
) -> tuple[Series, tuple[Window, ...]]:
    """A daily and a weekly wave with correlated noise in the file's unit, and so many planted anomalies after its first third."""
    generator = _generator(seed, name)
    start = _start(first)
    timestamps = start + np.arange(n, dtype=np.int64) * step_s * 1000
    t = timestamps / 1000.0
    phase = generator.uniform(0, 2 * np.pi)
    wave = np.sin(t * 2 * np.pi / _DAY + phase) + 0.3 * np.sin(t * 2 * np.pi / (7 * _DAY))
    values = wave + 0.25 * _noise(generator, n, 0.5)
    windows = []
    for k in range(planted):
        at = int(n * (0.4 + 0.35 * k + generator.uniform(0, 0.15)))
        length = max(int(n * generator.uniform(0.005, 0.02)), 3)
        kind = generator.integers(3)
        if kind == 0:
            values[at] += 8.0 * generator.choice([-1, 1])
        elif kind == 1:
            values[at : at + length] += 4.0 * generator.choice([-1, 1])
        else:
            values[at : at + length] = values[at]
        half = max(int(0.05 * n / planted), length)
        last = min(at + half, n - 1)
        windows.append(
            Window(int(timestamps[at - half]), int(timestamps[last]), ("spike", "shift", "standstill")[kind])
        )
    return Series(name, timestamps, (median + deviation * values,), step_s * 1000), tuple(windows)


def _noise(generator: np.random.Generator, n: int, memory: float) -> NDArray[np.float64]:
    """Noise of unit variance in which each value keeps a part of the one before."""
    white = generator.normal(size=n) * np.sqrt(1 - memory**2)
    kept = memory ** np.arange(30)
    return np.convolve(white, kept)[:n]


def _generator(seed: int, what: str) -> np.random.Generator:
    """Own random numbers for each series, so that one's length does not change another's values."""
    return np.random.default_rng([seed, zlib.crc32(what.encode())])


def _start(text: str) -> int:
    return int(np.datetime64(text, "ms").astype(np.int64))


def _source(what: str, seed: int) -> str:
    return f"SYNTHETIC twin of {what}, seed {seed}: made-up data, not the real one"
