"""Checks that a run trained something. The host ends a run that did not like any other, and exports its first model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deltal_openrlhf.arguments import Arguments


@dataclass
class Trained:
    """What a run has done since it started. resumed: whether it resumes from a checkpoint, where training nothing more may be right."""

    resumed: bool = False
    rollouts: int = 0
    updates: float = 0.0
    skipped: float = 0.0

    def add(self, status: Mapping[str, Any]) -> None:
        """status: that of a PPO step."""
        self.rollouts += 1
        self.updates += status.get("deltal/optimizer_steps", 0.0)
        self.skipped += status.get("deltal/skipped_steps", 0.0)

    def check(self, args: Arguments) -> None:
        """Raise RuntimeError, in one line, if nothing was trained. Called when the prompts are used up."""
        if self.updates or self.resumed:
            return
        raise RuntimeError(f"nothing was trained: {self._reason(args)}")

    def _reason(self, args: Arguments) -> str:
        if not self.rollouts and args.algo.dynamic_filtering_enable:
            low, high = args.algo.dynamic_filtering_range
            return (
                "dynamic filtering left no prompt; the mean score of every group is outside of --algo.dynamic_filtering_range, "
                f"{low:g} to {high:g} (without these two)"
            )
        if not self.rollouts:
            return f"--data.prompt_dataset {args.data.prompt_dataset} gave no prompt (--data.max_samples {args.data.max_samples})"
        if self.skipped:
            cause = (
                "the length limit cut off every response" if args.deltal.overlong_filtering else "gradients overflowed"
            )
            return f"all {self.skipped:g} optimizer steps were left out, because {cause}"
        if self.rollouts <= args.critic.freezing_steps + 1:  # the host freezes that many
            return f"--critic.freezing_steps is {args.critic.freezing_steps}, and the run has {self.rollouts} PPO steps"
        return f"none of {self.rollouts} rollouts fills an optimizer step of --train.batch_size {args.train.batch_size} responses"
