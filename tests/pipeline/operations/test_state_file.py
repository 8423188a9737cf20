"""A state file is bit-equal after a round trip, and whatever was done to its bytes is noticed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ForeignState, StoreError
from pipeline.operations.state_file import MAGIC, StateFile, StateFileWriter
from pipeline.partition.stores.base import Checkpoint, Identity

IDENTITY = Identity(cluster_id="c", topic_id="t", stream="taxi", numerics="cpu", format=1)
SOME = {0: Checkpoint(2**62, 7, IDENTITY, {"b": b"\x00\xff", "a": b""}), 3: Checkpoint(0, 0, IDENTITY, {})}


def write(path: Path, checkpoints: dict[int, Checkpoint]) -> bytes:
    with StateFileWriter(path, "taxi", list(checkpoints)) as file:
        for partition, checkpoint in sorted(checkpoints.items()):
            file.add(partition, checkpoint)
    return path.read_bytes()


def signed(*frames: object) -> bytes:
    body = MAGIC
    for frame in frames:
        encoded = msgspec.msgpack.encode(frame)
        body += len(encoded).to_bytes(8, "big") + encoded
    body += bytes(8)
    return body + hashlib.sha256(body).digest()


@given(
    st.dictionaries(
        st.integers(0, 9),
        st.builds(
            Checkpoint,
            st.integers(0, 2**63 - 1),
            st.integers(0, 2**40),
            st.just(IDENTITY),
            st.dictionaries(st.text(max_size=9), st.binary(max_size=300)),
        ),
    )
)
def test_what_was_written_comes_back_to_the_bit(tmp_path_factory: pytest.TempPathFactory, checkpoints) -> None:
    path = tmp_path_factory.getbasetemp() / "round-trip"
    body = write(path, checkpoints)
    file = StateFile(path)
    assert (file.header.stream, dict(file)) == ("taxi", checkpoints)
    assert write(path, dict(file)) == body


def test_every_changed_and_every_missing_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "state"
    body = write(path, SOME)
    for at in range(len(body)):
        path.write_bytes(body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :])
        with pytest.raises(StoreError):
            StateFile(path)
        path.write_bytes(body[:at])
        with pytest.raises(StoreError):
            StateFile(path)
    path.write_bytes(body + b"x")
    with pytest.raises(StoreError, match="its checksum is wrong: export it again"):
        StateFile(path)


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (b"PK\x03\x04 something else", "is no state file; `tidewatch state export` writes one"),
        (MAGIC + b"\xff" * 8, "it ends too early"),
        (signed({"version": 2, "what": "a later one"}), "is of version 2, this one reads 1"),
        (signed({"version": 1}), "its head is none"),
        (signed([1, 2]), "its head is none"),
    ],
)
def test_what_is_no_state_file_of_this_version_says_so(tmp_path: Path, body: bytes, line: str) -> None:
    (tmp_path / "state").write_bytes(body)
    with pytest.raises(StoreError, match=line):
        StateFile(tmp_path / "state")


def test_parts_that_are_not_those_of_the_head_and_identities_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    head = {"version": 1, "stream": "taxi", "partitions": [0]}
    part = {"partition": 0, "offset": 1, "sequence": 0, "identity": IDENTITY.model_dump_json(), "fields": {}}
    for changed, error in (
        ({"partition": 5}, StoreError),
        ({"offset": "1"}, StoreError),
        ({"identity": "{}"}, ForeignState),
    ):
        (tmp_path / "state").write_bytes(signed(head, part | changed))
        with pytest.raises(error):
            list(StateFile(tmp_path / "state"))


def test_a_file_that_could_not_be_finished_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "state"
    body = write(path, SOME)
    with pytest.raises(KeyError), StateFileWriter(path, "taxi", [0]):
        raise KeyError
    assert path.read_bytes() == body
    assert [p.name for p in tmp_path.iterdir()] == ["state"]
    with pytest.raises(StoreError, match="cannot be written: No such file"):
        write(tmp_path / "none" / "state", SOME)
    with pytest.raises(StoreError, match="cannot be read: No such file"):
        StateFile(tmp_path / "none")
