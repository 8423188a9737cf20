"""Usual names of columns, in lower case with `_` between words, and usual words for labels."""

from __future__ import annotations

# fmt: off
TIMES = (
    "timestamp", "timestamps", "time", "datetime", "date_time", "date", "ts", "event_time", "unix_time", "epoch",
    "unixtime", "unix_timestamp", "utc", "zeit", "zeitstempel", "datum", "fecha", "fecha_hora", "horodatage", "t",
    "when", "clock", "jd", "julian_date", "bjd", "hjd", "mjd", "datenum", "day", "month", "monat", "mes", "mois", "yearmonth",
    "year_month", "yyyymm", "quarter", "week", "woche", "semana", "semaine", "yearweek", "year_week", "period", "time_period", "year",
    "jahr", "ano", "annee", "ds",
)
"""Of event times, the surest first."""
TIME_WORDS = frozenset({
    "timestamp", "time", "datetime", "date", "ts", "epoch", "zeit", "datum", "zeitstempel", "utc",
})
"""Words in a name that may be a time's."""
SURE_TIMES = frozenset({
    "timestamp", "timestamps", "time", "datetime", "date_time", "date", "event_time", "zeit", "zeitstempel",
    "datum", "fecha", "ts",
})
"""Names of columns that must hold times, where they hold texts."""
YEARS = frozenset({"year", "jahr", "ano", "annee"})
MONTHS = frozenset({"month", "months", "monat", "mes", "mois", "yearmonth", "yyyymm"})
WEEKS = frozenset({"week", "weeks", "woche", "semana", "semaine", "yearweek"})
DIGITS = frozenset({"date", "datum", "fecha", "day", "tag", "period"}) | MONTHS | WEEKS
"""Words in the names of columns whose numbers may have the digits of a date."""
PARTS_OF_DATES = YEARS | MONTHS | WEEKS | {"day", "quarter"}
"""Names of columns whose small numbers are a part of a date."""
CLOCKS = frozenset({"time", "hhmm", "hhmmss", "clock", "time_of_day", "uhrzeit", "zeit", "hora", "heure"})
"""Of the time of day, which may be written in digits alone, beside a date."""
HOURS = frozenset({
    "hour", "hr", "hours", "stunde", "hora", "heure",
})
"""Of the hour of the day, beside a date."""
LABELS = frozenset({
    "label", "labels", "anomaly", "anomalies", "anomalous", "outlier", "outliers", "ground_truth", "groundtruth",
    "class", "target", "attack", "attacks", "fraud", "y", "y_true", "changepoint", "change_point",
    "normal_attack", "attack_cat", "isfraud", "is_attack",
})
"""Of labels, where they hold two values."""
LABEL_WORDS = frozenset({
    "label", "labels", "anomaly", "anomalies", "anomalous", "outlier", "outliers", "changepoint", "fraud",
    "attack", "truth",
})
"""Words in such names."""
SURE_LABELS = frozenset({
    "label", "labels", "class", "target", "attack_cat", "attack", "ground_truth", "normal_attack",
})
"""Of labels with more than two values too."""
OTHERS_JUDGEMENT = frozenset({
    "anomaly", "anomalies", "anomalous", "outlier", "outliers", "changepoint",
})
"""Words in the names of what another detector, or a person, found."""
INDEX = frozenset({
    "", "unnamed", "index", "idx", "row", "rows", "row_id", "row_number", "nr", "no", "id", "index_level",
    "rownum", "rownames",
})
"""Of what numbers the rows."""
SERIES = (
    "series", "series_id", "unique_id", "series_name", "metric", "metric_name", "name", "measurement", "field",
    "variable", "signal", "kpi", "kpi_id", "host", "hostname", "host_name", "instance", "server", "node",
    "device", "device_id", "sensor", "sensor_id", "machine", "machine_id", "unit", "unit_id", "asset", "pod",
    "container", "service", "job", "cpu", "tag", "tags", "item", "item_id", "store", "store_id", "station",
    "station_id", "site", "location", "symbol", "ticker", "meter", "meter_id", "customer", "region", "id",
    "country", "city", "line", "channel", "topic", "key", "group", "type", "category",
)
"""Of what tells series apart, the surest first."""
NORMAL = frozenset({
    "0", "0.0", "false", "no", "normal", "ok", "benign", "good", "healthy", "n", "f", "off", "none", "legit",
    "inlier",
})
"""Labels of what is normal."""
ANOMALOUS = frozenset({
    "1", "1.0", "true", "yes", "anomaly", "anomalous", "attack", "abnormal", "outlier", "fraud", "bad", "fault",
    "y", "t", "on", "a ttack", "broken",
})
"""Labels of what is not."""
TELLING = frozenset({
    "anomaly", "anomalous", "attack", "abnormal", "outlier", "fraud", "fault", "a ttack", "broken",
})
"""Those of them that mean nothing else."""
# fmt: on

UNITS = frozenset({"unit", "units", "uom", "unit_of_measurement", "einheit", "einheiten", "unite", "unidad", "unita"})
"""What a value is counted in, a text in each row."""
