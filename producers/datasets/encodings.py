"""Which encoding a text is in that is not Unicode: charset-normalizer chooses the alphabet, and how words are written tells encodings of one alphabet apart, which to it are alike.

A table of numbers may hold one such word, the name of its column. Then it is told what was read (`few`), and an option mends it.
"""

from __future__ import annotations

import re
import unicodedata

# What files that are not Unicode are written in, mostly; charset-normalizer chooses among them.
_LEGACY = ["cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "shift_jis", "cp949", "big5", "gb18030"]
_LATIN = ["cp1252", "cp1250", "cp1254"]
_IN_TURN = ("cp1252", "cp1250", "iso8859_2", "cp866", "cp850", "mac_roman")
_CYRILLIC = ("cp1251", "koi8_r", "cp866")
"""In the order in which they are tried: each only where those before it give no words."""
FEW = 32
"""Signs beyond ASCII below which it is told what was read."""
_WITHIN = "\u2019\u2013\u2014\u00b7\u00ad"
"""Signs that stand within words."""
_VOWELS = "aeiouyáéíóúàèìòù"


def legacy(data: bytes, first: int) -> str:
    """The encoding of a text whose byte `first` is no UTF-8."""
    from charset_normalizer import from_bytes

    near = _near(data, first)
    alone = not re.search(rb"[\x80-\xff]{2}", near)  # signs of Asia and words of other alphabets stand side by side
    whole = re.search(rb"[\xc0-\xff]{4}", near)  # a word of nothing but accents is none
    among = _LATIN if alone else [n for n in _LEGACY if not (whole and n in _LATIN)]
    best = from_bytes(near, cp_isolation=among).best()
    found = "cp1252" if best is None else best.encoding
    if near.decode("cp1252", "replace") == near.decode(found, "replace"):
        found = "cp1252"
    if found == "cp1251" or (whole and found == "cp1252"):
        return _first(near, _CYRILLIC, found)
    return _first(near, _IN_TURN, found) if found in ("cp1252", "cp1250") else found


def few(data: bytes, text: str) -> str:
    """Of a text whose encoding was chosen by few signs, a word that has one; else nothing."""
    signs = _signs(data[: 1 << 20])
    word = re.search(r"\w*[^\x00-\x7f]\w*", text)
    return word[0] if word and signs < FEW else ""


def _signs(data: bytes) -> int:
    """Bytes beyond ASCII."""
    return len(re.findall(rb"[\x80-\xff]", data))


def _near(data: bytes, first: int) -> bytes:
    """Lines with signs beyond ASCII, from a little before the first of them."""
    near = b"\n".join(line for line in data[max(0, first - 2000) :][: 1 << 20].splitlines() if not line.isascii())
    return near[: 1 << 16]


def _first(near: bytes, names: tuple[str, ...], otherwise: str) -> str:
    """The first of these encodings that gives words; in much text one odd word in so many says nothing."""
    for name in names:
        try:
            text = f" {near.decode(name)} "
        except UnicodeDecodeError:
            continue
        signs = [three for three in zip(text, text[1:], text[2:], strict=False) if not three[1].isascii()]
        odd = sum(_no_word(*three) or (name == "cp1252" and _not_western(*three)) for three in signs)
        if odd <= len(signs) // FEW:
            return name
    return otherwise


def _no_word(before: str, sign: str, after: str) -> bool:
    """Whether a sign cannot stand between these in a word: another sign, a capital behind a small letter, one of another alphabet."""
    if unicodedata.category(sign) == "Cc":
        return True
    if not sign.isalpha():
        return before.isalpha() and after.isalpha() and sign not in _WITHIN
    latin = any(c.isascii() and c.isalpha() for c in (before, after))
    if latin and unicodedata.name(sign, "").startswith("CYRILLIC"):
        return True
    return sign.isupper() and (before.islower() or (before.isalpha() and after.islower()))


def _not_western(before: str, sign: str, after: str) -> bool:
    """Whether no language of Western Europe writes a letter so: it is one of Central Europe, misread."""
    match sign:
        case "œ":
            return after not in "uU"
        case "ì" | "ù":
            return after.isalpha()
        case "è":
            return after.isalpha() and (after in _VOWELS or not before.isalpha())
        case "õ":
            return before.isalpha() and after != "e"
        case "ñ":
            return after not in _VOWELS
        case "ã":
            return after.isalpha() and after not in "oes"
        case "æ":
            return before.isalpha() and not after.isalpha()
        case "ø":
            return before in "áíéýóú" or after in "áíéýóú"
        case "³":
            return after.isalpha() or (before.isalpha() and before not in "mM")
        case "¹" | "¿" | "£" | "¥":
            return before.isalpha() or (sign in "¹¥" and after.isalpha())
        case _:
            return False
