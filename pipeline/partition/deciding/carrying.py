"""What a decision does to the state of a partition: what is carried over, what starts anew, what is refused.

| what changes | what becomes of the state |
|---|---|
| level, hysteresis, probability | judged by it from the next observation on (a learnt level moves at its series' next step of 64) |
| threshold method | by shadow, where it learns; windows, calibration and alerts stay |
| selectors | the same for the series that they select |
| alert policy, severity levels | alerts that are open go on under it, with their ids; a severity that was reached stays |
| lateness | what waits goes on where it is set to 0 |
| probation | holds for new series, and for those that are in probation |
| partitions | series that hash elsewhere have moved: their alerts end, and they are forgotten here |
| feedback | moves the bar of its series (`pipeline.alerts.selecting.feedback`); an alert that was none ends |
| the model, same shape | windows stay; series that it knows have its calibration and scale, others are in probation again; a judgement begins anew |
| the model, another shape | by shadow (`pipeline.partition.shadows.shadow`); what else the settings say holds at once |
| `channels`, with a model of these | by shadow, which reads each message for itself; refused with `lateness`, for what waits has the old ones alone |
| the model, of another kind, or of other channels that no settings name | refused: what comes is not for both |

docs/decisions.md has the table for users, a test holds each row of it. Everything here is a function of the state and the decision alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, cast

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from pipeline.alerts.attention import STILL
from pipeline.alerts.records import Acknowledged, Alert, Change, Said, Score
from pipeline.alerts.selecting.feedback import Feedback
from pipeline.alerts.writer import Marks
from pipeline.errors import ForeignState, ModelError, SettingsError
from pipeline.partition.core import PartitionCore
from pipeline.partition.deciding.decisions import IN_FORCE, InForce, Line, Shadowed, Tick, unpacked
from pipeline.partition.deciding.growth import Grown, Growth
from pipeline.partition.deciding.what import (
    Acknowledge,
    Close,
    Decision,
    Forget,
    Lift,
    Partitions,
    SettingsOf,
    Silence,
    Undo,
)
from pipeline.partition.settling import Settled
from pipeline.partition.shadows.shadow import Shadow, dropped
from pipeline.partition.stores.base import Checkpoint, Identity
from pipeline.partition.stream import Stream
from pipeline.partition.streams import decided
from pipeline.steps.judgement import decides

_SILENCES_KEPT = 86_400_000
"""Milliseconds of the partition's event time for which a silence that ended is kept, for series that are behind."""

_WORDS = {"kind": "a model of kind", "channels": "channels:", "columns": "the columns"}
"""What two streams must have in common for one to take over from the other."""


def shape_of(stream: Stream) -> dict[str, str]:
    """What cannot change under a state, for whoever has not the model at hand, and what can only by shadow."""
    model = stream.model
    of_kind = {"channels": str(model.channels)}
    if model.features is not None:  # rows are encoded anew, from the same columns
        of_kind = {"columns": ", ".join(model.features.names), "encoded": str(model.channels)}
    if (
        named := stream.settings.channels
    ):  # each message has them by name, those that one model takes and those that another does
        of_kind |= {"named": ", ".join(named), "waits": "yes" if stream.settings.lateness else ""}
    return {
        "kind": model.kind,
        "window": str(model.window),
        **of_kind,
        "members": model.detector_name,
        "calibration": str(model.calibrator.dtype.descr),
        "kept": str(stream.windows.dtype.descr),
        "judgement": "" if model.judgement is None else str(model.judgement.state_dtype.descr),
        "outlying": "" if model.outlying is None else str(model.outlying.dtype.descr),
    }


