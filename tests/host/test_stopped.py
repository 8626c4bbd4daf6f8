"""A run that is told to stop: the host's own loops, sync and async, told at each of the moments at which a controller listens."""

import pickle
import random
import threading
import time
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace

import pytest
from support.controllers import Disk, run

from deltal_openrlhf.host import kept_steps, stop, stoppable
from deltal_openrlhf.host.rebind import rebound
from deltal_openrlhf.host.stop import Attention, AttentiveQueue, StopAsked, Stopped
from deltal_openrlhf.host.stoppable import StoppableMixin

PROMPTS = 16
UNSAVED = ("--ckpt.save_steps", "9")  # nothing is saved but what a stop saves
KINDS = {
    "sync": (),
    "async": ("--train.async_enable", "--train.async_queue_size", "2"),
}


class PollingQueue(AttentiveQueue):
    """In the simulation a call of Ray's comes back when it is done."""

    def get(self, block: bool = True):
        while self._queue.empty():
            self._attention.check()
            time.sleep(0.001)
        return self._queue.get()


@contextmanager
def told(at: int | None):
    """The driver's word is there from the at-th look on. Yields the looks so far, one for each."""
    looks: list[None] = []

    def stop_asked():
        looks.append(None)
        return "SIGTERM" if at is not None and len(looks) >= at else None

    with ExitStack() as stack:
        for owner, name, value in (
            (stop, "stop_asked", stop_asked),
            (stop, "LOOK_EVERY", 0.0),
            (stoppable, "AttentiveQueue", PollingQueue),
        ):
            stack.enter_context(rebound(owner, name, value))
        yield looks


def train(disk: Disk, *flags: str, at: int | None = None) -> str | None:
    """What a run says that was stopped, None of one that came to its end."""
    with told(at):
        try:
            assert run(disk, *UNSAVED, *flags, prompts=PROMPTS, order=random.Random(1))
        except Stopped as stopped:
            return str(stopped)
    return None


