"""Countdown with a calculator over several turns, on prompts with pictures, with LoRA, in the real pipeline.

What vLLM sampled is what is trained on, and the adapters of both towers are exported and load again.
"""

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.metric_names import nameless

from deltal_openrlhf.data import countdown, shapes
from deltal_openrlhf.models.tiny_vision import IMAGE, SPECIAL, VIDEO, write_tiny_vision_model
from deltal_openrlhf.runs import rollouts

pytestmark = [pytest.mark.timeout(500), pytest.mark.gpus(2)]
ALPHA, LONGEST = 0.75, 128
MEDIA = {SPECIAL.index(IMAGE), SPECIAL.index(VIDEO)}
LIKED = {"=": 2.0, "+": 1.0, "<|im_end|>": 1.0} | dict.fromkeys("123456789", 1.0)
"""How often the model says something, in proportion. Everything else is rare."""
# Ours, with a record of what vLLM was asked and what it sampled. A result of the calculator pays: hits are rare in this model.
RECORDED = """
import json

from deltal_openrlhf.agents.countdown_calculator import AgentExecutor as Ours


class Engine:
    def __init__(self, engine):
        self.engine, self.turns = engine, []

    async def generate(self, tokens, *args, **kwargs):
        output = await self.engine.generate(tokens, *args, **kwargs)
        self.turns.append([len(tokens), list(output.outputs[0].token_ids)])
        return output


class AgentExecutor(Ours):
    async def execute(self, *args, llm_engine, **kwargs):
        engine = Engine(llm_engine)
        response = await super().execute(*args, llm_engine=engine, **kwargs)
        response["reward"] = response["extra_logs"]["calculator/results"]
        record = {name: response[name] for name in ("prompt", "observation_tokens", "reward")}
        with open(__file__ + ".jsonl", "a") as file:
            file.write(json.dumps(record | {"turns": engine.turns}) + "\\n")
        return response
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A model that writes sums, problems with pictures, and the agent."""
    folder = tmp_path_factory.mktemp("agent")
    write_tiny_vision_model(folder / "model")
    like(folder / "model")
    rng = random.Random(0)
    for split, n in (("train", 20), ("test", 4)):
        problems = countdown.generate(n, num_numbers=(3, 3), high=9, max_target=30, split=split)
        rows = [
            {
                "input": [{"role": "user", "content": f"<image>{target} of {' '.join(map(str, numbers))}"}],
                "label": countdown.label(numbers, target),
                "datasource": split,
                "images": [shapes.draw(rng).uri],
            }
            for numbers, target in problems
        ]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "agent.py").write_text(RECORDED)
    return folder


def like(model: Path) -> None:
    """Let the model draw tokens by LIKED: one number of the hidden state is the same for all tokens of text, and the head reads it."""
    import torch
    from transformers import AutoModelForImageTextToText, AutoTokenizer

    read = AutoModelForImageTextToText.from_pretrained(model, dtype=torch.float32)
    ids = AutoTokenizer.from_pretrained(model).convert_tokens_to_ids(list(LIKED))
    with torch.no_grad():
        read.model.language_model.embed_tokens.weight[:, 0] = 1.0  # 8 behind the last norm: the others are small
        read.lm_head.weight[:, 0] = -0.75
        read.lm_head.weight[ids, 0] = torch.tensor(list(LIKED.values())).log() / 8
    read.to(torch.bfloat16).save_pretrained(model)


def sampled(record: dict) -> list[int]:
    """The mask of an episode's tokens: 1 where vLLM sampled. Within the context's length, as the trainer sees it."""
    mask = [0] * len(record["observation_tokens"])
    for start, tokens in record["turns"]:
        assert record["observation_tokens"][start : start + len(tokens)] == tokens
        mask[start : start + len(tokens)] = [1] * len(tokens)
    return mask[:LONGEST]


def holes(mask: list[int]) -> Iterator[int]:
    """Tokens between the first and the last sampled one that nobody sampled."""
    first, last = mask.index(1), len(mask) - mask[::-1].index(1)
    yield from (place for place in range(first, last) if not mask[place])