def differing(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    """Why a state of shape `old` cannot go on as `new`, in words; empty where it can, be it by shadow. What is not said differs in nothing."""
    others = old.get("named", new.get("named")) != new.get("named", old.get("named"))
    if others and new.get("waits"):
        return f"the channels {new['named']}, and the state is of {old['named']}; set lateness to 0 until they have taken over: what waits has the old ones alone"
    for name, meaning in _WORDS.items():
        if name in old and name in new and old[name] != new[name] and not (others and name == "channels"):
            return f"{meaning} {new[name]}, and the state is of {old[name]}"
    return ""


def learns_first(old: Stream, new: Stream) -> bool:
    """Whether what `new` is judged by must learn before it judges, where `old` judges now."""
    then, now = shape_of(old), shape_of(new)
    now = {"named": then.get("named", ""), **now}
    if any(then[name] != now.get(name) for name in then if name not in (*_WORDS, "waits")):
        return True
    return old.threshold.dtype != new.threshold.dtype and new.threshold.learns and not _by_judgement(new)


def observations_first(old: Stream, new: Stream) -> int:
    """About how many observations of a series `new` must learn from before it judges, where `old` judges now and the model knows nothing; 0: none."""
    return max(Shadow(new, old).need, 1) if learns_first(old, new) else 0


def _by_judgement(stream: Stream) -> bool:
    return stream.model.judgement is not None and decides(stream.model, stream.settings)


@dataclass(frozen=True, slots=True)
class Effect:
    """What decisions led to: the partition as it is now, what is in force, alert records; why settings were refused, "" where none were.

    `waited` is what had waited for older observations and was judged now; its alerts are among `alerts`, its `scores` are of before a series of it was
    forgotten.
    """

    core: PartitionCore
    in_force: InForce
    alerts: list[Alert]
    refused: str
    waited: Sequence[Settled] = ()
    scores: Sequence[Score] = ()


def applied(core: PartitionCore, held: InForce, taken: Line | Grown, streams: Callable[[InForce], Stream]) -> Effect:
    """Let decisions that were taken together, a tick, or partitions that were told of, take effect. Of several settings only the last are ever used.

    Raises
    ------
    ModelError, SettingsError
        What is in force now is not at hand.
    """
    if isinstance(taken, Tick):
        now = replace(held, tick=taken.number)
        hold(core, now)
        said, settled = core.tick(taken.event_time, max(taken.offset - 1, 0))
        return Effect(core, now, said, "", settled, _scores(core, settled))
    if isinstance(taken, Grown):
        return _grown(core, held, taken)
    last, alerts, refused = last_settings(taken.decisions), list[Alert](), ""
    waited: Sequence[Settled] = ()
    scores: Sequence[Score] = ()
    for at, decision in enumerate(taken.decisions):
        now = in_force_after(held, decision, taken.offset, core.watermark)
        if at == last:
            stream = streams(now)
            if not len(core.state):
                core = _begun(core, stream)
            elif refused := differing(shape_of(core.stream), shape_of(stream)):
                now = replace(held, serial=decision.serial, offset=taken.offset)
            else:
                now, judge, shadow = _judging(core, held, now, stream, streams)
                core, more, waited, scores = replaced(core, judge, shadow, taken.offset)
                alerts += more
        elif isinstance(decision.what, SettingsOf):
            now = replace(held, serial=decision.serial, offset=taken.offset)
        elif isinstance(decision.what, Partitions) and decision.what.log == taken.log:
            what = decision.what
            growth = held.growth.hear(what.count, end=what.end(core.partition), offset=taken.offset)
            now = replace(now, growth=growth)
        hold(core, now)
        alerts += decide(core, decision)
        told = core.life.records.marks.acknowledged
        if told or now.acknowledged:
            open_ids = core.life.open_ids(core.state)
            now = replace(now, acknowledged={i: said for i, said in told.items() if i in open_ids})
            hold(core, now)
        held = now
    return Effect(core, held, alerts, refused, waited, scores)


def _grown(core: PartitionCore, held: InForce, grown: Grown) -> Effect:
    """The topic has more partitions: end the alerts of the series that moved to another one, and forget these series."""
    now = replace(held, growth=held.growth.grown())
    hold(core, now)
    gone = core.moved(held.growth.count, grown.partitions)
    waited = [settled for _, settled in core.wait_no_longer(gone, offset=grown.offset - 1)]
    alerts = [a for settled in waited for a in settled.alerts]
    scores = _scores(core, waited)
    alerts += core.life.ended(core.state, gone, core.watermark, "moved")
    core.forget(gone)
    return Effect(core, now, alerts, "", waited, scores)


def looked(core: PartitionCore, held: InForce, offset: int, streams: Callable[[InForce], Stream]) -> Effect | None:
    """Look at the shadow before the record at an offset, where it is time to; what its taking over led to, None where it does not.

    Raises
    ------
    ModelError, SettingsError
        As `applied`.
    """
    shadow = core.shadow
    if shadow is None or held.shadow is None or offset < shadow.next_look(core.state):
        return None
    if not shadow.standing(core.state, core.learning).over:
        shadow.look_again(core.state, offset)
        return None
    now = held.taken_over()
    core, alerts, waited, scores = replaced(core, streams(now), None, offset, by_shadow=True)
    hold(core, now)
    return Effect(core, now, alerts, "", waited, scores)


def _judging(
    core: PartitionCore, held: InForce, now: InForce, stream: Stream, streams: Callable[[InForce], Stream]
) -> tuple[InForce, Stream, Stream | None]:
    """What is in force where settings were decided, what judges, and what learns beside it.

    Where the new model or threshold must learn first, the old ones judge until then, under all else that the new settings say. Where these do not
    fit an old model, the old settings hold until then.
    """
    if not learns_first(core.stream, stream):
        return now, stream, None
    old = decided(core.stream.settings)
    shadow = Shadowed(now.serial, now.offset, now.settings or {}, now.model, now.path)
    path = held.path or str(core.stream.settings.model)
    judging = replace(now, model=core.stream.model.hash, path=path, shadow=shadow)
    try:
        kept = {"threshold": old["threshold"], "channels": old["channels"]}
        mixed = replace(judging, settings={**shadow.settings, **kept})
        return mixed, streams(mixed), stream
    except (SettingsError, ModelError):
        return replace(judging, settings=old), core.stream, stream


def replaced(
    core: PartitionCore, judge: Stream, shadow: Stream | None, offset: int, *, by_shadow: bool = False
) -> tuple[PartitionCore, list[Alert], Sequence[Settled], Sequence[Score]]:
    """The same partition judged by another stream from an offset on; alerts, and what had waited and waits no more, with its scores."""
    alerts: list[Alert] = []
    waited: Sequence[Settled] = ()
    scores: Sequence[Score] = ()
    if core.waits and not judge.settings.lateness:
        waited = [settled for _, settled in core.wait_no_longer(offset=offset - 1)]
        alerts += [a for settled in waited for a in settled.alerts]
        scores = _scores(core, waited)
    core = carried(core, judge, shadow, offset, by_shadow=by_shadow)
    alerts += core.wait_no_more() if core.patience is None else []
    return core, alerts, waited, scores


def _scores(core: PartitionCore, waited: Sequence[Settled]) -> list[Score]:
    if not core.stream.settings.score_topic:
        return []
    return [score for settled in waited for score in core.life.records.scores(core.state, settled.scored)]


def hold(core: PartitionCore, in_force: InForce) -> None:
    """Let the state, what is said of alerts, and how many share a budget, be of what is in force."""
    core.state.in_force = in_force.packed() if in_force != InForce() else b""
    core.state.bounds.pop(STILL, None)
    core.partitions = max(in_force.growth.count, 1)
    core.life.records.marks = Marks(in_force.silences, in_force.acknowledged)


def last_settings(decisions: Sequence[Decision]) -> int | None:
    """Where the last settings stand among decisions; None where there are none."""
    return max((i for i, d in enumerate(decisions) if isinstance(d.what, SettingsOf)), default=None)


def in_force_after(held: InForce, decision: Decision, offset: int, now: int = 0) -> InForce:
    """What is in force when a decision was taken at an offset, at an event time `now` of the partition."""
    what = decision.what
    changed: dict[str, Any] = {"serial": decision.serial, "offset": offset}
    if isinstance(what, SettingsOf):
        changed |= {"settings": what.settings, "model": what.model, "path": what.path, "shadow": None}
    elif isinstance(what, Silence):
        kept = (s for s in held.silences if not 0 < s.until < now - _SILENCES_KEPT)
        changed["silences"] = (*kept, what.in_force(decision.serial))
    elif isinstance(what, Lift):
        changed["silences"] = tuple(s for s in held.silences if s.serial != what.silence)
    return replace(held, **changed)


def carried(
    core: PartitionCore, stream: Stream, shadow: Stream | None = None, offset: int = 0, *, by_shadow: bool = False
) -> PartitionCore:
    """The same partition under other settings, or another model of the same shape, or (`by_shadow`) what its shadow has learnt.

    `core` is not to be used any more. Open alerts keep their ids, also where these would follow from another detector's name now.
    A `shadow` begins at an offset, or goes on where it is the one that learns already.
    """
    old, new = core.stream, PartitionCore(stream, core.partition, shadow)
    before = core.state
    if by_shadow:
        assert core.shadow is not None
        before = core.shadow.in_place(before)
    state = new.state = before.carried(new.state.components, max_series=stream.settings.max_series)
    if not by_shadow:
        _learn_on(core, new)
    if (old.model.detector_name, old.model.detector_version) != (
        stream.model.detector_name,
        stream.model.detector_version,
    ):
        core.life.keep_ids(state)
        new.life.rename_members(state, core.life.records.members)
    if core.patience is None and new.patience is not None:
        new.wait_from_here()
    if new.waits and not core.waits:
        new.wait_for_order()
    if old.settings.alerts.update_every != stream.settings.alerts.update_every:
        new.life.reschedule(state)
    _shadow_on(core, new, offset)
    return new


def _learn_on(core: PartitionCore, new: PartitionCore) -> None:
    """What was learnt of a series goes on under settings that were changed."""
    old, stream, state = core.stream, new.stream, new.state
    if old.threshold.dtype != stream.threshold.dtype:
        new.learning.begin_threshold(state)
    elif (old.settings.threshold, old.settings.select) != (stream.settings.threshold, stream.settings.select):
        stream.threshold.changed(state.arrays["threshold"])
        state.touch(state.rows())
    if old.settings.probation != stream.settings.probation:
        _set_probation(new)
    if old.model.hash != stream.model.hash:
        _set_model(new)


def _shadow_on(core: PartitionCore, new: PartitionCore, offset: int) -> None:
    """A shadow begins, or goes on where the settings that it is for changed in what it has not learnt."""
    if new.shadow is None:
        dropped(new.state)
    elif core.shadow is not None and new.shadow.goes_on_from(core.shadow):
        new.shadow.go_on(new.state)
    else:
        for name in new.shadow.components:
            new.state.arrays[name][:] = np.zeros((), new.state.components[name])
        new.shadow.begin(new.state, offset)


def decide(core: PartitionCore, decision: Decision) -> list[Alert]:
    """Let people's word about alerts and series take effect; the records that follow from it. Settings are `carried`."""
    what, state = decision.what, core.state
    if isinstance(what, Lift):
        return core.life.unsilenced(state, core.watermark)
    if isinstance(what, Feedback):
        return _feedback(core, what, decision)
    if isinstance(what, Undo):
        core.life.not_suppressed(state, core.bars.take_back(state, what.feedback))
        return core.life.unacknowledge(state, core.watermark, what.feedback)
    if not isinstance(what, (Acknowledge, Close, Forget)):
        return []
    rows = _matching(core, what.series)
    if isinstance(what, Acknowledge):
        return core.life.acknowledge(state, rows, core.watermark, Acknowledged(decision.serial, decision.by))
    change: Change = "closed" if isinstance(what, Close) else "forgotten"
    alerts = core.life.ended(state, rows, core.watermark, change)
    if isinstance(what, Forget):
        core.forget(rows)
    return alerts


def _feedback(core: PartitionCore, what: Feedback, decision: Decision) -> list[Alert]:
    """What was said of a series that is here moves its bar; an alert that was none ends, and where one was missed, the next may begin at once."""
    state = core.state
    row = state.row_of(what.series)
    if row is None:
        return []
    # It ages from the series' newest time on; rows of a table have none of their own.
    metric = core.stream.model.kind == "metric"
    newest = int(state.arrays["windows"]["last"][row]) if metric else max(core.watermark, what.until)
    core.bars.take(state, row, decision.serial, what, newest)
    if what.said == "missed":
        core.life.not_suppressed(state, [row])
        return []
    return core.life.ended_by_word(state, row, core.watermark, what.alert, Said(what.said, decision.by, what.why))


def _begun(core: PartitionCore, stream: Stream) -> PartitionCore:
    """A partition without a series, under other settings: nothing is to be carried but how far rows were counted."""
    new = PartitionCore(stream, core.partition)
    new.state.scalars = core.state.scalars
    return new


def in_force_of(stored: Checkpoint) -> InForce:
    """What was in force when a state was stored."""
    try:
        held = unpacked(stored.fields.get(IN_FORCE))
    except msgspec.MsgspecError as error:
        msg = f"the stored state says what is in force in a way that this version cannot read ({error}): start the version that wrote it"
        raise ForeignState(msg) from error
    if held.growth.told:
        return held
    return replace(held, growth=Growth.stored(stored.identity))


def check_model(identity: Identity, stream: Stream) -> None:
    """Of formats up to 3 nobody knows the model but by its hash: another one cannot take over its calibration."""
    if identity.model_hash and stream.model.hash and identity.model_hash != stream.model.hash:
        msg = (
            f"the stored state of stream {stream.name} is of model file {identity.model_hash[:12]} and of a version before decisions, here is "
            f"{stream.model.hash[:12]}: start this version once with the model file that it ran with, then change it"
        )
        raise ForeignState(msg)


def _matching(core: PartitionCore, pattern: str) -> NDArray[np.intp]:
    rows = core.state.rows()
    names = core.state.names
    return rows[[fnmatchcase(cast("str", names[row]), pattern) for row in rows.tolist()]] if len(rows) else rows


def _set_probation(core: PartitionCore) -> None:
    rows = core.state.rows()
    admission, ordinals = core.state.arrays["admission"], core.state.arrays["windows"]["ordinal"]
    waiting = rows[(ordinals[rows] <= admission["probation"][rows]) & (admission["training"][rows] == 0)]
    admission["probation"][waiting] = core.stream.settings.probation
    core.state.touch(waiting)


def _set_model(core: PartitionCore) -> None:
    state, model = core.state, core.stream.model
    rows = state.rows()
    admission, ordinals = state.arrays["admission"], state.arrays["windows"]["ordinal"]
    for row in rows.tolist():
        name, ordinal = cast("str", state.names[row]), int(ordinals[row])
        calibration = model.calibrations.get(name)
        members = state.arrays["calibration"]["members"]
        if calibration is None:
            members[row] = np.zeros((), members.dtype)
            admission[row] = (0, ordinal + core.stream.settings.probation)
        else:
            members[row] = calibration
            trained = min(model.training_rows.get(name) or 0, ordinal)
            admission[row] = (trained, trained)
    core.stream.windows.admit(state, rows.tolist())
    core.learning.judge_anew(state)
    state.touch(rows)
