"""Reading and writing a model file: safetensors, with one typed header in the metadata. Nothing in it is code.

    metadata  "tidewatch": Header as JSON (detectors' names and settings, scaling, features, calibrator, facts)
    tensors   detector.<m>.<name>   what member m learnt
              judgement.<name>      what the judgement learnt, where there is one
              series.scaling        (S, 2, C) float64, centre and scale of the S known series
              series.calibration    (S, M, bytes) uint8, calibration states as they lie in memory

A file is a function of the model: saving the same model twice gives the same bytes, and a loaded model scores bit-equal
to the one that was saved. The header holds the SHA-256 of the whole file, taken with zeros in its own place, and loading checks it:
a file in which any byte has changed is refused.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator
from pydantic_core import PydanticSerializationError

from detectors import calibration, registry
from detectors.base import Detector, DetectorError
from detectors.calibration import Calibrator
from detectors.features import FeatureEncoder
from detectors.judgement import VERSION
from detectors.judgement.calendar import Calendar, Holidays
from detectors.model import Aggregation, History, Model
from detectors.outlying import Outlying
from detectors.scaling import SeriesScaling

if TYPE_CHECKING:
    from detectors.judgement.population import Population

FORMAT = 3
"""3 may hold a judgement, or is of a table, whose usual values and ranking it holds; else a file is of format 2, as before. 1, which does not carry its hash, is still read."""
_KEY = "tidewatch"
_UNSEALED = "0" * 64


class ModelFileError(DetectorError):
    """A model file is missing, damaged, changed or of another version; names file, field and mend."""


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MemberHeader(_Table):
    """One detector."""

    name: str
    version: int
    config: dict[str, JsonValue]


class CalibratorHeader(_Table):
    """The calibrator."""

    name: str
    config: dict[str, JsonValue]


class ScalingHeader(_Table):
    """How series are scaled; centre and scale of the known ones are a tensor."""

    method: str
    learn_rows: int


class SeriesHeader(_Table):
    """One known series, in the order of the tensors' first dimension."""

    name: str
    training_rows: int
    interval_ms: int
    scaled: bool
    calibrated: bool


class HistoryHeader(_Table):
    """What one series' judgement was learnt from."""

    until: int
    negative: tuple[int, ...]


class HolidaysHeader(_Table):
    """Which days were judged and taught as a day of rest, 0 is Monday."""

    days: dict[str, str]
    rest: int = Field(ge=0, le=6)


class JudgementHeader(_Table):
    """What judges beside the members; what it learnt are tensors."""

    version: int
    time_zone: str
    histories: dict[str, HistoryHeader]
    holidays: HolidaysHeader | None = None

    @property
    def calendar(self) -> Calendar:
        """Whose day, week and holidays it learnt. Raises ValueError."""
        if self.holidays is None:
            return Calendar(self.time_zone)
        return Calendar(self.time_zone, Holidays.read(self.holidays.days, self.holidays.rest))


class OutlyingHeader(_Table):
    """What ranks the rows of a table; what is usual of each series are tensors, in the order of `series`."""

    calibrator: CalibratorHeader
    series: tuple[str, ...]


class Header(_Table):
    """Everything of a model but its tensors."""

    format: Literal[1, 2, 3]
    kind: Literal["metric", "table"]
    detectors: tuple[MemberHeader, ...]
    calibrator: CalibratorHeader
    scaling: ScalingHeader
    features: dict[str, JsonValue] | None
    time_features: tuple[str, ...]
    aggregation: Aggregation
    series: tuple[SeriesHeader, ...]
    facts: dict[str, JsonValue]
    judgement: JudgementHeader | None = None
    outlying: OutlyingHeader | None = None
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")

    @model_validator(mode="after")
    def _hash_since_2(self) -> Self:
        if self.format > 1 and self.sha256 is None:
            msg = "sha256 is missing"
            raise ValueError(msg)
        return self


