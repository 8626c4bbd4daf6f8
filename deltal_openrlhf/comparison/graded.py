"""Sampled responses with their grades, as the loop passes them from sampling to training."""

from collections.abc import Iterable
from typing import NamedTuple

import torch

from deltal_openrlhf.comparison.inputs import Prompt
from deltal_openrlhf.models.sampling import Response


class Graded(NamedTuple):
    """The responses to some prompts, each with its prompt, reward and score. Those to one prompt follow one another.

    rewards, scores: float32 [N]. Dynamic sampling looks at scores, training at rewards.
    """

    prompts: list[Prompt]
    responses: list[Response]
    rewards: torch.Tensor
    scores: torch.Tensor

    def lengths(self) -> torch.Tensor:
        """[N], the tokens of each response, the end token included."""
        return torch.tensor([len(response.tokens) for response in self.responses])

    def groups(self, n: int) -> list["Graded"]:
        """The n responses to each prompt."""
        return [
            Graded(self.prompts[i : i + n], self.responses[i : i + n], self.rewards[i : i + n], self.scores[i : i + n])
            for i in range(0, len(self.responses), n)
        ]

    @classmethod
    def join(cls, parts: Iterable["Graded"]) -> "Graded":
        """All responses of the parts, one part after the other. Raises ValueError without any part."""
        prompts, responses, rewards, scores = zip(*parts, strict=True)
        return cls(sum(prompts, []), sum(responses, []), torch.cat(rewards), torch.cat(scores))
