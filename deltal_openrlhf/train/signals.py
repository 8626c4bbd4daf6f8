"""What SIGTERM, SIGUSR1 and Ctrl-C do to a run, in its driver.

    before training begins   the run ends at once, because there is nothing to save
    later                    the controllers are told (host/stop.py); they save and end within --deltal.grace seconds
    a second signal          the run ends at once
    Ctrl-C                   the run ends at once

exit_status() defines the exit codes. A second signal that comes with the first does not count: a scheduler and a shell that passes it on
both send it.

ray.init sets handlers of its own and starts daemons in the driver's process group. A scheduler's signal reaches these first. So ray.init
runs with the signals blocked in this thread, which its daemons inherit, and without permission to change a handler.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from deltal_openrlhf.host import kept_steps
from deltal_openrlhf.host.kept_steps import Steps
from deltal_openrlhf.host.process import STOP_SIGNALS
from deltal_openrlhf.host.rebind import rebound
from deltal_openrlhf.runs.command import FAILED, INTERRUPTED, TERMINATED

if TYPE_CHECKING:
    from deltal_openrlhf.train.last_save import LastSave

Say = Callable[[str], None]

TOGETHER = 1.0
"""Seconds after the first signal in which others are the same one."""
ANSWER_WITHIN = 5.0
"""Seconds that Ray has to tell which steps were saved."""


def exit_status(steps: Steps | None) -> int:
    """The exit status of a run that was told to stop, however it ended. steps: None if nobody knows what was saved.

    It is TERMINATED, with which a scheduler starts the run again, unless the run has finished steps and saved none of them. In that case
    the next start would begin where this one did, and could lose the same steps forever.
    """
    return FAILED if steps is None or steps.all_lost else TERMINATED


class Signals:
    """The handlers of one run, from its first moment to its last. They are made in the main thread, which they interrupt."""

    def __init__(self) -> None:
        self._why: str | None = None
        self._code: int | None = None
        self._raised = False
        self._first: signal.Signals | None = None
        self._since = 0.0
        self._told = threading.Event()
        self._ended = threading.Event()
        self._watched = False
        self._install()

    # ── In the main thread ──

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Inside this context, the handlers stay, and new processes ignore the signals."""
        set_handler = signal.signal

        def keep(number: int, handler: Any) -> Any:
            return handler if number in STOP_SIGNALS else set_handler(number, handler)

        # Another thread takes a signal meanwhile; its handler runs in this one.
        taker = threading.Thread(target=self._ended.wait, daemon=True, name="signals")
        taker.start()
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            with rebound(signal, "signal", keep):
                yield
        finally:
            self._install()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        # What the handler raised got lost in a callback, or where Ray takes any error for a slow start.
        if self._why is not None:
            raise KeyboardInterrupt

    def watch(self, grace: float, say: Say, last_save: "LastSave") -> None:
        """From now on, a signal lets the run save first. Needs Ray.

        grace: seconds for saving. say: called with a line when a signal comes.
        """
        threading.Thread(target=self._follow, args=(grace, say, last_save), daemon=True, name="stop").start()
        self._watched = True

    def end(self) -> None:
        """From now on, a signal or Ctrl-C does nothing, because the run is being cleaned up."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._ended.set()

    def verdict(self) -> tuple[str, int]:
        """Why a run was interrupted, and its exit status. Needs Ray, if the run has started it."""
        if self._why is None:
            return "interrupted", INTERRUPTED
        return self._with_steps(self._why) if self._code is None else (self._why, self._code)

    def stopped(self, error: BaseException, reason: str) -> tuple[str, int]:
        """Why a run that was told to stop or interrupted has ended in an error, and its exit status. Needs Ray, if the run has started it.

        error: how the run ended. This is what the controllers say, what a library made of a KeyboardInterrupt (pydantic does), or another
        error with its reason.
        """
        from deltal_openrlhf.host.stop import Stopped

        cause = getattr(error, "cause", error)  # what Ray wraps
        if isinstance(cause, Stopped):
            return f"{self._name()}: {cause}", exit_status(self._steps())
        if self._why is not None:
            return self.verdict()
        return self._with_steps(f"{self._name()}: {reason}")

    @property
    def came(self) -> bool:
        """Whether the run was told to stop, or interrupted."""
        return self._first is not None or self._why is not None

    def _with_steps(self, why: str) -> tuple[str, int]:
        steps = self._steps()
        return f"{why}; {steps or 'Ray does not say which steps were saved'}", exit_status(steps)

    def _steps(self) -> Steps | None:
        """The steps that were saved. None if Ray does not answer."""
        if not self._watched:
            return Steps()
        answers: list[Steps] = []
        asking = threading.Thread(target=lambda: answers.append(kept_steps.said() or Steps()), daemon=True)
        asking.start()
        asking.join(ANSWER_WITHIN)
        return answers[0] if answers else None

    def _install(self) -> None:
        """Install the handlers, once more after ray.init. Ray's C++ takes SIGTERM for a crash and aborts three seconds later."""
        for number in STOP_SIGNALS:
            signal.signal(number, self._handle)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell lets its background jobs ignore it
            signal.signal(signal.SIGINT, self._interrupt)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._why is None:
            self._why, self._code = "interrupted", INTERRUPTED
        raise KeyboardInterrupt

    def _handle(self, number: int, frame: FrameType | None) -> None:
        signal.alarm(0)  # that of Ray's C++, which came first if ray.init had not returned
        if self._ended.is_set() or self._raised:
            return
        if self._why is not None:  # by another thread
            self._raised = True
            raise KeyboardInterrupt
        if self._first is None:
            self._first, self._since = signal.Signals(number), time.monotonic()
            if not self._watched:
                self._interrupted(f"{self._name()} in the start")
            self._told.set()
        elif time.monotonic() - self._since > TOGETHER:
            self._interrupted(f"a second signal ({signal.Signals(number).name}): ended without saving")

    def _interrupted(self, why: str) -> None:
        self._why, self._raised = why, True
        raise KeyboardInterrupt

    def _name(self) -> str:
        return self._first.name if self._first else "no signal"

    # ── In a thread ──

    def interrupt(self, why: str, code: int | None = None) -> None:
        """End the run from another thread, which has nothing more to say afterwards. code: that of exit_status if None."""
        if self._why is None and not self._ended.is_set():
            self._why, self._code = why, code
            # Not SIGINT, which a shell lets its background jobs ignore.
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    def _follow(self, grace: float, say: Say, last_save: "LastSave") -> None:
        from deltal_openrlhf.host import stop

        self._told.wait()
        name = self._name()
        # Also where Ray or the disk does not answer any more.
        timer = threading.Timer(grace, self.interrupt, (f"{name}: not ended within {grace:g} s (--deltal.grace)",))
        timer.daemon = True
        timer.start()
        if kept_steps.said() is None:
            self.interrupt(f"{name} in the start")
            return
        no_save = last_save.forbidden()
        stop.ask_to_stop(name, no_save)
        does = f"ends without a save ({no_save})" if no_save else "saves a checkpoint and ends"
        say(f"{name}: the run {does}, within {grace:g} s (--deltal.grace); a second signal ends it at once")
