"""Rules and dashboard against a real Prometheus that scrapes real workers."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from operated_stream import OperatedStream, observations, write_model

from pipeline.embedded.servers import free_port, start_redis

DEPLOY = Path(__file__).parents[2] / "deploy"
TOKEN = "a-token-that-is-long-enough"


class Prometheus:
    """One with the rules of the project and its configuration, every second; the targets are this test's.

    Parameters
    ----------
    quick
        Ranges and waits of the rules are seconds instead of minutes.
    """

    def __init__(self, folder: Path, ports: list[int], *, quick: bool) -> None:
        program = shutil.which("prometheus")
        if program is None:
            missing = "needs prometheus on the PATH (Debian: apt install prometheus)"
            if os.environ.get("CI") == "true":
                pytest.fail(missing, pytrace=False)
            pytest.skip(missing)
        folder.mkdir()
        config = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        [job] = config["scrape_configs"]
        job["authorization"]["credentials_file"] = str(folder / "token")
        del job["dns_sd_configs"]
        job["static_configs"] = [{"targets": [f"127.0.0.1:{port}" for port in ports]}]
        rules = (DEPLOY / "prometheus/rules.yml").read_text()
        if quick:
            rules = re.sub(r"\[\d+m\]", "[8s]", re.sub(r"for: \d+m", "for: 3s", rules)).replace(
                "offset 30m", "offset 8s"
            )
        (folder / "rules.yml").write_text(rules)
        (folder / "token").write_text(TOKEN)
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        self.url = f"http://127.0.0.1:{free_port()}"
        words = [program, "--config.file=prometheus.yml", f"--storage.tsdb.path={folder}/data"]
        words.append(f"--web.listen-address={self.url.removeprefix('http://')}")
        self._log = (folder / "prometheus.log").open("w")
        self._process = subprocess.Popen(words, cwd=folder, stdout=self._log, stderr=self._log)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(20)
        self._log.close()

    def get(self, path: str, **query: str) -> Any:
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}", timeout=10) as answer:
            body = json.load(answer)
        assert body["status"] == "success", body
        return body["data"]

    def ask(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of each series, now."""
        found = self.get("query", query=expression)["result"]
        return [(series["metric"], float(series["value"][1])) for series in found]

    def number(self, expression: str) -> float:
        """The only value; NaN where there is none."""
        try:
            found = self.ask(expression)
        except OSError:  # not up yet
            return float("nan")
        assert len(found) <= 1
        return found[0][1] if found else float("nan")

    def rules(self) -> dict[str, dict[str, Any]]:
        return {rule["name"]: rule for group in self.get("rules")["groups"] for rule in group["rules"]}

    def firing(self) -> set[tuple[str, str]]:
        """Names of the rules that fire, and what for."""
        return {
            (name, alert["labels"].get("stream") or alert["labels"].get("instance", ""))
            for name, rule in self.rules().items()
            for alert in rule["alerts"]
            if alert["state"] == "firing"
        }


def until(true: Callable[[], object], what: str, seconds: float = 200) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.3)


@pytest.fixture
def running() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def stream(kafka: str, tmp_path: Path, running: ExitStack) -> OperatedStream:
    redis = running.enter_context(start_redis(tmp_path))
    stream = OperatedStream(tmp_path, kafka, redis.url, write_model(tmp_path / "quiet.model"), running=running)
    stream.create_topic()
    return stream


def start(stream: OperatedStream, port: int) -> subprocess.Popen[str]:
    stream.more = {"TIDEWATCH_WORKER__METRICS_PORT": str(port), "TIDEWATCH_WORKER__METRICS_TOKEN": TOKEN}
    [settings] = json.loads(stream.environment["TIDEWATCH_STREAMS"])
    settings["alerts"] = {"update_every": "1m", "quiet": "0s"}  # every observation of an alert is an update
    stream.more["TIDEWATCH_STREAMS"] = json.dumps([settings])
    return stream.start()


def queries() -> list[tuple[str, str, str]]:
    """Panel, expression as Grafana sends it, legend."""
    dashboard = json.loads((DEPLOY / "grafana/dashboards/tidewatch.json").read_text())
    return [
        (panel["title"], t["expr"].replace("$stream", ".*").replace("$__rate_interval", "20s"), t["legendFormat"])
        for panel in dashboard["panels"]
        for t in panel.get("targets", [])
    ]


def label_values(prometheus: Prometheus) -> list[str]:
    """What the dashboard's variable offers."""
    [variable] = json.loads((DEPLOY / "grafana/dashboards/tidewatch.json").read_text())["templating"]["list"]
    metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"]).groups()  # type: ignore[union-attr]
    return list(prometheus.get(f"label/{label}/values", **{"match[]": metric}))


