"""From raw scores to calibrated ones: -log10 of the tail probability in the series' own history, clipped to 0..12.

A calibrated score of 3 says: one in a thousand of this series' scores is as high. That makes detectors, series and
streams comparable, and one threshold serve all.

A calibrator is settings and arithmetic; what it learns is a *state*, one numpy record (of `dtype`) per series and member,
kept by whoever owns the series (`pipeline.steps.state` in the stream). Its reference moves on at fixed counts per series
(`step` scores), never at batch borders: a score is compared with the reference of the last full step, so that results
are the same however the stream was cut.

    series a   ···· step ····│···· step ····│··          a score here ──┐
    reference  learnt so far ▲ moves on     ▲ moves on                  ▼ is compared with the last ▲

`Empirical` is the product's default: the rank among the last few thousand scores, continued by a fitted tail.
`GaussianTail`, `Spot` and `Dspot` are the field's other ways.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from detectors.base import DetectorError
from detectors.calibration.base import MAX_CALIBRATED, Calibrator, CalibratorConfig
from detectors.calibration.empirical import Empirical, EmpiricalConfig
from detectors.calibration.gaussian import GaussianTail, GaussianTailConfig
from detectors.calibration.peaks import Dspot, Spot, SpotConfig

__all__ = [
    "CALIBRATORS",
    "MAX_CALIBRATED",
    "Calibrator",
    "CalibratorConfig",
    "Dspot",
    "Empirical",
    "EmpiricalConfig",
    "GaussianTail",
    "GaussianTailConfig",
    "Spot",
    "SpotConfig",
    "create",
]

CALIBRATORS: Mapping[str, type[Calibrator]] = {c.name: c for c in (Empirical, GaussianTail, Spot, Dspot)}


def create(name: str, config: CalibratorConfig | Mapping[str, Any] | None = None) -> Calibrator:
    """A calibrator by name, with its settings (as they stand in a model file's header) or the defaults.

    Raises
    ------
    DetectorError
        No calibrator has that name, or the settings are not those of this one.
    """
    if (kind := CALIBRATORS.get(name)) is None:
        msg = f"no calibrator {name!r}; there are {', '.join(CALIBRATORS)}"
        raise DetectorError(msg)
    if config is None or isinstance(config, CalibratorConfig):
        if config is not None and not isinstance(config, kind.Config):
            msg = f"calibrator {name!r} takes {kind.Config.__name__}, got {type(config).__name__}"
            raise DetectorError(msg)
        return kind(config)
    try:
        return kind(kind.Config.model_validate(dict(config)))
    except ValidationError as error:
        first = error.errors()[0]
        msg = f"calibrator {name!r}: setting {'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise DetectorError(msg) from error
