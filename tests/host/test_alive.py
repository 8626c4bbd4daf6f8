"""Signs of life of a real worker: DeepSpeed's engine, one rank, in a process of its own."""

import threading

from deltal_openrlhf.host import alive, job_store
from deltal_openrlhf.host.alive import Pulse
from deltal_openrlhf.parity import Case, run_on_ranks
from deltal_openrlhf.train import stall
from deltal_openrlhf.train.stall import StallWatch

TIMEOUT, MICRO_BATCH = 60.0, 9.0
"""Seconds of the clock that the watch reads: much less than the update, and more than one of its micro batches."""


def _updates_and_a_save(rank, folder):
    """What was done in one update and one save, micro batches, seconds, and how each of two updates was ended; the second gave no signs.

    The clock moves with the micro batches alone, and the watch looks between any two of them.
    """
    from deltal_openrlhf.parity import host_update

    signs, ends = [], []
    seconds, looked = [0.0], threading.Event()
    job_store.put = lambda name, value: signs.append(value)
    alive.SAY_EVERY = 0.0
    stall.workers_stacks = dict

    class Slow(host_update.ParityStrategy):
        def backward(self, *args, **kwargs):
            seconds[0] += MICRO_BATCH
            looked.clear()
            assert ends[-1] or looked.wait(60)
            super().backward(*args, **kwargs)

    trainer = host_update.build_trainer(Case(micro=1), strategy_class=Slow)
    for sample in host_update.experiences(Case()):
        trainer.replay_buffer.append(sample)

    def sign():
        looked.set()
        return f"{len(signs)}: {signs[-1]}" if signs else None

    def stalled(why):
        ends[-1].append(why)
        looked.set()  # no look follows

    def update():
        ends.append([])
        watch = StallWatch(TIMEOUT, sign, stalled, every=0.005, clock=lambda: seconds[0])
        trainer.ppo_train(0.0)
        watch.stop()

    update()
    trainer.strategy.save_ckpt(trainer.actor.model, folder, "global_step1", client_state={})
    done, took = [said.rpartition(", ")[0] for said in signs], seconds[0]
    Pulse.alive = lambda self, what, now=False: None
    update()
    return done, len(trainer.replay_buffer), took, ends


def test_a_long_update_and_a_save_are_alive_and_the_same_update_without_signs_is_ended(tmp_path):
    signs, micro_batches, seconds, (ends, ends_without) = run_on_ranks(
        1, _updates_and_a_save, str(tmp_path), timeout=100
    )[0]
    assert seconds > 2 * TIMEOUT and ends == []
    assert signs.count("a micro batch") == micro_batches
    assert signs.count("a part of checkpoint global_step1") >= 3
    assert len(ends_without) == 1 and ends_without[0].startswith("nothing was done for 0:01:00 ")


def test_a_process_says_something_at_most_every_few_seconds_unless_it_must_be_heard(monkeypatch):
    said = []
    monkeypatch.setattr(job_store, "put", lambda name, value: said.append(value[: value.index(",")]))
    pulse = Pulse()
    for number in range(1000):
        pulse.alive(f"micro batch {number}")
    pulse.alive("step 1", now=True)
    Pulse().alive("another process")
    assert said == ["micro batch 0", "step 1", "another process"]