SPIKES = (400, 401, 600)


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_each_query_of_the_dashboard_has_an_answer_and_counts_what_happened(
    stream: OperatedStream, tmp_path: Path, running: ExitStack
) -> None:
    port = free_port()
    worker = start(stream, port)
    prometheus = Prometheus(tmp_path / "prometheus", [port], quick=False)
    running.callback(prometheus.close)
    until(lambda: prometheus.number("sum(tidewatch_partitions_open)") == 1, "the worker reads its partition")
    assert prometheus.number("sum(tidewatch_alerts_fired_total)") == 0
    assert label_values(prometheus) == [stream.name]

    # A first burst: alerts that begin and end, one that stays open, records that cannot be used, some that come twice.
    values = observations(0, 601, *SPIKES)
    stream.send(*values, *values[-3:-1], b"no JSON", b"", key=b"quiet")
    until(lambda: prometheus.number("sum(tidewatch_records_total)") == len(values) + 4, "all records are counted")
    until(lambda: prometheus.number("sum(increase(tidewatch_records_total[20s]))") > 0, "two scrapes")
    records = stream.alerts()
    begun = Counter(a["severity"] for a in records if a["status"] == "firing" and a["reason"] in ("anomaly", "held"))
    assert sum(begun.values()) == len({a["id"] for a in records}) >= 2
    assert Counter(a["status"] for a in records)["firing"] > sum(begun.values())

    def by(label: str, expression: str) -> dict[str, float]:
        return {labels[label]: value for labels, value in prometheus.ask(expression) if value}

    assert by("severity", "sum by (severity) (tidewatch_alerts_fired_total)") == dict(begun)
    assert by("reason", "tidewatch_dead_letters_total") == {"undecodable": 2}
    for panel, expression, legend in queries():
        found = prometheus.ask(expression)
        assert found, f"{panel}: no answer to {expression}"
        for label in re.findall(r"{{(\w+)}}", legend):
            assert all(label in labels for labels, _ in found), f"{panel}: {legend} of {found}"
        assert any(value == value for _, value in found), f"{panel}: {expression} is no number"
    shown = {panel: expression for panel, expression, _ in queries()}
    # `increase` sees a burst of series that were there before it, and extrapolates a little.
    fired = by("severity", shown["Fired, last hour"])
    assert fired.keys() == begun.keys()
    assert all(begun[s] <= n <= 2 * begun[s] for s, n in fired.items()), (fired, begun)
    newest = {a["id"]: a for a in records}
    still = Counter(a["severity"] for a in newest.values() if a["status"] != "resolved")
    assert still
    assert by("severity", shown["Open now"]) == dict(still)

    # A worker that starts again knows what is open before any record comes.
    until(lambda: stream.offset() == len(values) + 4, "all is checkpointed")
    stream.stop(worker)
    until(lambda: not prometheus.ask("tidewatch_alerts_open"), "the worker's gauges are gone")
    worker = start(stream, port)
    until(lambda: prometheus.ask("tidewatch_alerts_open"), "they are back")
    assert by("severity", shown["Open now"]) == dict(still)
    assert prometheus.number("sum(tidewatch_records_total)") == 0
    stream.stop(worker)


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_rules_are_evaluated_and_tell_of_a_silent_stream_and_of_workers_that_are_idle_or_gone(
    stream: OperatedStream, tmp_path: Path, running: ExitStack
) -> None:
    first, second = free_port(), free_port()
    worker = start(stream, first)
    prometheus = Prometheus(tmp_path / "prometheus", [first, second], quick=True)
    running.callback(prometheus.close)
    until(lambda: prometheus.number("sum(tidewatch_partitions_open)") == 1, "the worker reads its partition")
    down = ("TidewatchWorkerDown", f"127.0.0.1:{second}")
    silent = ("TidewatchNoInput", stream.name)
    until(lambda: prometheus.firing() == {down, silent}, "a worker is down, and nothing comes")
    assert {r["health"] for r in prometheus.rules().values()} == {"ok"}, prometheus.rules()

    idle = start(stream, second)
    i = 0

    def fed() -> set[tuple[str, str]]:
        nonlocal i
        stream.send(*observations(i, i + 1))
        i += 1
        return prometheus.firing()

    def one_reads() -> bool:
        found = {(name, at.rpartition(":")[2]) for name, at in fed()}
        return found in ({("TidewatchWorkerIdle", str(first))}, {("TidewatchWorkerIdle", str(second))})

    until(one_reads, "one of two workers has no partition, and the stream is not silent any more")
    for process in (worker, idle):
        stream.stop(process)
    both = {("TidewatchWorkerDown", f"127.0.0.1:{port}") for port in (first, second)}
    until(lambda: prometheus.firing() == both, "both are down")
    assert {r["health"] for r in prometheus.rules().values()} == {"ok"}
