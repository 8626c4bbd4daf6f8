"""Records which steps of a run are finished and which are saved. The controller writes it to the job's store, and the driver reads it."""

import json
from typing import NamedTuple

from deltal_openrlhf.host import job_store

_NAME = "steps"


class Steps(NamedTuple):
    """Numbers of PPO steps.

    begun: the step of the checkpoint from which this run began, 0 without one. finished: the last step that this run finished. saved: the
    step of its newest checkpoint. Both equal `begun` while the run has none of its own.
    """

    begun: int = 0
    finished: int = 0
    saved: int = 0

    @property
    def all_lost(self) -> bool:
        """Whether this run has finished steps and saved none of them, so that the next one begins where this one did."""
        return self.begun == self.saved < self.finished

    def __str__(self) -> str:
        last, finished = f"the last checkpoint is of step {self.saved}", f"step {self.finished} was the last"
        if self.finished == self.begun:
            return "no step was finished, so nothing was saved" + f"; {last}" * (self.saved > 0)
        if self.all_lost:
            return f"{finished}; no checkpoint was saved" + f" since step {self.saved}" * (self.saved > 0)
        return f"{finished}, and is saved" if self.saved == self.finished else f"{finished}; {last}"


def say(steps: Steps) -> None:
    job_store.put(_NAME, json.dumps(steps))


def said() -> Steps | None:
    """The steps in the store. None before training begins, when there is nothing to save."""
    text = job_store.get(_NAME)
    return None if text is None else Steps(*json.loads(text))
