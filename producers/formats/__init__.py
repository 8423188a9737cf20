"""Input formats: a foreign message to points of series. One file each, named like the stream's `format` setting."""

from __future__ import annotations

from producers.formats import otlp, prometheus, telegraf
from producers.formats.base import Parser

FOREIGN: dict[str, Parser] = {"telegraf": telegraf.parse, "prometheus": prometheus.parse, "otlp": otlp.parse}
"""Parsers of all formats but the native one, which is read in columns."""
