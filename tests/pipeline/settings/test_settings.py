"""Settings: file under environment, errors by name, secrets kept."""

from __future__ import annotations

import traceback
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from pipeline.addresses import redis_address
from pipeline.cli import one_line
from pipeline.errors import SettingsError
from pipeline.settings import (
    AlertSettings,
    Duration,
    Settings,
    StreamSettings,
    duration_text,
    load_settings,
    with_recommended,
)
from pipeline.settings.reference import as_toml, masked_url, shown
from pipeline.settings.wrong import in_words

durations = TypeAdapter(Duration)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tidewatch.toml"
    path.write_text('[kafka]\nbrokers = "a:1"\npartitions = 2\n[[streams]]\nname = "taxi"\nmodel = "taxi.tidewatch"\n')
    return path


def test_the_environment_overrides_the_file_and_the_file_the_defaults(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEWATCH_KAFKA__BROKERS", "b:2")
    kafka = load_settings(file).kafka
    assert (kafka.brokers, kafka.partitions, kafka.replication) == ("b:2", 2, 1)


def test_the_file_may_be_named_by_the_environment(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEWATCH_CONFIG", str(file))
    assert Settings().kafka.brokers == "a:1"


def test_model_paths_are_relative_to_the_file(file: Path) -> None:
    assert load_settings(file).streams[0].model == file.parent / "taxi.tidewatch"


def test_a_named_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.toml does not exist"):
        load_settings(tmp_path / "nowhere.toml")


def test_a_file_that_is_not_toml_is_an_error_with_its_line(file: Path) -> None:
    file.write_text("[kafka]\nbrokers == 1\n")
    with pytest.raises(SettingsError, match="line 2"):
        load_settings(file)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[kafak]\nx = 1", "setting kafak: there is no such setting"),
        ("[kafka]\nbroker = 'x'", "setting kafka.broker: there is no such setting"),
        ("[[streams]]\nname = 'x'", "setting streams[0].model: is missing"),
        ("[worker]\nbatch_wait = 'soon'", "setting worker.batch_wait: 'soon' is not a duration"),
        ("[kafka]\npartitions = 0", "setting kafka.partitions: Input should be greater than or equal to 1"),
        (
            "[[streams]]\nname = 'x'\nmodel = 'm'\n[[streams]]\nname = 'x'\nmodel = 'm'",
            "setting streams: two streams have the same name: x",
        ),
    ],
)
def test_a_wrong_setting_is_named(file: Path, text: str, named: str) -> None:
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_settings(file)
    line = one_line(caught.value)
    assert line.startswith(named)
    assert "tidewatch.toml" in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("streams", "named"),
    [
        ({"dead_letter_topic": "x.observations"}, "dead_letter_topic x.observations of stream x is also the topic of the same stream"),
        ({"alert_topic": "x.observations"}, "alert_topic x.observations of stream x is also the topic of the same stream"),
        ({"score_topic": "y.observations"}, "score_topic y.observations of stream x is also the topic of stream y"),
        ({"topic": "y.observations.dlq"}, "dead_letter_topic y.observations.dlq of stream y is also the topic of stream x"),
        ({"topic": "tidewatch.alerts"}, "alert_topic tidewatch.alerts of stream x is also the topic of the same stream"),
        ({"topic": "y.observations"}, "topic y.observations of stream y is also the topic of stream x"),
        ({"dead_letter_topic": "tidewatch.alerts"}, "dead_letter_topic tidewatch.alerts of stream x is also the alert_topic of the same"),
        ({"score_topic": "y.observations.dlq"}, "dead_letter_topic y.observations.dlq of stream y is also the score_topic of stream x"),
        ({"topic": "tax i"}, "topic 'tax i' of stream x is no name for a topic"),
        ({"score_topic": ".."}, "score_topic '..' of stream x is no name for a topic"),
        ({"dead_letter_topic": "__consumer_offsets"}, "dead_letter_topic '__consumer_offsets' of stream x is one of Kafka's own"),
    ],
)  # fmt: skip
def test_a_topic_has_one_use(streams: dict[str, str], named: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings(streams=[{"name": "x", "model": "m", **streams}, {"name": "y", "model": "m"}])  # type: ignore[list-item]
    assert one_line(caught.value).startswith(f"setting streams: {named}")


def test_streams_may_share_a_topic_of_alerts_of_dead_letters_and_of_scores() -> None:
    shared = {"model": "m", "alert_topic": "a", "dead_letter_topic": "d", "score_topic": "s"}
    settings = Settings(streams=[{"name": "x", **shared}, {"name": "y", **shared}])  # type: ignore[list-item]
    assert [s.dlq for s in settings.streams] == ["d", "d"]


@pytest.mark.parametrize(
    ("intakes", "named"),
    [
        ([{"stream": "z", "topics": ["raw"]}], "intake z feeds stream z, which there is not: x, y"),
        ([{"stream": "x", "topics": ["raw"]}] * 2, "two intakes have the same name: x"),
        ([{"stream": "x", "topics": ["x.*"]}], "topics x.* of intake x has x.observations, which is a topic"),
        ([{"stream": "x", "topics": ["tidewatch.alerts"]}], "topics tidewatch.alerts of intake x has tidewatch.alerts, which is a alert_topic"),
        ([{"stream": "x", "topics": ["*.intake.dlq"]}], "topics *.intake.dlq of intake x has x.intake.dlq, which is a dead_letter_topic"),
        ([{"stream": "x", "topics": ["raw"], "dead_letter_topic": "a b"}], "dead_letter_topic 'a b' of intake x is no name for a topic"),
        ([{"stream": "x", "topics": ["raw"], "dead_letter_topic": "y.observations"}], "dead_letter_topic y.observations of intake x is also a topic"),
    ],
)  # fmt: skip
def test_an_intake_feeds_a_stream_and_reads_nothing_that_is_written_here(
    intakes: list[dict[str, object]], named: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings(streams=[{"name": "x", "model": "m"}, {"name": "y", "model": "m"}], intake=intakes)  # type: ignore[list-item, arg-type]
    assert one_line(caught.value).startswith(f"setting intake: {named}")


def test_fields_are_for_raw_records_that_have_some() -> None:
    intake = {"stream": "x", "topics": ["raw"], "format": "telegraf", "fields": {"time": "made"}}
    with pytest.raises(ValidationError, match="set format to one of json, registry, auto"):
        Settings(streams=[{"name": "x", "model": "m"}], intake=[intake])  # type: ignore[list-item]
    made = Settings(streams=[{"name": "x", "model": "m"}], intake=[intake | {"format": "auto"}])  # type: ignore[list-item]
    assert made.intake[0].fields.time == "made"


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"format": "json", "fields": {"time": "made", "record_time": True}}, "fields.time names a field"),
        ({"format": "auto", "fields": {"record_time": True}}, "set format to json or registry"),
    ],
)
def test_kafkas_time_is_taken_where_no_field_is_one(more: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Settings(streams=[{"name": "x", "model": "m"} | more])  # type: ignore[list-item]


def test_an_intake_has_the_name_of_its_stream_where_it_has_none() -> None:
    streams = [{"name": "x", "model": "m"}]
    intakes = [{"stream": "x", "topics": ["raw"]}, {"stream": "x", "name": "other", "topics": ["raw-*"]}]
    settings = Settings(streams=streams, intake=intakes)  # type: ignore[arg-type]
    assert [settings.intake_group(i) for i in settings.intake] == ["tidewatch.intake.x", "tidewatch.intake.other"]
    assert [i.dlq for i in settings.intake] == ["x.intake.dlq", "other.intake.dlq"]


@given(st.integers(0, 10**9).map(lambda ms: timedelta(milliseconds=ms)))
def test_durations_are_read_as_they_are_written(duration: timedelta) -> None:
    assert durations.validate_python(duration_text(duration)) == duration


def test_what_is_shown_can_be_read_again_and_holds_no_secret(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEWATCH_REDIS__URL", "rediss://worker:hunter2@redis:6379/1")
    monkeypatch.setenv("TIDEWATCH_KAFKA__SASL_PASSWORD", "hunter2")
    text = shown(load_settings(file))
    assert "hunter2" not in text
    assert "worker:***@redis:6379/1" in text
    monkeypatch.delenv("TIDEWATCH_REDIS__URL")
    monkeypatch.delenv("TIDEWATCH_KAFKA__SASL_PASSWORD")
    (again := file.with_name("again.toml")).write_text(text)
    assert load_settings(again).streams == load_settings(file).streams


def test_settings_written_as_toml_are_read_back(tmp_path: Path) -> None:
    (path := tmp_path / "t.toml").write_text(as_toml({"worker": {"checkpoint_every": timedelta(seconds=1.5)}}))
    assert load_settings(path).worker.checkpoint_every == timedelta(seconds=1.5)
    streams = [{"name": n, "model": f"{n}.tidewatch", "alerts": {"hold": "10m"}} for n in ("one", "two")]
    path.write_text(text := as_toml({"streams": streams, "kafka": {"brokers": "a:1"}}))
    assert [s.name for s in load_settings(path).streams] == ["one", "two"]
    assert load_settings(path).streams[1].alerts.hold == timedelta(minutes=10)
    assert text.count("[[streams]]\n") == 2  # another can be set beside them by hand


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("redis://redis:6379/0", "redis://redis:6379/0"),
        ("redis://:pw@redis:6379/0", "redis://:***@redis:6379/0"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
        (
            "redis+sentinel://u:pw@a:1,b:2/m?sentinel_username=s&sentinel_password=pw",
            "redis+sentinel://u:***@a:1,b:2/m?sentinel_username=s&sentinel_password=***",
        ),
    ],
)
def test_an_address_loses_only_its_password(url: str, masked: str) -> None:
    assert masked_url(url) == masked


def test_what_a_model_file_recommends_holds_where_nobody_set_anything() -> None:
    recommended = {"threshold": {"level": 2.5}, "alerts": {"resolve_count": 100}}
    own = StreamSettings(name="s", model=Path("m"), alerts={"resolve_count": 7})  # type: ignore[arg-type]
    found = with_recommended(own, recommended)
    assert (found.threshold.level, found.alerts.resolve_count) == (2.5, 7)
    assert found.alerts.silence == own.alerts.silence
    set_to_the_default = StreamSettings(name="s", model=Path("m"), threshold={"level": 4.0})  # type: ignore[arg-type]
    assert with_recommended(set_to_the_default, recommended).threshold.level == 4.0
    assert with_recommended(own, {}) == own


def test_a_stated_budget_and_a_stated_level_each_take_the_place_of_a_recommendation() -> None:
    def stated(**threshold: object) -> StreamSettings:
        return StreamSettings(name="s", model=Path("m"), threshold=threshold)  # type: ignore[arg-type]

    monthly = "1 per series per month"
    found = with_recommended(stated(false_alarms=monthly), {"threshold": {"level": 2.5, "hysteresis": 0.5}}).threshold
    assert (found.false_alarms, found.level, found.hysteresis) == (monthly, None, 0.5)
    found = with_recommended(stated(level=3.0), {"threshold": {"false_alarms": "1 per week"}}).threshold
    assert (found.false_alarms, found.level) == (None, 3.0)
    written_out = StreamSettings.model_validate(stated().model_dump())  # all fields given, none stated
    assert with_recommended(written_out, {"threshold": {"level": 2.5}}).threshold.level == 2.5


@pytest.mark.parametrize(
    ("threshold", "told"),
    [
        ({"false_alarms": "1 per week", "level": 3.0}, "leave one of them out"),
        ({"false_alarms": "1 per week", "method": "pot"}, "pot takes a probability"),
        ({"false_alarms": "often"}, "'often' is no false-alarm budget; write it as"),
        ({"false_alarms": 3}, "string"),
    ],
)
def test_a_budget_is_stated_once_and_as_it_is_written(threshold: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        StreamSettings(name="s", model=Path("m"), threshold=threshold)  # type: ignore[arg-type]


def test_the_default_budget_is_of_the_kind_of_stream_and_a_table_has_no_time() -> None:
    default = StreamSettings(name="s", model=Path("m")).threshold
    assert default.budget("metric").period_ms == 30 * 86_400_000
    assert default.budget("table").rows == 10_000
    timed = StreamSettings(name="s", model=Path("m"), threshold={"false_alarms": "1 per week"}).threshold  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="write false_alarms in rows"):
        timed.budget("table")


def test_a_recommendation_that_is_no_setting_is_an_error() -> None:
    with pytest.raises(ValidationError, match="levle"):
        with_recommended(StreamSettings(name="s", model=Path("m")), {"threshold": {"levle": 2.5}})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[kafka]\n\nmetric_port = 1", ", line 3"),
        ("[worker]\nmetric_port = 1", "did you mean metrics_port?"),
        ("[kafka]\nmetrics_port = 1", "it belongs to [worker]"),
        ("[strems]\nname = 'a'", "did you mean streams?"),
        ("[streams]\nname = 'a'", "write one [[streams]] for each, with two pairs of brackets"),
        ("[[kafka]]\nbrokers = 'a:1'", "write one table, [kafka], with one pair of brackets"),
        (
            "[[streams]]\nname='a'\nmodel='m'\n[[streams]]\nname='b'\nmodel='m'\n[streams.alerts]\nhould='1s'",
            ", line 8",
        ),
        (
            "[[streams]]\nname='a'\nmodel='m'\n[[streams]]\nname='b'\nmodel='m'\n[[intake]]\nstream='a'\ntopics=['r']\nformt='x'",
            ", line 10",
        ),
        ("[worker]\nbatch_wait = '99999999999999999s'", "more than 36500 days"),
        ("[worker]\nbatch_wait = 99999999999999999", "setting worker.batch_wait"),
        ("[kafka]\nbrokers = 'a:99999'", "a port is a number from 1 to 65535"),
        ("[kafka]\nbrokers = '[::1:9092'", "an IPv6 address stands in brackets"),
        ("[kafka]\nca_file = '/nowhere/ca.pem'", "/nowhere/ca.pem does not exist"),
    ],
)
def test_the_file_the_line_and_the_name_that_was_meant_are_told(tmp_path: Path, text: str, told: str) -> None:
    (file := tmp_path / "other.toml").write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_settings(file)
    assert told in str(caught.value)
    assert "other.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_certificate_that_is_no_pem_is_told(tmp_path: Path) -> None:
    (tmp_path / "ca.der").write_bytes(b"\x30\x82\x01")
    for table in ("kafka", "redis"):
        (file := tmp_path / "t.toml").write_text(f"[{table}]\nca_file = '{tmp_path}/ca.der'")
        with pytest.raises(SettingsError, match=rf"setting {table}\.ca_file: .* is no PEM file"):
            load_settings(file)