def test_episodes_are_trained_on_where_they_were_sampled_and_the_export_loads(start, folder):
    flags = (
        f"--loss_agg deltal --alpha {ALPHA} --actor.model_name_or_path {folder}/model --train.agent_func_path {folder}/agent.py "
        f"--data.prompt_dataset {folder}/train.jsonl --data.max_samples 20 --data.max_len {LONGEST} --rollout.max_new_tokens 64 "
        "--data.apply_chat_template --data.max_images_per_prompt 1 --train.batch_size 16 "
        f"--eval.dataset {folder}/test.jsonl --eval.steps 5 --eval.n_samples_per_prompt 2 --deltal.save_rollouts 1 "
        "--algo.advantage.is_correction_level token --ds.lora.rank 4 --ds.lora.alpha 8 --actor.adam.lr 1e-2"
    ).split()
    with start(*flags) as run:
        assert run.wait() == 0, run.text() + run.log()
        metrics = run.metrics()
        assert run.survivors() == []
    records = [json.loads(line) for line in (folder / "agent.py.jsonl").read_text().splitlines()]
    by_tokens = {tuple(record["observation_tokens"][:LONGEST]): record for record in records}

    assert [row["step"] for row in metrics] == [1, 2, 3, 4, 5]
    filled = 0
    for row in metrics:
        _, episodes = rollouts.read(rollouts.path_of(run.out / "hf", row["step"]), images=True)
        assert len(episodes) == 16
        lengths = []
        for episode in episodes:
            record = by_tokens[tuple(episode.token_ids)]
            mask = sampled(record)
            assert [0, *episode.action_mask] == mask
            assert episode.reward == record["reward"]
            # A picture is four tokens of the prompt; nobody samples one.
            media = [place for place, token in enumerate(episode.token_ids) if token in MEDIA]
            assert len(media) == 4 and max(media) < mask.index(1)
            lengths.append(sum(mask))
            filled += len(list(holes(mask)))
        # ∆L's lengths are the sampled tokens: its weights by hand, from the records alone.
        powers = [length**-ALPHA for length in lengths]
        assert row["deltal/response_length_mean"] == pytest.approx(sum(lengths) / len(lengths), rel=1e-6)
        assert row["deltal/ess"] == pytest.approx(sum(powers) ** 2 / sum(p * p for p in powers), rel=1e-5)
        assert row["deltal/weight_sum_x_M"] == pytest.approx(1, abs=1e-6)
        # From the first to the last sampled token, with the calculator's between them, it is more: the host's count.
        assert row["rollout/response_length_mean"] > row["deltal/response_length_mean"] + 0.1
        # The engine has the weights with their adapters, and log-probabilities stand at their tokens.
        assert abs(row["vllm_kl"]) < 0.02
        assert row["actor_grad_norm"] > 0
        assert nameless(set(row) - {"answered", "calculator/results"}) == []
    assert filled > 50

    (evaluation,) = [json.loads(line) for line in (run.out / "hf" / "evals.jsonl").read_text().splitlines()]
    tested = [json.loads(line)["input"][0]["content"].removeprefix("<image>") for line in open(folder / "test.jsonl")]
    rewards = [record["reward"] for record in records if any(text in record["prompt"] for text in tested)]
    assert len(rewards) == 8 == evaluation["eval_num_samples"]
    assert evaluation["eval_test_pass1"] == pytest.approx(sum(rewards) / 8)
    check_export(run.out / "hf", folder / "model")


def check_export(exported: Path, start: Path) -> None:
    """Processor and adapters are there, those of both towers have moved, and they make another model."""
    import torch
    from peft import PeftModel
    from PIL import Image
    from transformers import AutoModelForImageTextToText, AutoProcessor

    prompt = f"<|vision_start|>{IMAGE}<|vision_end|>How many?"
    image = Image.new("RGB", (64, 64), "red")
    given = AutoProcessor.from_pretrained(exported)(text=[prompt], images=[image], return_tensors="pt")
    base = AutoModelForImageTextToText.from_pretrained(start, dtype=torch.float32)
    with torch.no_grad():
        before = base(**given).logits
        trained = PeftModel.from_pretrained(base, exported)
        moved = {name for name, p in trained.named_parameters() if "lora_B" in name and p.any()}
        assert any("visual" in name for name in moved) and any("language_model" in name for name in moved)
        assert (trained(**given).logits - before).abs().max() > 1e-3
