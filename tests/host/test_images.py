"""What a run mends of the host's rollouts with images, on the tiny Qwen2.5-VL with its own processor."""

import asyncio
from types import SimpleNamespace

import pytest
import torch
from openrlhf.models import Actor
from openrlhf.utils import get_tokenizer
from openrlhf.utils.agent import SingleTurnAgentExecutor
from PIL import Image
from transformers import AutoProcessor
from vllm import SamplingParams

from deltal_openrlhf.host import sampling
from deltal_openrlhf.host.images import NEVER, ImageRolloutActor
from deltal_openrlhf.host.reward import RewardedExecutor, RewardSource
from deltal_openrlhf.models.tiny_vision import IMAGE, SPECIAL, VIDEO, write_tiny_vision_model
from deltal_openrlhf.standins import videos

MEDIA = {SPECIAL.index(IMAGE), SPECIAL.index(VIDEO)}
PROMPT = f"<|vision_start|>{IMAGE}<|vision_end|>How many?"
RED = Image.new("RGB", (64, 48), "red")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    write_tiny_vision_model(folder)
    return folder


@pytest.fixture(scope="module")
def processor(model):
    """As the host's controller has it."""
    return get_tokenizer(model, None)


# ── The processor ──


def test_without_torchvision_the_models_own_processor_reads_images_and_keeps_what_it_knows_of_videos(
    processor, tmp_path
):
    assert videos.is_missing()  # as everywhere where torch was built for CPUs
    given = processor(text=[PROMPT], images=[RED], return_tensors="pt")
    assert given["image_grid_thw"].tolist() == [[1, 4, 4]] and given["pixel_values"].shape == (16, 1176)
    assert (given["input_ids"] == SPECIAL.index(IMAGE)).sum() == 4
    with pytest.raises(ValueError, match="videos need torchvision"):
        processor(text=[VIDEO], videos=[torch.zeros(2, 3, 28, 28)])
    processor.save_pretrained(tmp_path)
    again = AutoProcessor.from_pretrained(tmp_path)
    assert again.video_processor.to_dict() == processor.video_processor.to_dict() != {}


# ── Tokens of images in a response ──


def test_a_sampled_image_token_ends_the_hosts_run(model, processor):
    actor = Actor(str(model), attn_implementation="sdpa")
    assert actor.is_vlm
    given = processor(text=[PROMPT], images=[RED], return_tensors="pt")
    inputs = {name: given[name] for name in ("pixel_values", "image_grid_thw")}
    mask = torch.tensor([[1, 1]])
    for response, fails in (([71, 72], False), ([71, SPECIAL.index(IMAGE)], True)):
        ids = torch.cat([given["input_ids"], torch.tensor([response])], dim=1)
        try:
            assert actor(ids, mask, torch.ones_like(ids), **inputs).shape == (1, 2) and not fails
        except ValueError as error:
            assert fails and "do not match" in str(error)


def engine_of(media, said, unfinished=0) -> ImageRolloutActor:
    """An engine without vLLM. said: gets what vLLM is told."""

    async def reset():
        said.append("forget")
        await asyncio.sleep(0.01)
        said.append("forgotten")

    engine = ImageRolloutActor.__new__(ImageRolloutActor)
    engine._mm_pad_token_ids, engine._has_new_weights, engine._forgetting = media, False, asyncio.Lock()
    engine.llm = SimpleNamespace(
        reset_encoder_cache=reset,
        output_processor=SimpleNamespace(get_num_unfinished_requests=lambda: unfinished),
        collective_rpc=lambda name, args: asyncio.sleep(0),
    )
    return engine


@pytest.mark.parametrize("update", ["update_weight", "update_weight_cuda_ipc", "update_weights"])
@pytest.mark.parametrize(("media", "unfinished"), [(MEDIA, 0), (MEDIA, 3), (set(), 0)])
def test_an_engine_forgets_its_images_before_the_first_request_with_new_weights(update, media, unfinished, monkeypatch):
    said = []

    async def generate(self, *args, **kwargs):
        said.append("generate")

    async def run():
        engine = engine_of(media, said, unfinished)
        given = {"update_weight": ("w", torch.float32, (1,)), "update_weight_cuda_ipc": ("w", torch.float32, (1,), {})}
        for _ in range(2):
            await getattr(engine, update)(*given.get(update, (torch.float32, [("w", (1,))])))
            await asyncio.gather(*(engine.generate([1], SamplingParams()) for _ in range(3)))
            await engine.generate([1], SamplingParams())

    monkeypatch.setattr(sampling.SeededRolloutActor, "generate", generate)
    asyncio.run(run())
    step = ["forget", "forgotten"] if media and not unfinished else []
    assert said == [*step, *["generate"] * 4] * 2


@pytest.mark.parametrize("media", [MEDIA, set()])
def test_the_engine_never_draws_one(media, monkeypatch):
    asked = []

    async def generate(self, tokens, params, *args, **kwargs):
        asked.append(params)

    monkeypatch.setattr(sampling.SeededRolloutActor, "generate", generate)
    engine = engine_of(media, [])
    params = SamplingParams(seed=3, max_tokens=4)
    asyncio.run(engine.generate([1, 2], params))
    assert asked[0].logit_bias == ({token: NEVER for token in media} or None)
    assert (asked[0].seed, asked[0].max_tokens) == (3, 4) and params.logit_bias is None


# ── The query of a reward ──


class Engine:
    async def generate(self, tokens, params, multi_modal_data=None):
        assert len(multi_modal_data["image"]) == 1
        answer = self.processor(text="It is <answer>3</answer>", add_special_tokens=False)["input_ids"][0]
        return SimpleNamespace(outputs=[SimpleNamespace(token_ids=answer, finish_reason="stop", logprobs=None)])


def respond(executor, processor):
    engine = Engine()
    engine.processor = processor
    given = {"prompt": PROMPT, "label": "3", "sampling_params": SamplingParams(max_tokens=64), "max_length": 256}
    return asyncio.run(executor.execute(**given, hf_tokenizer=processor, llm_engine=engine, images=[RED]))


def test_a_query_starts_with_its_prompt(processor, tmp_path):
    file = tmp_path / "reward.py"
    file.write_text(
        "def reward_func(queries, prompts, labels):\n    return {'rewards': [float(queries[0].startswith(prompts[0]))]}\n"
    )
    assert respond(SingleTurnAgentExecutor([str(file)]), processor)["reward"] == [0.0]  # the host's own
    assert respond(RewardedExecutor(RewardSource([str(file)], 20, "none")), processor)["reward"] == [1.0]
    graded = respond(RewardedExecutor(RewardSource(["deltal:math"], 20, "none")), processor)
    assert float(graded["reward"][0]) == 1.0
    assert (torch.tensor(graded["observation_tokens"]) == SPECIAL.index(IMAGE)).sum() == 4
