"""Model files: what was saved comes back bit for bit; what is damaged, changed or foreign is refused with a mend."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detectors import calibration, model_file
from detectors.model import Model
from detectors.model_file import ModelFileError
from detectors.training import train_metric, train_table

SMALL = {"window": 8, "layers": (4, 2, 4), "training": {"epochs": 2}}


@pytest.fixture(scope="module")
def model() -> Model:
    rng = np.random.default_rng(0)
    times = np.arange(2000) * 300_000
    series = {name: (times, rng.normal(size=(2000, 1)) + k) for k, name in enumerate(("b", "a/ü", ""))}
    members = [("autoencoder", SMALL), ("zscore", {"window": 8})]
    empirical = calibration.create("empirical")
    return train_metric(series, members, empirical, time_features=["day"], facts={"data": "noise"})


@pytest.fixture(scope="module")
def table() -> Model:
    rng = np.random.default_rng(0)
    rows = [[float(rng.normal()), str(rng.choice(["x", "y"]))] for _ in range(800)]
    return train_table(
        {"t": rows}, ["n", "c"], ["c"], [("autoencoder", SMALL | {"window": 1})], calibration.create("empirical")
    )


def test_everything_comes_back(model: Model, tmp_path: Path) -> None:
    saved = model_file.save(model, tmp_path / "deep" / "m.safetensors")
    loaded = model_file.load(tmp_path / "deep" / "m.safetensors", saved.hash)
    assert loaded.hash == saved.hash
    assert len(saved.hash) == 64
    for field in ("kind", "time_features", "aggregation", "training_rows", "interval_ms", "window", "channels"):
        assert getattr(loaded, field) == getattr(model, field), field
    assert loaded.facts == json.loads(json.dumps(model.facts))
    assert [d.config for d in loaded.detectors] == [d.config for d in model.detectors]
    assert loaded.calibrator.config == model.calibrator.config
    assert loaded.calibrations.keys() == model.calibrations.keys()
    for name, states in model.calibrations.items():
        assert loaded.calibrations[name].tobytes() == states.tobytes()
        assert loaded.calibrations[name].dtype == states.dtype
        assert loaded.scaling.known[name].tobytes() == model.scaling.known[name].tobytes()
    x = np.random.default_rng(1).normal(size=(100, 8, 3))
    for mine, theirs in zip(loaded.detectors, model.detectors, strict=True):
        assert np.array_equal(mine.score(x).raw, theirs.score(x).raw)


def test_a_table_model_keeps_its_encoder(table: Model, tmp_path: Path) -> None:
    model_file.save(table, tmp_path / "m")
    loaded = model_file.load(tmp_path / "m")
    assert loaded.features is not None
    assert table.features is not None
    assert loaded.features.to_header() == table.features.to_header()
    assert loaded.outlying is not None
    assert table.outlying is not None
    for name, of in table.outlying.arrays().items():
        assert loaded.outlying.arrays()[name].tobytes() == of.tobytes(), name
    assert loaded.outlying.calibrator.config == table.outlying.calibrator.config


def test_saving_twice_gives_the_same_bytes_also_after_loading(model: Model) -> None:
    data = model_file.to_bytes(model)
    assert model_file.to_bytes(model) == data
    assert model_file.to_bytes(model_file.from_bytes(data)) == data


def test_there_is_nothing_in_it_that_runs(model: Model) -> None:
    data = model_file.to_bytes(model)
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    assert set(header["__metadata__"]) == {"tidewatch"}
    assert all(t["dtype"] in {"F32", "F64", "U8", "I64"} for name, t in header.items() if name != "__metadata__")


def test_a_failed_save_leaves_the_old_file(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_bytes(b"old")
    unfitted = replace(model, detectors=(type(model.detectors[0])(model.detectors[0].config),))
    with pytest.raises(ModelFileError, match="autoencoder has not been fitted"):
        model_file.save(unfitted, path)
    assert path.read_bytes() == b"old"
    with pytest.raises(ModelFileError, match="cannot write model file"):
        model_file.save(model, path / "below-a-file")


def test_another_hash_is_refused(model: Model, tmp_path: Path) -> None:
    model_file.save(model, tmp_path / "m")
    with pytest.raises(ModelFileError, match=r"m has SHA-256 \w{64}, not 00: it was changed or is another one"):
        model_file.load(tmp_path / "m", "00")


def test_a_missing_file_is_one_line_that_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"cannot read model file .*nothing.*tidewatch train") as raised:
        model_file.load(tmp_path / "nothing")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("damage", [b"", b"short", b"\xff" * 64, b"PK\x03\x04" + b"\0" * 60])
def test_another_kind_of_file_is_refused(damage: bytes, tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(damage)
    with pytest.raises(ModelFileError, match="is no model file of Tidewatch"):
        model_file.load(tmp_path / "m")


def test_a_truncated_file_is_refused(model: Model, tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(model_file.to_bytes(model)[:-100])
    with pytest.raises(ModelFileError, match="is damaged"):
        model_file.load(tmp_path / "m")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.floats(0, 1, exclude_max=True), to=st.integers(1, 255))
def test_a_file_in_which_any_byte_has_changed_is_refused(model: Model, where: float, to: int) -> None:
    data = bytearray(model_file.to_bytes(model))
    data[int(where * len(data))] ^= to
    with pytest.raises(ModelFileError) as raised:
        model_file.from_bytes(bytes(data), "m")
    assert "\n" not in str(raised.value)


def test_every_byte_of_the_header_counts(model: Model) -> None:
    data = model_file.to_bytes(model)
    (length,) = struct.unpack_from("<Q", data)
    for i in range(8 + length + 8):
        with pytest.raises(ModelFileError):
            model_file.from_bytes(data[:i] + bytes([data[i] ^ 1]) + data[i + 1 :], "m")


def test_a_file_of_format_1_which_carries_no_hash_is_still_read(model: Model) -> None:
    old = changed(model, {"format": 1, "sha256": ...})
    assert model_file.to_bytes(model_file.from_bytes(old)) == model_file.to_bytes(model)


def changed(model: Model, change: dict[str, Any]) -> bytes:
    """The model's file with other values in its header; ... takes a value away."""
    data = model_file.to_bytes(model)
    (length,) = struct.unpack_from("<Q", data)
    outer = json.loads(data[8 : 8 + length])
    header = json.loads(outer["__metadata__"]["tidewatch"])
    # By somebody who knows what they do: the hash is right again, or the change would be noticed by it alone.
    header = {name: value for name, value in {**header, "sha256": "0" * 64, **change}.items() if value is not ...}
    outer["__metadata__"]["tidewatch"] = json.dumps(header)
    text = json.dumps(outer).encode()
    text += b" " * (-len(text) % 8)
    made = struct.pack("<Q", len(text)) + text + data[8 + length :]
    return model_file._sealed(made) if header.get("sha256") == "0" * 64 else made


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": 4}, "format: .*another version of Tidewatch"),
        ({"kind": "image"}, "kind: .*train it again"),
        ({"aggregation": ...}, "aggregation: Field required"),
        ({"strange": 1}, "strange: Extra inputs"),
        ({"detectors": []}, "detectors is empty"),
        ({"detectors": [{"name": "oracle", "version": 1, "config": {}}]}, "there is no detector 'oracle'"),
        ({"detectors": [{"name": "zscore", "version": 99, "config": {}}]}, "zscore has version 99"),
        ({"detectors": [{"name": "zscore", "version": 1, "config": {"windows": 1}}]}, "windows: Extra inputs"),
        ({"detectors": [{"name": "autoencoder", "version": 1, "config": {"window": 9}}]}, "its settings ask for"),
        ({"calibrator": {"name": "guess", "config": {}}}, "guess"),
        ({"series": []}, "series.scaling is float64"),
        ({"sha256": ...}, "sha256 is missing"),
        ({"sha256": "f" * 64}, "is damaged or was changed: it does not have the hash that it carries"),
        ({"sha256": "short"}, "sha256: "),
    ],
)
def test_a_header_that_does_not_fit_is_named_with_file_and_field(
    model: Model, tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(changed(model, change))
    with pytest.raises(ModelFileError, match=says) as raised:
        model_file.load(path)
    assert "m.safetensors" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_loading_does_not_wait_for_torchs_compiler() -> None:
    code = (
        "import sys; from detectors.registry import DETECTORS; from detectors.networks import NetworkDetector\n"
        "for d in DETECTORS.values():\n"
        "    if issubclass(d, NetworkDetector): d()._skeleton()\n"
        "assert not {'torch._dynamo', 'torch._inductor', 'sympy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