def test_a_table_in_the_environment_that_is_no_json_is_told_without_its_content(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TIDEWATCH_KAFKA", '{"sasl_password": "hunter2"')
    with pytest.raises(SettingsError, match="TIDEWATCH_KAFKA holds no JSON") as caught:
        load_settings()
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("url", [
    "redis://:hun/ter2@h:6379/0", "redis://:hun#ter2@h:6379/0", "redis://:hunter2@h:99999/0", "redis://:hunter2@h:1,i:2/0",
    "redis://:hun@ter2@h", "redis://:hun?ter2@h", "redis://hunter2@[::1/0", "redis://:hunter2@h:6379a", "http://:hunter2@h", "hunter2",
    "redis+sentinel://:hunter2@h:1,i:2", "redis://:hunter2@h/x", "redis://:hunter2@h?password=hunter2", "redis://:hunter2 @h", "",
])  # fmt: skip
def test_an_address_of_redis_that_cannot_be_used_is_told_without_its_secret(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEWATCH_REDIS__URL", url)
    with pytest.raises(SettingsError, match=r"^setting redis\.url: ") as caught:
        load_settings()
    told = "".join(traceback.format_exception(caught.value))
    assert not any(piece in told for piece in ("hunter2", "hun", "ter2"))


def test_addresses_of_redis_are_read() -> None:
    found = redis_address(
        "rediss+sentinel://u:p%2F%23@a:1,[::1]:2,c/mymaster/3?sentinel_username=s&sentinel_password=t%40"
    )
    assert found.hosts == (("a", 1), ("::1", 2), ("c", 26379))
    assert (found.tls, found.master, found.database) == (True, "mymaster", 3)
    assert (found.username, found.password, found.sentinel_username, found.sentinel_password) == ("u", "p/#", "s", "t@")
    assert "p/#" not in repr(found)
    assert redis_address("unix://:pw@/run/redis.sock?db=2").path == "/run/redis.sock"


REGISTRY_STREAM = '[[streams]]\nname = "a"\nmodel = "m"\nformat = "registry"\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (REGISTRY_STREAM, "stream a has the format registry, and registry.url names none"),
        (
            REGISTRY_STREAM.replace("registry", "native")
            + '[[intake]]\nstream = "a"\ntopics = ["r"]\nformat = "registry"\n',
            "intake a has the format registry, and registry.url names none",
        ),
        ('[registry]\nurl = "registry:8081"', "setting registry.url: write it as http://host:8081"),
        ('[registry]\nurl = "http://me:hush@r:1"', "it holds a user or password"),
        ('[registry]\nusername = "me"', "registry.username and registry.password go together"),
        ('[registry]\nusername = "me"\npassword = "hush"\ntoken = "hush"', "leave one of them out"),
        ('[registry]\nca_file = "/nonexistent"', "does not exist"),
        ('[registry]\ntimeout = "0s"', "more than nothing"),
        (
            '[[streams]]\nname = "a"\nmodel = "m"\n[streams.fields]\ntime = "at"',
            "set format to one of json, registry, auto",
        ),
    ],
)
def test_what_is_wrong_with_a_registry_is_told_without_its_secrets(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "tidewatch.toml"
    file.write_text(text)
    with pytest.raises(SettingsError) as refused:
        load_settings(file)
    assert says in str(refused.value)
    assert "hush" not in str(refused.value)


def test_a_registry_is_set_with_a_password_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("hush\n")
    monkeypatch.setenv("TIDEWATCH_REGISTRY__PASSWORD_FILE", str(tmp_path / "secret"))
    file = tmp_path / "tidewatch.toml"
    file.write_text('[registry]\nurl = "https://r/x"\nusername = "me"\n' + REGISTRY_STREAM)
    settings = load_settings(file)
    assert settings.registry.password.get_secret_value() == "hush"
    assert "hush" not in shown(settings)


@pytest.mark.parametrize(
    ("stated", "means", "written"),
    [
        ("auto", "auto", "auto"),
        ("off", "off", "off"),
        ("0", "off", "off"),
        ("never", "off", "off"),
        ("10m", timedelta(minutes=10), "10m"),
        (7, timedelta(seconds=7), "7s"),
    ],
)
def test_how_long_a_series_is_waited_for_is_a_duration_or_a_word(stated, means, written):
    alerts = AlertSettings.model_validate({"absent_after": stated})
    assert alerts.absent_after == means
    assert alerts.model_dump(mode="json")["absent_after"] == written
    assert AlertSettings.model_validate(alerts.model_dump(mode="json")) == alerts


@pytest.mark.parametrize("wrong", ["soon", "-5m", -3, None, [1], "99999d"])
def test_what_is_none_of_these_is_named_in_one_line(wrong):
    with pytest.raises(ValidationError) as caught:
        StreamSettings(name="x", model=Path("m"), alerts={"absent_after": wrong})
    told = in_words(caught.value, StreamSettings, None)
    assert told.startswith("setting alerts.absent_after: ")
    assert "is none of auto, off and a duration" in told
    assert "\n" not in told
