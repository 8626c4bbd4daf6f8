"""Countdown with a calculator, over several turns: `--train.agent_func_path deltal:countdown-calculator`.

    policy       5 * 3 =
    calculator   15
    policy       - 4 =
    calculator   11
    policy       no. 3 + 4 =
    calculator   7
    policy       * 5 = ...

A turn ends at an equals sign. The calculator writes the value behind it, and the policy goes on from there. What the calculator writes is
not trained on, and it does not count for a response's length. A turn that ends otherwise ends the episode: by the end token, by the length
limit, or by a token such as "=(", which goes on behind the sign. The host loads this file by its path, and the labels are those of the
countdown reward.
"""

from typing import Any

import torch
from openrlhf.utils.agent import AgentInstanceBase, MultiTurnAgentExecutor

from deltal_openrlhf.agents import calculator
from deltal_openrlhf.rewards.countdown import last_answer, score
from deltal_openrlhf.rewards.scoring import countdown_problem


class Episode(AgentInstanceBase):
    """One response: what the policy and the calculator have written, and what was paid for it."""

    def __init__(self) -> None:
        self.text = ""
        self.paid = 0.0
        self.results = 0

    async def step(self, state_dict: dict, **_: Any) -> dict[str, Any]:
        """Answer the policy's turn.

        state_dict: action_text and label. The rewards of all turns add up to the score of the text so far, so that an episode which the
        context ends is worth what it says. Raises ValueError for a broken label.
        """
        self.text += state_dict["action_text"]
        called = self.text.endswith(calculator.CALL)
        result = calculator.value(self.text) if called else None
        feedback = "" if result is None else f" {result}"
        self.text += feedback
        self.results += result is not None
        worth = score(self.text, *countdown_problem(state_dict["label"]))
        reward, self.paid = worth - self.paid, worth
        return {
            "rewards": torch.tensor(reward),
            "scores": worth,
            "environment_feedback": feedback,
            "done": not called,
            "extra_logs": {
                "answered": float(last_answer(self.text) is not None),
                "calculator/results": float(self.results),
            },
        }


class AgentExecutor(MultiTurnAgentExecutor):
    """The host's loop over turns. vLLM stops each at an equals sign, and the episode sees the text of the tokens that are trained on."""

    def __init__(self) -> None:
        super().__init__(Episode)

    async def execute(
        self, *args: Any, sampling_params: Any, hf_tokenizer: Any, llm_engine: Any, **kwargs: Any
    ) -> dict[str, Any]:
        """One episode, as the host's."""
        stopping = sampling_params.clone()
        stopping.stop, stopping.include_stop_str_in_output = [calculator.CALL], True
        engine = _AsTrained(llm_engine, hf_tokenizer)
        return await super().execute(
            *args, sampling_params=stopping, hf_tokenizer=hf_tokenizer, llm_engine=engine, **kwargs
        )


class _AsTrained:
    """An engine whose text is that of its tokens. vLLM cuts the text behind the stop string, but keeps all of the last token."""

    def __init__(self, engine: Any, tokenizer: Any) -> None:
        self.engine, self.tokenizer = engine, tokenizer

    async def generate(self, tokens: list[int], params: Any, **kwargs: Any) -> Any:
        """As the host's engine."""
        output = await self.engine.generate(tokens, params, **kwargs)
        said = output.outputs[0]
        # Decoded with what stands in front: some decoders drop the space at the beginning of a text.
        before, whole = (
            self.tokenizer.decode(
                ids, skip_special_tokens=params.skip_special_tokens, clean_up_tokenization_spaces=False
            )
            for ids in (tokens, [*tokens, *said.token_ids])
        )
        said.text = whole[len(before) :]
        return output
