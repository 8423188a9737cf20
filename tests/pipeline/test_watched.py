"""When a file counts as changed."""

import os
from pathlib import Path

from pipeline.watched import Watched


def test_a_file_has_changed_when_it_has_been_another_for_one_look(tmp_path: Path) -> None:
    file, later = tmp_path / "a.toml", tmp_path / "b.toml"
    file.write_text("a")
    watched = Watched(lambda: [file, later])
    assert [watched.changed() for _ in range(3)] == [False, False, False]
    file.write_text("ab")
    assert not watched.changed()
    file.write_text("abc")  # whoever writes it is not done
    assert [watched.changed() for _ in range(3)] == [False, True, False]
    later.write_text("b")
    assert [watched.changed() for _ in range(3)] == [False, True, False]
    file.unlink()
    assert [watched.changed() for _ in range(3)] == [False, True, False]


def test_a_file_that_took_the_place_of_another_has_changed_though_time_and_size_are_the_same(tmp_path: Path) -> None:
    file, other = tmp_path / "a.toml", tmp_path / "other"
    for of in (file, other):
        of.write_text("same")
        os.utime(of, (1, 1))
    watched = Watched(lambda: [file])
    other.replace(file)
    assert [watched.changed() for _ in range(3)] == [False, True, False]
