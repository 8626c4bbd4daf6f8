"""What the trainer knows of the work in progress and the strategy needs: the host's calls between the two have no place for it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from deltal_openrlhf.host.metrics import StepStatistics


@dataclass
class StepContext:
    """One ppo_train of one worker. The trainer makes it and hands it to the strategy; both write into it.

    statistics: the trainer adds the weights of every optimizer step, the strategy its update.
    micro_batch: number of the micro batch in progress, from 0. prompts: those of its responses, none in one that only fills up.
    nothing_left: whether the optimizer step in progress has nothing to learn from, so that its update has to be left out.
    """

    statistics: StepStatistics = field(default_factory=StepStatistics)
    micro_batch: int = -1
    prompts: Sequence[str] = ()
    nothing_left: bool = False

    def begin_micro_batch(self, prompts: Sequence[str]) -> None:
        self.micro_batch += 1
        self.prompts = prompts
