"""Gives every response a seed of its own, so that a run can be repeated. vLLM draws the response from a generator with that seed.

The seed depends on --train.seed, the place of the prompt in the order of the data (data_order.py), and the response's number among those to
that prompt. It never depends on what else the engine is doing. The host seeds engines, not requests, so the random numbers of a response
depend on when it was scheduled.
"""

import asyncio
import itertools
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, NamedTuple

from deltal_openrlhf import cpu
from deltal_openrlhf.host.alive import Pulse
from deltal_openrlhf.host.process import stop_signals_blocked
from deltal_openrlhf.host.weight_buckets import BucketedRolloutActor
from deltal_openrlhf.statistics.seeds import seed_of

PLACE = "place"
"""The place of its prompt, in what an engine gives for a response."""

_calls: ContextVar[Iterator[int]] = ContextVar("calls")
"""Of the response in progress: numbers for its calls of the engine."""


class Draw(NamedTuple):
    """A prompt on its way to an engine.

    place: from 0, in the order of the episode or of the evaluation. seed: that of its responses.
    """

    place: int
    seed: int


TOKENS_A_STEP = 4096
"""Of all prompts that a CPU engine reads at once; one that does not fit waits."""


class SeededRolloutActor(BucketedRolloutActor):
    """An engine whose responses depend on their seeds."""

    async def __init__(self, *args: Any, **kwargs: Any) -> None:  # type: ignore[misc]
        if cpu.is_needed():
            # Where a prompt is read in parts, vLLM 0.29 rewinds the generator of its request, which those of a CPU cannot do.
            longest = max(TOKENS_A_STEP, kwargs["max_model_len"])
            kwargs |= {"enable_chunked_prefill": False, "max_num_batched_tokens": longest}
        with stop_signals_blocked():  # vLLM's process inherits it; it would end in the middle of a weight sync
            await super().__init__(*args, **kwargs)
        Pulse().alive("an engine is ready")

    async def generate_responses(
        self, *args: Any, sampling_params: Any, num_samples: int = 1, draw: Draw, **kwargs: Any
    ) -> list[dict]:
        """As the host's; each response also says its prompt's place."""

        async def one(number: int) -> dict:
            seeded = sampling_params.clone()
            seeded.seed = seed_of(draw.seed, number)
            _calls.set(itertools.count())
            [response] = await super(SeededRolloutActor, self).generate_responses(
                *args, sampling_params=seeded, num_samples=1, **kwargs
            )
            return {**response, PLACE: draw.place}

        return await asyncio.gather(*map(one, range(num_samples)))

    async def generate(self, prompt_token_ids: list[int], sampling_params: Any, *args: Any, **kwargs: Any) -> Any:
        if sampling_params.seed is not None:
            # The calls of an episode share its seed, and would share their random numbers.
            sampling_params = sampling_params.clone()
            sampling_params.seed = seed_of(sampling_params.seed, next(_calls.get()))
        return await super().generate(prompt_token_ids, sampling_params, *args, **kwargs)
