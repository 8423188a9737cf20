"""A training run's checkpoint: one file beside the output, renewed after every epoch, deleted when the model is saved.

    member.<m>.state.<name>    the member under way: all that its training needs to go on
    member.<m>.learnt.<name>   a member that is done: what its model file would hold, and its learning curves
    member.<m>.fingerprint     SHA-256 of the member's settings and windows; of others it is refused

Like a model file it is safetensors: nothing in it is code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from detectors.base import Detector, DetectorConfig, DetectorError, TrainingReport

Arrays = Mapping[str, NDArray[Any]]


class TrainingCheckpoint:
    """The checkpoint at `path`, or an empty one where there is none.

    Raises
    ------
    DetectorError
        The file is no checkpoint, or cannot be read or written; the message names it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._arrays: dict[str, NDArray[Any]] = {}
        try:
            self._arrays = safetensors.numpy.load(path.read_bytes())
        except FileNotFoundError:
            pass
        except (OSError, safetensors.SafetensorError, ValueError, KeyError) as error:
            msg = f"training checkpoint {path} cannot be read ({str(error).splitlines()[0]}); delete it to start anew"
            raise DetectorError(msg) from error

    @property
    def empty(self) -> bool:
        """Whether there is nothing to go on from."""
        return not self._arrays

    def take_up(self, m: int, member: Detector, fingerprint: NDArray[np.uint8]) -> TrainingReport | None:
        """Bring member m to where it was: its report if it is done, else None, and `fit` will go on from here.

        Raises
        ------
        DetectorError
            It was training with other settings or on other data.
        """
        of = self._part(f"member.{m}.")
        if not of:
            return None
        if not np.array_equal(of.pop("fingerprint", np.empty(0)), fingerprint):
            msg = f"training checkpoint {self.path} is of other settings or other data; delete it to start anew"
            raise DetectorError(msg)
        learnt = {name.removeprefix("learnt."): a for name, a in of.items() if name.startswith("learnt.")}
        if not learnt:
            member.checkpoint = {name.removeprefix("state."): a for name, a in of.items()}
            return None
        report = TrainingReport(
            epochs=len(of["curve.train"]),
            best_epoch=int(of["best_epoch"][0]),
            train_loss=of["curve.train"].tolist(),
            validation_loss=of["curve.validation"].tolist(),
            stopped_early=bool(of["best_epoch"][1]),
        )
        member.adopt(learnt)
        return report

    def under_way(self, m: int, member: Detector, fingerprint: NDArray[np.uint8]) -> None:
        """Keep where the training of member m is."""
        if member.checkpoint is not None:
            state = {f"state.{name}": a for name, a in member.checkpoint.items()}
            self._keep(m, {**state, "fingerprint": fingerprint})

    def done(self, m: int, member: Detector, report: TrainingReport, fingerprint: NDArray[np.uint8]) -> None:
        """Keep what member m learnt."""
        learnt = {f"learnt.{name}": np.asarray(a, order="C") for name, a in member.arrays().items()}
        curves = {
            "curve.train": np.array(report.train_loss),
            "curve.validation": np.array(report.validation_loss),
            "best_epoch": np.array([report.best_epoch, report.stopped_early], np.int64),
        }
        self._keep(m, {**learnt, **curves, "fingerprint": fingerprint} if learnt else {})

    def delete(self) -> None:
        """Remove the file: the run is over."""
        self.path.unlink(missing_ok=True)

    def _part(self, prefix: str) -> dict[str, NDArray[Any]]:
        return {name.removeprefix(prefix): a for name, a in self._arrays.items() if name.startswith(prefix)}

    def _keep(self, m: int, arrays: Arrays) -> None:
        prefix = f"member.{m}."
        others = {name: a for name, a in self._arrays.items() if not name.startswith(prefix)}
        self._arrays = {**others, **{prefix + name: a for name, a in arrays.items()}}
        beside = self.path.with_name(self.path.name + ".part")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_bytes(safetensors.numpy.save(self._arrays))
            beside.replace(self.path)
        except OSError as error:
            msg = f"cannot write training checkpoint {self.path}: {error.strerror or error}"
            raise DetectorError(msg) from error


def fingerprint(config: DetectorConfig, *arrays: NDArray[Any]) -> NDArray[np.uint8]:
    """SHA-256 of settings and data: what a checkpoint belongs to."""
    digest = hashlib.sha256(config.model_dump_json().encode())
    for a in arrays:
        digest.update(np.ascontiguousarray(a).data)
    return np.frombuffer(digest.digest(), np.uint8)
