"""Files with one word that is not ASCII, in the encodings that programs wrote and write."""

from __future__ import annotations

import gzip

import pytest

from producers.datasets import Layout, open_file
from producers.datasets.base import Corrections
from producers.datasets.encodings import legacy
from producers.errors import DataError

WORDS = [
    ("Zähler", "cp1252"), ("Größe", "latin-1"), ("température", "cp1252"), ("año", "cp1252"), ("vazão", "cp1252"), ("Temp °C", "cp1252"),
    ("débit (m³/h)", "cp1252"), ("Ø-Last", "cp1252"), ("Åbo", "cp1252"), ("µg/m³", "cp1252"), ("coût", "cp1252"), ("œuvre", "cp1252"), ("længde", "cp1252"),
    ("ciśnienie", "cp1250"), ("ciśnienie", "iso8859-2"), ("průtok", "cp1250"), ("příkon", "cp1250"), ("hőmérséklet", "cp1250"), ("moc wyjściowa", "cp1250"),
    ("Температура", "cp1251"), ("Температура", "koi8-r"), ("Температура", "cp866"), ("Zähler", "cp850"), ("θερμοκρασία", "cp1253"),
]  # fmt: skip


def _file(path, word: str, encoding: str):
    rows = "\n".join(f"2026-01-01 {h:02d}:00:00;{20 + h % 7},5" for h in range(24))
    path.write_bytes(f"time;{word}\n{rows}\n".encode(encoding))
    return path


@pytest.mark.parametrize(("word", "encoding"), WORDS)
def test_one_word_is_enough(tmp_path, word: str, encoding: str) -> None:
    found = open_file(_file(tmp_path / "x.csv", word, encoding))
    assert found.channels == (word,)


@pytest.mark.parametrize(("word", "encoding"), [("温度", "gbk"), ("온도", "euc-kr"), ("sıcaklık", "cp1254")])
def test_what_few_signs_were_taken_for_is_told_and_an_option_mends_it(tmp_path, word: str, encoding: str) -> None:
    path = _file(tmp_path / "x.csv", word, encoding)
    found = open_file(path)
    assert any(f"{found.channels[0]!r} is read as " in line and "--read encoding=" in line for line in found.reading)
    named = open_file(path, Layout(corrections=Corrections(encoding=encoding)))
    assert named.channels == (word,)
    assert not any("is read as" in line for line in named.reading)


LONG = [
    ("Température relevée à Besançon, près du fleuve où l'été dure", "Le cœlacanthe", "cp1252"), ("Größe über Straße, 5×3 mm² bei 20 °C", "Ærø × ABÇd", "cp1252"),
    ("El año pasado ¿qué pasó? mañana", "cœlome", "cp1252"), ("Příliš žluťoučký kůň úpěl ďábelské ódy", "œuvre", "cp1250"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "odd", "encoding"), LONG)
def test_where_there_is_text_enough_one_odd_word_says_nothing(words: str, odd: str, encoding: str) -> None:
    data = (f"{words}\n" * 20 + odd).encode(encoding, "ignore")
    first = next(i for i, byte in enumerate(data) if byte > 127)
    assert data.decode(legacy(data, first)) == data.decode(encoding)


def test_of_unicode_nothing_is_told(tmp_path) -> None:
    found = open_file(_file(tmp_path / "x.csv", "Größe", "utf-8"))
    assert not any("is read as" in line for line in found.reading)


def test_an_encoding_that_is_none_is_refused(tmp_path) -> None:
    with pytest.raises(DataError, match="encoding"):
        open_file(_file(tmp_path / "x.csv", "Größe", "utf-8"), Layout(corrections=Corrections(encoding="utf-99")))


def test_what_is_packed_and_no_text_is_called_by_its_kind(tmp_path) -> None:
    (tmp_path / "x.xls.gz").write_bytes(gzip.compress(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(100)))
    with pytest.raises(DataError, match=r"xls.*save it as \.csv"):
        open_file(tmp_path / "x.xls.gz")
