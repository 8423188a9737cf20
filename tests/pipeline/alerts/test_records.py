import hashlib
import json
import re
from pathlib import Path

import jsonschema
import msgspec
import numpy as np
import pytest
from alert_logs import Log, Row, scores, stream

from pipeline.alerts.records import (
    HEAD,
    MAX_KEY,
    MAX_ORIGINAL,
    DeadLetter,
    dead_letter_facts,
    decode_alert,
    decode_score,
    encode,
    rfc3339,
)
from pipeline.alerts.schemas import schemas
from pipeline.partition.deciding import schemas as decisions
from pipeline.steps.batches.records import RecordBatch, Rejected

PUBLISHED = Path(__file__).parents[3] / "docs" / "schemas"


def alerts():
    rows = [*scores("a", [5.0] * 14, expected=(0.5,)), *scores("a", [0.1] * 3, start=90, expected=(0.5,))]
    rows += [Row("köln/ring", 90, 7.0, expected=(float("nan"),)), Row("a", 9000, 0.0, expected=(0.0,))]
    return Log(stream()).run(rows)


def check(name, body):
    schema = json.loads((PUBLISHED / name).read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(body), schema, cls=jsonschema.Draft202012Validator)


def test_the_published_schemas_are_those_of_the_code():
    for name, schema in schemas().items():
        published = (PUBLISHED / name).read_text()
        assert published == json.dumps(schema, indent=2) + "\n", (
            f"{name}: run python -m pipeline.alerts.schemas docs/schemas"
        )
    assert (PUBLISHED / decisions.NAME).read_text() == json.dumps(decisions.schema(), indent=2) + "\n", (
        "run python -m pipeline.partition.deciding.schemas docs/schemas"
    )
    assert {p.name for p in PUBLISHED.glob("*.json")} == {*schemas(), decisions.NAME}


def test_every_field_of_a_schema_says_what_it_means():
    for name, schema in schemas().items():
        for kind in [schema, *schema.get("$defs", {}).values()]:
            for field, facts in kind["properties"].items():
                assert "description" in facts or "$ref" in facts, f"{name}: {field}"


def test_alerts_of_every_status_fit_the_schema_and_survive_the_way():
    published = alerts()
    assert {a.reason for a in published} == {"anomaly", "update", "normal", "silence"}
    for alert in published:
        check("alert.v1.json", encode(alert))
        assert decode_alert(encode(alert)) == alert


def test_scores_fit_the_schema_and_survive_the_way():
    log = Log(stream())
    *_, scored = log.columns([Row("a", 1, 5.0, expected=(0.5,)), Row("b", 1, float("nan"), expected=(np.nan,))])
    one, two = log.life.records.scores(log.state, scored)
    check("score.v1.json", encode(one))
    assert decode_score(encode(one)) == one
    assert one.message("s").key == b"a"
    assert (one.timestamp, one.offset, one.partition, one.score, one.raw) == (1404172860000, 100, 1, 5.0, [10.0])
    assert two.calibrated == [None]


def test_a_field_that_a_later_version_adds_is_no_error():
    alert = alerts()[0]
    body = msgspec.json.decode(encode(alert)) | {"colour": "red"}
    assert decode_alert(msgspec.json.encode(body)) == alert


def test_an_alert_travels_as_a_cloud_event():
    published = alerts()
    message = published[0].message("tidewatch.alerts")
    headers = dict(message.headers)
    assert headers == {
        "ce_specversion": b"1.0",
        "ce_id": f"{published[0].id}:0".encode(),
        "ce_type": b"io.tidewatch.alert.firing.v1",
        "ce_source": b"/tidewatch/taxi",
        "ce_subject": b"a",
        "ce_time": b"2014-07-01T00:00:00.000Z",
        "content-type": b"application/json",
    }
    assert message.key == published[0].fingerprint.encode()
    assert message.topic == "tidewatch.alerts"
    assert {a.event_type.split(".")[3] for a in published} == {"firing", "updated", "resolved"}
    subjects = {dict(a.message("t").headers)["ce_subject"] for a in published}
    assert "köln/ring".encode() in subjects


def test_no_wall_clock_time_stands_in_an_alert():
    first, second = ([a.message("t") for a in alerts()] for _ in range(2))
    assert first == second
    assert {year for m in first for year in re.findall(rb'"(\d{4})-', m.value)} == {b"2014"}


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (1404172800123, "2014-07-01T00:00:00.123Z"),
        (253402300800000, "10000-01-01T00:00:00.000Z"),
    ],
)
def test_times_are_rfc_3339_in_utc(ms, text):
    assert rfc3339(ms) == text


def letter(value, key=b"host-7"):
    batch = RecordBatch("in", 3, np.array([41, 44]), 45, [b"x", key], [b"{}", value], np.zeros(2, np.int64))
    return DeadLetter.of(batch, Rejected(1, "not JSON", "at byte 5: ü\x00" + "y" * 600), stream="taxi")


def test_a_dead_letter_carries_the_record_as_it_came_and_why():
    message = letter(b"\xff\xfe{").message("in.dlq")
    assert (message.topic, message.key, message.value) == ("in.dlq", b"host-7", b"\xff\xfe{")
    assert all(name.startswith("tidewatch.error.") for name, _ in message.headers)
    facts = dead_letter_facts(message.headers)
    assert facts.pop("detail").startswith("at byte 5: ü")
    assert facts == {"reason": "not JSON", "stream": "taxi", "topic": "in", "partition": "3", "offset": "44"}
    assert len(dict(message.headers)["tidewatch.error.detail"].decode()) == 500


def test_dead_letters_of_nothing_stay_nothing():
    message = letter(None, key=None).message("in.dlq")
    assert (message.key, message.value) == (None, None)


def test_what_is_too_large_is_sent_as_hash_length_and_head():
    value, key = b"v" * (MAX_ORIGINAL + 1), b"k" * (MAX_KEY + 1)
    message = letter(value, key).message("in.dlq")
    facts = dead_letter_facts(message.headers)
    assert message.value == value[:HEAD]
    assert message.key == key[:MAX_KEY]
    assert facts["value_length"] == str(MAX_ORIGINAL + 1)
    assert facts["value_sha256"] == hashlib.sha256(value).hexdigest()
    assert facts["key_length"] == str(MAX_KEY + 1)
    assert facts["key_sha256"] == hashlib.sha256(key).hexdigest()
    size = len(message.value) + len(message.key) + sum(len(n) + len(v) for n, v in message.headers)
    assert size < 1_000_000


def test_the_largest_record_that_is_sent_whole_fits_kafka_s_default_limit():
    message = letter(b"v" * MAX_ORIGINAL, b"k" * MAX_KEY).message("in.dlq")
    assert len(message.value) + len(message.key) + sum(len(n) + len(v) for n, v in message.headers) < 1_000_000


def test_the_headers_of_a_dead_letter_fit_their_schema():
    facts = dead_letter_facts(letter(b"v" * (MAX_ORIGINAL + 1)).message("in.dlq").headers)
    check("dead-letter-headers.v1.json", json.dumps(facts))
