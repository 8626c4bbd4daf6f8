"""Fills a rollout with prompts, as the host's samples generator does, with dynamic sampling if --algo.dynamic_filtering_enable is given.

Dynamic sampling (DAPO, arXiv 2503.14476) drops a prompt whose responses have a mean score outside of --algo.dynamic_filtering_range, and
draws the next one in its place. A rollout thus takes the first prompts of the order that pass, and nothing is left over for the next. When
the prompts of an episode are used up, its last rollout is short, or empty.

The host replaces prompts one at a time while others are being answered. Here all that are missing are answered in one batch. Both draw
prompts until as many have passed as are wanted, and neither draws one more, so they draw the same ones.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

from deltal_openrlhf.arguments import Arguments
from deltal_openrlhf.comparison.graded import Graded
from deltal_openrlhf.comparison.inputs import Prompt


class Drawn(NamedTuple):
    """A rollout. prompts: how many were drawn for it, dropped ones included."""

    graded: Graded
    prompts: int

    @property
    def pass_rate(self) -> float:
        """The host's dynamic_filtering_pass_rate, in percent: responses kept per prompt drawn."""
        return len(self.graded.responses) / self.prompts * 100


def draw_rollout(prompts: Iterator[Prompt], args: Arguments, respond: Callable[[list[Prompt]], Graded]) -> Drawn | None:
    """The responses to the next --rollout.batch_size prompts that pass, in the order of the prompts. None if no prompt is left that does.

    respond: gives --rollout.n_samples_per_prompt responses to each of some prompts.
    """
    kept: list[Graded] = []
    drawn = 0
    while batch := list(itertools.islice(prompts, args.rollout.batch_size - len(kept))):
        drawn += len(batch)
        groups = respond(batch).groups(args.rollout.n_samples_per_prompt)
        kept += filter(lambda group: passes(group, args), groups) if args.algo.dynamic_filtering_enable else groups
    return Drawn(Graded.join(kept), drawn) if kept else None


def passes(group: Graded, args: Arguments) -> bool:
    """Whether dynamic sampling keeps the responses to a prompt: their mean score is inside of the range, and not at its ends."""
    low, high = args.algo.dynamic_filtering_range
    scores = group.scores.tolist()  # summed in double precision, as the host does
    return low < sum(scores) / len(scores) < high
