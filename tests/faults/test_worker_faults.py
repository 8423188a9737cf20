"""Workers that are killed, paused, multiplied: what they leave is what an undisturbed one leaves, byte for byte."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faults.guarantee import Guarantee
from faults.offsets import watched
from faults.planted import HOLE
from faults.proxy import Proxy
from faults.verdict import gave_up, said, seen
from faults.world import PATIENCE, Outcome, Worker, World

from pipeline.partition.stores.redis import _Script

pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(600)]

KILLED = Guarantee(
    "10-killed",
    "`kill -9` of a worker at random moments",
    "nothing lost, nothing twice",
    "two workers (static members), one of them killed again and again at random moments of one replay, start-up included",
)
ZOMBIE = Guarantee(
    "11-zombie",
    "a zombie: a worker paused past its session timeout, then continued",
    "its checkpoint is refused, its alerts are identical",
    "SIGSTOP with work done and not yet checkpointed, SIGCONT after another worker had taken over and gone on; twice",
)
STALE_CLAIM = Guarantee(
    "12-stale-claim",
    "a zombie paused just before its claim",
    "the claim that comes too late does no harm",
    "the claim kept back on its way to Redis, the worker paused, another one takes over; then the claim arrives, then SIGCONT",
)
SCALED = Guarantee(
    "13-scaled",
    "workers 1 → 4 → 2 → 1 under load",
    "nothing lost, nothing twice",
    "workers started and stopped (SIGTERM) while records come, with dynamic and with static membership",
)
STOPPED = Guarantee(
    "14-stopped",
    "SIGTERM during a checkpoint",
    "clean exit within 10 s, no loss",
    "the checkpoint's write kept back on its way to Redis, then SIGTERM; let through after 1 s, and never",
)


UPGRADED = Guarantee(
    "15-upgraded",
    "rolling upgrade: old and new version side by side, state format changed",
    "new reads old, old refuses new with a clear line; nothing lost",
    "two workers; one is replaced by a version whose state format is one on, then the other; then an old one is started again",
)


def test_a_stream_that_nothing_happens_to_gives_the_same_twice(world: World, reference: Outcome) -> None:
    """Two workers and a log that comes bit by bit: what makes all that follows comparable."""
    world.start()
    world.start()
    for share in (0.2, 0.4, 0.6, 0.8, 1.0):
        world.feed(share)
        world.progress()
    assert world.finish().differences(reference) == []


def test_workers_killed_thirty_times_leave_what_an_undisturbed_one_leaves(world: World, reference: Outcome) -> None:
    kills = 30
    killed_at_start = _kill(world, kills)
    outcome = world.finish()
    assert outcome.differences(reference) == []
    assert outcome.observations == len(world.recording) - world.recording.garbage
    assert outcome.repeated["scores"]
    KILLED.held(
        f"{kills} kills ({killed_at_start} of them before the worker had a partition): {outcome.observations:,} observations "
        f"sent and scored, {said(outcome)}"
    )


@pytest.mark.parametrize(
    ("plant", "how"),
    [
        ("checkpoint_before_alerts", "checkpoint written before the alerts are acknowledged"),
        ("offset_apart", "offset written apart from the state"),
    ],
)
@pytest.mark.nightly
def test_kills_show_a_checkpoint_that_is_not_one_step(world: World, reference: Outcome, plant: str, how: str) -> None:
    """The guarantee broken on purpose: the same check must see it. The kills come where it is broken, not by chance."""
    kills = 3
    first = world.start("a", plant=plant)
    world.feed(0.2)
    world.wait_for(world.settled, "a whole checkpoint, for the broken ones to go on top of")
    first.kill()
    for number in range(1, kills + 1):
        worker = world.start("a", plant=plant)
        world.feed(0.2 + 0.2 * number)
        world.wait_for(lambda w=worker: w.events(HOLE) or gave_up(world), "a moment at which a kill shows")  # type: ignore[misc]
        worker.kill()
    world.start("a", plant=plant)
    world.feed()
    KILLED.seen_broken(f"{how}, {kills} kills", seen(world, reference))


@pytest.mark.nightly
def test_kills_change_nothing_of_what_a_dense_autoencoder_says(
    new_world: Callable[..., World], dense_model: Path
) -> None:
    """Dense layers are where kernels depend on the place of a batch in memory; every kill cuts the log anew."""
    calm = new_world(file=dense_model)
    calm.feed()
    calm.start()
    reference = calm.finish()
    assert len({alert for alert, _ in reference.alerts}) >= 24
    world = new_world(file=dense_model)
    _kill(world, 6)
    outcome = world.finish()
    assert outcome.differences(reference) == []
    KILLED.held(f"6 kills: {said(outcome)}", "with a dense autoencoder in the LSTM's place")


def test_a_worker_that_slept_through_its_session_changes_nothing(world: World, reference: Outcome) -> None:
    with watched(world) as falls:
        for zombie in _sleep_through_a_session(world):
            world.wait_for(  # it may ask before it works on what it has in hand, and writes nothing then
                lambda z=zombie: _refused(z) or _let_go(z),  # type: ignore[misc]
                "the refusal of its checkpoint, or its word that it asked",
            )
        outcome = world.finish()
    assert outcome.differences(reference) == []
    assert falls == []
    assert outcome.repeated["alerts"]
    refusals, asked = (sum(len(of(w)) for w in world.workers) for of in (_refused, _let_go))
    ZOMBIE.held(f"{refusals} checkpoints refused, {asked} partitions let go by who asked, {said(outcome)}")


@pytest.mark.nightly
def test_a_sleeper_shows_a_store_that_does_not_ask_who_writes(world: World, reference: Outcome) -> None:
    """The guarantee broken on purpose: the same check must see it.

    The offset is what it surely sees: later records may write over all that the sleeper wrote.
    """
    with watched(world) as falls:
        next(_sleep_through_a_session(world, plant="no_nonce"))
        world.wait_for(lambda: falls or gave_up(world), "a checkpoint that is taken from a sleeper")
    ZOMBIE.seen_broken("nonce, sequence and offset not compared", f"seen ({falls[0] if falls else gave_up(world)})")


def test_a_claim_that_comes_too_late_changes_nothing(world: World, reference: Outcome) -> None:
    first = world.start()
    world.feed(0.3)
    world.progress()
    with Proxy(world.store.port, trap=_Script("claim")._sha.encode()) as proxy:
        zombie = world.start(store=proxy.url)
        world.wait_for(proxy.caught.is_set, "a claim of the second worker")
        zombie.pause()
        world.feed(0.5)
        before = len(first.events("partition opened"))
        world.wait_for(lambda: len(first.events("partition opened")) >= before + 4, "the first worker's taking over")
        world.feed(0.7)
        world.wait_for(world.settled, "all records in the store")
        proxy.release()
        world.feed(0.8)
        world.wait_for(lambda: first.events("state written again from memory"), "the owner's answer to a stale claim")
        zombie.resume()
        world.feed(1.0)
        outcome = world.finish()
    assert outcome.differences(reference) == []
    again = len(first.events("state written again from memory"))
    STALE_CLAIM.held(f"owner wrote {again} partitions again from memory, {said(outcome)}")


def test_a_version_with_another_state_format_takes_over_bit_by_bit(world: World, reference: Outcome) -> None:
    old = [world.start(), world.start()]
    world.feed(0.3)
    world.wait_for(world.settled, "a checkpoint")
    assert old.pop().stop() == 0
    new = [world.start(plant="next_version")]
    world.wait_for(lambda: new[0].events("partition opened"), "a partition for the new version")
    world.feed(0.5)
    world.wait_for(world.settled, "checkpoints of both versions")
    assert old.pop().stop() == 0
    world.feed(0.7)
    world.wait_for(world.settled, "checkpoints of the new version")
    late = world.start()
    world.wait_for(lambda: not late.alive, "the end of the old version")
    assert late.process.returncode == 2
    (refusal,) = [line for line in late.text().splitlines() if line.startswith("error:")]
    assert "start the newer version that wrote it" in refusal
    world.feed()
    outcome = world.finish()
    assert outcome.differences(reference) == []
    UPGRADED.held(f"the old version ended with exit code 2, “{refusal.removeprefix('error: ')}”; {said(outcome)}")


@pytest.mark.parametrize("membership", ["dynamic", pytest.param("static", marks=pytest.mark.nightly)])
def test_more_and_fewer_workers_make_no_difference(world: World, reference: Outcome, membership: str) -> None:
    def start(number: int) -> Worker:
        return world.start(f"worker-{number}" if membership == "static" else "")

    workers = [start(0)]
    for share, wanted in ((0.2, 1), (0.3, 4), (0.6, 4), (0.7, 2), (0.8, 2), (0.9, 1), (1.0, 1)):
        while len(workers) > wanted:
            assert workers.pop().stop() == 0
        workers += [start(i) for i in range(len(workers), wanted)]
        world.feed(share)
        for worker in workers:
            world.wait_for(lambda w=worker: w.events("partition opened"), "a partition for each worker")  # type: ignore[misc]
        world.progress()
    outcome = world.finish()
    assert outcome.differences(reference) == []
    SCALED.held(said(outcome), membership)


def test_sigterm_during_a_checkpoint_is_a_clean_exit_in_time(world: World, reference: Outcome) -> None:
    world.start().log.touch()
    world.feed(0.2)
    world.wait_for(world.settled, "the first checkpoints")  # the store knows the script from now on
    assert world.workers[0].stop() == 0
    took = []
    for share, let_through in ((0.5, True), (0.8, False)):
        with Proxy(world.store.port) as proxy:
            worker = world.start(store=proxy.url)
            world.wait_for(lambda w=worker: w.events("partition opened"), "a partition")  # type: ignore[misc]
            proxy.trap = _Script("save")._sha.encode()
            world.feed(share)
            world.wait_for(proxy.caught.is_set, "a checkpoint on its way")
            started = time.monotonic()
            worker.process.terminate()
            if let_through:
                time.sleep(1.0)
                proxy.release()
            assert worker.process.wait(PATIENCE) == 0, world.logs()
            took.append(time.monotonic() - started)
    assert max(took) < 30.0  # promised are 10 s, where the machine has time for it
    world.start()
    world.feed(1.0)
    outcome = world.finish()
    assert outcome.differences(reference) == []
    STOPPED.held(f"exit code 0 after {took[0]:.1f} s and, never let through, {took[1]:.1f} s; {said(outcome)}")


def _kill(world: World, kills: int) -> int:
    """Two workers; one of them is killed, whatever it does just now, and started again. Returns kills before any work."""
    dice = random.Random(kills)
    living = {name: world.start(name) for name in ("a", "b")}
    early = 0
    for number in range(1, kills + 1):
        world.feed(number / (kills + 1))
        if dice.random() < 0.7:  # else the next kill finds workers that have only just been started
            world.progress()
        time.sleep(dice.uniform(0, 0.5))
        name = dice.choice("ab")
        living[name].kill()
        early += not living[name].events("partition opened")
        # With the longer ones a kill surely finds what was published and is in no checkpoint.
        living[name] = world.start(name, checkpoint_every=dice.choice(("300ms", "3s")))
    world.feed()
    return early


def _sleep_through_a_session(world: World, *, plant: str = "") -> Iterator[Worker]:
    """Twice: a worker is paused with work not yet checkpointed, another takes over and goes on. Yields it, continued."""
    first = world.start(plant=plant, checkpoint_every="15s")
    for before, share in ((0.1, 0.25), (0.7, 0.9)):
        world.feed(before)
        world.wait_for(world.settled, "a checkpoint")
        alerts = world.alerts()
        world.feed(share)
        world.progress()
        if share > 0.5:  # before that there are none
            world.wait_for(lambda a=alerts: world.alerts() > a, "alerts that it published")  # type: ignore[misc]
        first.pause()
        assert not world.settled(), "it had its checkpoint already"
        second = world.start(plant=plant, checkpoint_every="1s")
        world.wait_for(lambda s=second: len(s.events("partition opened")) == 4, "the second worker's taking over")  # type: ignore[misc]
        world.feed(share + 0.1)
        world.wait_for(world.settled, "all records in the store")
        first.resume()
        yield first
        second.kill()  # the zombie is a good worker again
        opened = len(first.events("partition opened"))
        world.wait_for(lambda o=opened: len(first.events("partition opened")) > o, "its return")  # type: ignore[misc]
    world.feed()


def _let_go(worker: Worker) -> list[str]:
    """Partitions of which the worker found out by asking that they are another's."""
    told = [line["reason"] for line in worker.events("partition let go")]
    return [reason for reason in told if "while this one slept" in reason]


def _refused(worker: Worker) -> list[str]:
    """Refusals that the worker tells of."""
    told = worker.events("checkpoint refused") + worker.events("no checkpoint at revocation")
    return [line["reason"] for line in told if "somebody else has claimed" in line["reason"]]
