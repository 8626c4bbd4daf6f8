"""Rollouts of a model that reads images.

A policy may sample the token that stands for a part of an image. The host's models then count more of these tokens than the images have
parts, and the run ends in the middle ("Image features and image tokens do not match"). Here the engine never draws such a token. What the
trainer computes for the others is unchanged: a trained model gives these tokens no chance that would matter.

vLLM keeps what its vision tower made of an image, and takes it for the next request with that image, also after it got other weights. Here
it forgets all images with the first request after a weight sync. (Where vLLM sleeps or pauses for a sync, it does so by itself.)

The host's query of a reward repeats that token for every part of an image, so it does not start with its prompt, in which the token stands
once. Here it does.
"""

import asyncio
from typing import Any

from deltal_openrlhf.host.sampling import SeededRolloutActor

NEVER = -100.0
"""vLLM adds it to a logit, and takes no less."""


class ImageRolloutActor(SeededRolloutActor):
    """An engine that samples text only."""

    _mm_pad_token_ids: set[int] | None
    """The host's: the tokens of images and videos, none in a run without images."""

    async def __init__(self, *args: Any, **kwargs: Any) -> None:  # type: ignore[misc]
        if "limit_mm_per_prompt" in kwargs:
            # A run has no videos, for which vLLM would set memory aside.
            kwargs["limit_mm_per_prompt"] = {**kwargs["limit_mm_per_prompt"], "video": 0}
        self._has_new_weights, self._forgetting = False, asyncio.Lock()
        await super().__init__(*args, **kwargs)

    async def update_weight(self, *args: Any, **kwargs: Any) -> Any:
        self._has_new_weights = True
        return await super().update_weight(*args, **kwargs)

    async def update_weight_cuda_ipc(self, *args: Any, **kwargs: Any) -> Any:
        self._has_new_weights = True
        return await super().update_weight_cuda_ipc(*args, **kwargs)

    async def update_weights(self, *args: Any, **kwargs: Any) -> None:
        self._has_new_weights = True
        await super().update_weights(*args, **kwargs)

    async def _forget_images(self) -> None:
        async with self._forgetting:
            # A request that was paused for the sync may need what it has; pausing has cleared the rest.
            if self._has_new_weights and not self.get_num_unfinished_requests():
                await self.llm.reset_encoder_cache()
            self._has_new_weights = False

    async def generate(self, prompt_token_ids: list[int], sampling_params: Any, *args: Any, **kwargs: Any) -> Any:
        if self._mm_pad_token_ids:
            await self._forget_images()
            sampling_params = sampling_params.clone()
            sampling_params.logit_bias = dict.fromkeys(self._mm_pad_token_ids, NEVER)
        return await super().generate(prompt_token_ids, sampling_params, *args, **kwargs)


class WithPrompt:
    """A processor that decodes a prompt with its images as the text that it was, and what follows as any processor."""

    def __init__(self, processor: Any, prompt: str) -> None:
        self._processor, self._prompt = processor, prompt
        self._length = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._processor, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As the processor's. The host calls it for the prompt, and refuses one that is too long instead of cutting it."""
        encoded = self._processor(*args, **kwargs)
        self._length = len(encoded["input_ids"][0])
        return encoded

    def decode(self, tokens: list[int], **kwargs: Any) -> str:
        """The text of a prompt and its response. tokens: those of the prompt, and then those of the response."""
        return self._prompt + self._processor.decode(tokens[self._length :], **kwargs)