@pytest.mark.parametrize("kind", KINDS)
def test_a_stopped_run_loses_at_most_the_step_in_progress(kind):
    flags = KINDS[kind]
    whole = Disk()
    assert train(whole, *flags) is None
    assert len(whole.steps) == 4 and whole.latest is None
    with told(None) as looks:
        run(Disk(), *UNSAVED, *flags, prompts=PROMPTS, order=random.Random(1))
    moments = range(1, len(looks) + 1, len(looks) // 12)
    stopped = set()
    for at in moments:
        disk = Disk()
        said = train(disk, *flags, at=at)
        done = max(disk.steps, default=0)
        if said is None:
            assert kind == "async" and done == 4  # the order of its looks is another in each run
            continue
        stopped.add(done)
        if done:
            assert said.startswith(f"checkpoint global_step{done} is saved in /; ")
            assert pickle.loads(disk.latest)["states"]["global_step"] == done
        else:
            assert said == "no step was finished, so nothing was saved" and disk.latest is None
        assert train(disk, *flags) is None
        assert disk.trained() == whole.trained()
        if kind == "sync":  # async responses follow from the weights that happen to be in the engines
            assert disk.weights == pytest.approx(whole.weights)
    assert stopped == {0, 1, 2, 3, 4} if kind == "sync" else len(stopped) >= 3


class Host:
    """What the mixin stands in front of. events: what the host did."""

    wandb_logger = tensorboard_logger = None

    def __init__(self, save_steps: float = 1, **ckpt):
        self.args = SimpleNamespace(
            ckpt=SimpleNamespace(**{"path": "ckpt", "save_steps": save_steps, "disable_ds": False} | ckpt),
            logger=SimpleNamespace(logging_steps=1),
            eval=SimpleNamespace(dataset=None, steps=float("inf")),
        )
        self.events: list[str] = []
        self.resumed_step, self.best_eval_metric_value = 0, 0.0

    def init_checkpoint_states(self):
        return {"global_step": self.resumed_step}

    def save_best_checkpoint(self, metrics, step, states=None):
        self.best_eval_metric_value = max(metrics["accuracy"], self.best_eval_metric_value)

    def fit(self):
        for step in (1, 2):
            self.rollout(step)
            self.ppo_train(step)
            self.broadcast_to_vllm()
            self.save_logs_and_checkpoints(step, {"a": 1}, {"global_step": step})

    def rollout(self, step):
        pass

    def ppo_train(self, step):
        self.events.append(f"update {step}")

    def broadcast_to_vllm(self):
        self.events.append("broadcast")

    def save_logs_and_checkpoints(self, step, logs, states):
        if step % self.args.logger.logging_steps == 0:
            self.events.append(f"log {step}")
        if step % self.args.ckpt.save_steps == 0:
            self.events.append(f"save {states['global_step']}")


class Controller(StoppableMixin, Host):
    pass


def say_after(controller: Controller, event: str) -> None:
    """The driver's word comes with this event."""
    controller.attention._asked = None
    controller.attention.asked = lambda now=False: "SIGTERM" if event in controller.events else None  # type: ignore


def saying(controller: Controller, monkeypatch) -> list:
    """What the driver hears from now on; the controller's events get it too."""
    said: list = []

    def say(steps):
        said.append(tuple(steps))
        controller.events.append(f"said {steps.finished} and {steps.saved}")

    monkeypatch.setattr(kept_steps, "say", say)
    return said


def test_the_driver_hears_of_a_step_before_its_save_and_of_the_save_after_it(monkeypatch):
    controller = Controller(2)
    saying(controller, monkeypatch)
    assert controller.init_checkpoint_states() == {"global_step": 0}
    controller.fit()
    saves = [event for event in controller.events if event.startswith(("said", "save"))]
    assert saves == ["said 0 and 0", "said 1 and 0", "said 2 and 0", "save 2", "said 2 and 2"]


@pytest.mark.parametrize(("disable_ds", "saved"), [(False, 7), (True, 6)])
def test_a_checkpoint_of_the_best_step_counts_as_one(disable_ds, saved, monkeypatch):
    controller = Controller(100, disable_ds=disable_ds)
    controller.resumed_step = 6
    said = saying(controller, monkeypatch)
    controller.init_checkpoint_states()
    controller.save_logs_and_checkpoints(7, {}, {"global_step": 7})
    controller.save_best_checkpoint({"accuracy": 0.5}, 7)
    controller.save_logs_and_checkpoints(8, {}, {"global_step": 8})
    controller.save_best_checkpoint({"accuracy": 0.4}, 8)
    assert (said[0], said[-1]) == ((6, 6, 6), (6, 8, saved))


def test_an_update_is_finished_and_saved_once_without_a_sync_and_without_a_second_line_in_the_log(monkeypatch):
    for save_steps in (1, 5):
        controller = Controller(save_steps)
        say_after(controller, "update 2")
        controller.args.eval = SimpleNamespace(dataset="e", steps=2)
        said = saying(controller, monkeypatch)
        controller.wandb_logger = SimpleNamespace(close=lambda said=said: said.append("closed"))
        with pytest.raises(
            Stopped, match="^checkpoint global_step2 is saved in ckpt, without the evaluation after step 2; "
        ):
            controller.fit()
        first = ["update 1", "broadcast", "log 1", *["save 1"] * (save_steps == 1)]
        events = [event for event in controller.events if not event.startswith("said")]
        assert events == [*first, "update 2", "log 2", "save 2"]
        assert (controller.args.ckpt.save_steps, controller.args.logger.logging_steps) == (save_steps, 1)
        assert said[-3:] == [
            (0, 2, int(save_steps == 1)),
            (0, 2, 2),
            "closed",
        ]  # a tracker that hangs costs no exit code


def test_a_run_that_saves_nothing_by_itself_is_saved_nevertheless():
    controller = Controller(float("inf"))  # what the host makes of -1
    say_after(controller, "update 2")
    with pytest.raises(
        Stopped, match="global_step2 is saved in ckpt although --ckpt.save_steps is -1; the same command"
    ):
        controller.fit()
    assert controller.events[-2:] == ["log 2", "save 2"]


def test_without_checkpoints_of_its_own_it_says_that_nothing_was_saved():
    controller = Controller(1, disable_ds=True)
    say_after(controller, "update 1")
    with pytest.raises(Stopped, match=r"^step 1 was the last; no checkpoint was saved \(--ckpt.disable_ds\)$"):
        controller.fit()


def test_a_folder_that_another_run_has_is_left_alone(monkeypatch):
    monkeypatch.setattr(stop, "save_forbidden", lambda: "--ckpt.path ckpt: another run is writing there")
    controller = Controller(float("inf"))
    say_after(controller, "update 2")
    with pytest.raises(
        Stopped, match="^step 2 was the last; no checkpoint was saved: --ckpt.path ckpt: another run is writing there$"
    ):
        controller.fit()
    assert controller.events[-1] == "log 2"


@pytest.mark.parametrize(
    ("dies_in", "told_at", "ends"),
    [("rollout", "log 1", "saved"), ("rollout", "never", "dies"), ("ppo_train", "log 1", "dies")],
)
def test_an_engine_that_the_signal_ended_too_costs_no_checkpoint(dies_in, told_at, ends, monkeypatch):
    """After the update has begun, the parameters are those of no step."""
    monkeypatch.setattr(stoppable, "TOLD_WITHIN", 0.1)
    controller = Controller(5)
    host = getattr(Host, dies_in)

    def dying(self, step):
        if step == 2:
            raise RuntimeError("engine died")
        host(self, step)

    monkeypatch.setattr(Host, dies_in, dying)
    monkeypatch.setattr(Attention, "check", lambda self, now=False: None)  # it dies before anyone looks
    say_after(controller, told_at)
    with pytest.raises(
        Stopped if ends == "saved" else RuntimeError,
        match="global_step1 is saved" if ends == "saved" else "engine died",
    ):
        controller.fit()
    assert ("save 1" in controller.events) is (ends == "saved")


def test_a_queue_is_left_and_what_comes_is_not_lost(monkeypatch):
    monkeypatch.setattr(stop, "LOOK_EVERY", 0.01)
    come = threading.Event()
    queue = SimpleNamespace(
        actor=SimpleNamespace(get=SimpleNamespace(remote=lambda timeout: "item")), put=lambda item: item
    )
    monkeypatch.setattr(stop.ray, "wait", lambda refs, timeout: (refs, []) if come.wait(timeout) else ([], refs))
    monkeypatch.setattr(stop.ray, "get", lambda ref: f"got {ref}")
    attention = Attention()
    ours = AttentiveQueue(queue, attention)
    assert ours.put(3) == 3
    threading.Timer(0.1, come.set).start()
    assert ours.get(block=True) == "got item"
    come.clear()
    with told(3), pytest.raises(StopAsked):
        ours.get()