def save(model: Model, path: Path | str) -> Model:
    """Write `model` to `path`, in place of a file that is there, and return it with the file's hash.

    Raises
    ------
    ModelFileError
        A detector has not been fitted, facts or names are not JSON, or the file cannot be written.
    """
    path = Path(path)
    data = to_bytes(model)
    try:
        beside = path.with_name(path.name + ".part")
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(data)
        beside.replace(path)
    except (OSError, ValueError) as error:  # ValueError: a path with a zero byte
        msg = f"cannot write model file {path}: {getattr(error, 'strerror', None) or error}"
        raise ModelFileError(msg) from error
    return replace(model, hash=hashlib.sha256(data).hexdigest())


def load(path: Path | str, sha256: str | None = None) -> Model:
    """Read a model file.

    Parameters
    ----------
    sha256
        The hash that the file must have, if known.

    Raises
    ------
    ModelFileError
        The file is missing, has another hash, is no model file, is damaged, or needs another version.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a path with a zero byte
        why = getattr(error, "strerror", None) or error
        msg = f"cannot read model file {path}: {why} (`tidewatch train` writes one)"
        raise ModelFileError(msg) from error
    actual = hashlib.sha256(data).hexdigest()
    if sha256 is not None and sha256.lower() != actual:
        msg = f"model file {path} has SHA-256 {actual}, not {sha256}: it was changed or is another one; fetch it again"
        raise ModelFileError(msg)
    return replace(from_bytes(data, str(path)), hash=actual)


def to_bytes(model: Model) -> bytes:
    """Return what `save` writes."""
    names = sorted({*model.scaling.known, *model.calibrations, *model.training_rows, *model.interval_ms})
    tensors: dict[str, NDArray[Any]] = {}
    for m, detector in enumerate(model.detectors):
        if not detector.fitted:
            msg = f"{detector.name} has not been fitted, so there is nothing to save: call fit first"
            raise ModelFileError(msg)
        tensors |= {f"detector.{m}.{name}": np.asarray(a, order="C") for name, a in detector.arrays().items()}
    shape = (len(names), len(model.detectors), model.calibrator.dtype.itemsize)
    states = np.zeros(shape, np.uint8)
    scaling = np.zeros((len(names), 2, model.channels))
    for i, name in enumerate(names):
        if name in model.calibrations:
            state = np.ascontiguousarray(model.calibrations[name], model.calibrator.dtype)
            states[i] = state.view(np.uint8).reshape(shape[1:])
        if name in model.scaling.known:
            scaling[i] = model.scaling.known[name]
    tensors |= {"series.calibration": states, "series.scaling": scaling}
    if model.judgement is not None:
        tensors |= {f"judgement.{name}": np.asarray(a, order="C") for name, a in model.judgement.arrays().items()}
    if (outlying := model.outlying) is not None:
        tensors |= {f"outlying.{name}": np.asarray(a, order="C") for name, a in outlying.arrays().items()}
    absent: dict[str, Any] = {name: True for name in ("judgement", "outlying") if getattr(model, name) is None}
    if not model.calendar.holidays:
        absent.setdefault("judgement", {"holidays"})
    try:
        header = _header_of(model, names).model_dump_json(exclude=absent)
    except (ValidationError, PydanticSerializationError) as error:
        msg = f"the model cannot be written: {_line(error)}; facts hold JSON only, and names are Unicode text"
        raise ModelFileError(msg) from error
    # One key only: safetensors writes several in any order.
    return _sealed(safetensors.numpy.save(tensors, metadata={_KEY: header}))


def _header_of(model: Model, names: Sequence[str]) -> Header:
    return Header(
        format=2 if model.judgement is None and model.features is None else FORMAT,
        kind=model.kind,
        detectors=tuple(
            MemberHeader(name=d.name, version=d.version, config=d.config.model_dump(mode="json"))
            for d in model.detectors
        ),
        calibrator=_calibrator_of(model.calibrator),
        scaling=ScalingHeader(method=model.scaling.method, learn_rows=model.scaling.learn_rows),
        features=None if model.features is None else dict(model.features.to_header()),
        time_features=tuple(model.time_features),
        aggregation=model.aggregation,
        series=tuple(
            SeriesHeader(
                name=name,
                training_rows=model.training_rows.get(name, 0),
                interval_ms=model.interval_ms.get(name, 0),
                scaled=name in model.scaling.known,
                calibrated=name in model.calibrations,
            )
            for name in names
        ),
        facts=dict(model.facts),
        judgement=None
        if model.judgement is None
        else JudgementHeader(
            version=VERSION,
            time_zone=model.calendar.time_zone,
            histories={n: HistoryHeader(until=h.until, negative=h.negative) for n, h in model.histories.items()},
            holidays=HolidaysHeader(days=model.calendar.holidays.by_year(), rest=model.calendar.holidays.rest),
        ),
        outlying=None
        if model.outlying is None
        else OutlyingHeader(calibrator=_calibrator_of(model.outlying.calibrator), series=tuple(model.outlying.series)),
        sha256=_UNSEALED,
    )


def _calibrator_of(calibrator: Calibrator) -> CalibratorHeader:
    return CalibratorHeader(name=calibrator.name, config=calibrator.config.model_dump(mode="json"))


def _sealed(data: bytes) -> bytes:
    """The file with its hash in the place of the zeros."""
    at = _place(data, _UNSEALED)
    return data[:at] + hashlib.sha256(data).hexdigest().encode() + data[at + 64 :]


def _check_seal(data: bytes, sha256: str, source: str) -> None:
    try:
        at = _place(data, sha256)
    except ValueError:  # written in another way than here
        actual = None
    else:
        unsealed = hashlib.sha256(data[:at])
        unsealed.update(_UNSEALED.encode())
        unsealed.update(data[at + 64 :])
        actual = unsealed.hexdigest()
    if actual != sha256:
        msg = f"model file {source} is damaged or was changed: it does not have the hash that it carries; fetch or train it again"
        raise ModelFileError(msg)


def _place(data: bytes, sha256: str) -> int:
    """Where the hash stands: the header is the last text in front of the tensors, and the hash is its last member."""
    return data.rindex(sha256.encode(), 0, 8 + struct.unpack_from("<Q", data)[0])


def from_bytes(data: bytes, source: str = "model") -> Model:
    """Rebuild a model from what `to_bytes` returned; `source` names it in errors."""
    header = _header(data, source)
    if header.sha256 is not None:
        _check_seal(data, header.sha256, source)
    try:
        tensors = safetensors.numpy.load(data)
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        msg = f"model file {source} is damaged: {_line(error)}; fetch or train it again"
        raise ModelFileError(msg) from error
    try:
        return _assemble(header, tensors)
    except ModelFileError as error:
        msg = f"model file {source}: {error}"
        raise ModelFileError(msg) from error
    except (DetectorError, ValidationError) as error:
        msg = f"model file {source}: {_line(error)}; train it again with this version"
        raise ModelFileError(msg) from error


def _assemble(header: Header, tensors: Mapping[str, NDArray[Any]]) -> Model:
    if not header.detectors:
        msg = "detectors is empty; train it again"
        raise ModelFileError(msg)
    detectors = tuple(_detector(m, member, tensors) for m, member in enumerate(header.detectors))
    calibrator = calibration.create(header.calibrator.name, header.calibrator.config)
    S, M, C = len(header.series), len(detectors), detectors[0].config.channels
    scaling = _tensor(tensors, "series.scaling", np.float64, (S, 2, C))
    states = _tensor(tensors, "series.calibration", np.uint8, (S, M, calibrator.dtype.itemsize))
    return Model(
        kind=header.kind,
        detectors=detectors,
        calibrator=calibrator,
        scaling=SeriesScaling(
            method=header.scaling.method,
            known={s.name: scaling[i] for i, s in enumerate(header.series) if s.scaled},
            learn_rows=header.scaling.learn_rows,
        ),
        features=None if header.features is None else FeatureEncoder.from_header(header.features),
        time_features=header.time_features,
        aggregation=header.aggregation,
        training_rows={s.name: s.training_rows for s in header.series},
        calibrations=_states(header.series, states, calibrator),
        interval_ms={s.name: s.interval_ms for s in header.series},
        facts=header.facts,
        judgement=None if header.judgement is None else _judgement(header.judgement, tensors, C),
        calendar=_calendar(header.judgement),
        histories={}
        if header.judgement is None
        else {n: History(h.until, h.negative) for n, h in header.judgement.histories.items()},
        outlying=None if header.outlying is None else _outlying(header.outlying, tensors, M),
    )


def _outlying(header: OutlyingHeader, tensors: Mapping[str, NDArray[Any]], members: int) -> Outlying:
    calibrator = calibration.create(header.calibrator.name, header.calibrator.config)
    S = len(header.series)
    middle, high = (_tensor(tensors, f"outlying.{name}", np.float64, (S, members)) for name in ("middle", "high"))
    tail = _tensor(tensors, "outlying.tail", np.uint8, (S, calibrator.dtype.itemsize))
    return Outlying.from_arrays(header.series, calibrator, middle, high, tail)


def _calendar(header: JudgementHeader | None) -> Calendar:
    if header is None:
        return Calendar()
    try:
        return header.calendar
    except ValueError as error:
        msg = f"its holidays are no dates ({_line(error)}); train it again"
        raise ModelFileError(msg) from error


def _judgement(header: JudgementHeader, tensors: Mapping[str, NDArray[Any]], channels: int) -> Population:
    from detectors.judgement.population import Population

    if header.version != VERSION:
        msg = f"its judgement has version {header.version}, this program judges by version {VERSION}; train it again"
        raise ModelFileError(msg)
    arrays = {name.removeprefix("judgement."): a for name, a in tensors.items() if name.startswith("judgement.")}
    try:
        judgement = Population.from_arrays(arrays)
    except (KeyError, ValueError, IndexError, TypeError) as error:
        msg = f"its judgement is incomplete ({_line(error)}); train it again with this version"
        raise ModelFileError(msg) from error
    if judgement.channels != channels:
        msg = f"its judgement is of {judgement.channels} channels, its detectors of {channels}; train it again"
        raise ModelFileError(msg)
    return judgement


def _detector(m: int, member: MemberHeader, tensors: Mapping[str, NDArray[Any]]) -> Detector:
    kind = registry.find(member.name)
    if member.version != kind.version:
        msg = f"{member.name} has version {member.version}, this program scores version {kind.version}; train it again"
        raise ModelFileError(msg)
    prefix = f"detector.{m}."
    arrays = {name.removeprefix(prefix): a for name, a in tensors.items() if name.startswith(prefix)}
    return kind.from_arrays(kind.Config.model_validate(member.config), arrays)


def _states(
    series: tuple[SeriesHeader, ...], states: NDArray[np.uint8], calibrator: Calibrator
) -> dict[str, NDArray[Any]]:
    return {s.name: states[i].reshape(-1).view(calibrator.dtype).copy() for i, s in enumerate(series) if s.calibrated}


def _tensor(
    tensors: Mapping[str, NDArray[Any]], name: str, dtype: type[np.generic], shape: tuple[int, ...]
) -> NDArray[Any]:
    found = tensors.get(name)
    if found is None or found.shape != shape or found.dtype != dtype:
        have = "missing" if found is None else f"{found.dtype} {found.shape}"
        msg = f"{name} is {have}, not {np.dtype(dtype)} {shape}; train it again with this version"
        raise ModelFileError(msg)
    return found


def _header(data: bytes, source: str) -> Header:
    """Read the header; the length and JSON in front of the tensors are safetensors' own format."""
    try:
        (length,) = struct.unpack_from("<Q", data)
        text = json.loads(data[8 : 8 + length])["__metadata__"][_KEY]
    except (struct.error, ValueError, KeyError, TypeError, RecursionError) as error:
        msg = f"{source} is no model file of Tidewatch; `tidewatch train` writes one"
        raise ModelFileError(msg) from error
    try:
        return Header.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "header"
        mend = "it needs another version of Tidewatch" if field == "format" else "train it again with this version"
        msg = f"model file {source}: {field}: {first['msg']}; {mend}"
        raise ModelFileError(msg) from error


def _line(error: Exception) -> str:
    """One line of an error that may have several."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return str(error).splitlines()[0] if str(error) else type(error).__name__
