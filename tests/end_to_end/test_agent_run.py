"""Countdown with a calculator over several turns, with LoRA, in the real pipeline: what was sampled is what is trained on."""

import dataclasses
import json
import random
from collections.abc import Iterator

import pytest
from support.metric_names import nameless

from deltal_openrlhf.quickstart import supervised, task
from deltal_openrlhf.quickstart.model import build_tokenizer, save
from deltal_openrlhf.quickstart.sizes import CPU
from deltal_openrlhf.runs import rollouts

pytestmark = [pytest.mark.timeout(500), pytest.mark.gpus(2)]
ALPHA, LONGEST, GROUP = 0.75, 80, 4
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
def folder(tmp_path_factory):
    """A model of the quick start that has seen enough traces to write equations, problems, and the agent."""
    folder = tmp_path_factory.mktemp("agent")
    few = dataclasses.replace(CPU, steps=40, batch=32, micro_batch=32, warmup=10)
    tokenizer = build_tokenizer(few)
    save(supervised.train(tokenizer, few, seed=0), tokenizer, folder / "model", few)
    rng = random.Random(0)
    for split, n in (("train", 20), ("test", 6)):
        problems = [few.task.draw(rng, split) for _ in range(n)]
        labels = [json.dumps({"numbers": list(numbers), "target": target}) for numbers, target in problems]
        rows = [
            {"input": task.prompt(*problem), "label": label, "datasource": "countdown"}
            for problem, label in zip(problems, labels, strict=True)
        ]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "agent.py").write_text(RECORDED)
    return folder


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
        f"--eval.dataset {folder}/test.jsonl --eval.steps 5 --eval.n_samples_per_prompt 2 --deltal.save_rollouts 1 "
        "--algo.advantage.is_correction_level token --actor.entropy_coef 0 --train.batch_size 16 "
        "--ds.lora.rank 4 --ds.lora.alpha 8 --actor.adam.lr 1e-2"
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
        _, episodes = rollouts.read(rollouts.path_of(run.out / "hf", row["step"]))
        assert len(episodes) == 16
        lengths = []
        for episode in episodes:
            record = by_tokens[tuple(episode.token_ids)]
            mask = sampled(record)
            assert [0, *episode.action_mask] == mask
            assert episode.reward == record["reward"]
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
        assert nameless(set(row) - {"answered", "calculator/results"}) == []
    assert filled > 50

    (evaluation,) = [json.loads(line) for line in (run.out / "hf" / "evals.jsonl").read_text().splitlines()]
    tested = {json.loads(line)["input"] for line in (folder / "test.jsonl").read_text().splitlines()}
    rewards = [record["reward"] for record in records if record["prompt"] in tested]
    assert len(rewards) == 12 == evaluation["eval_num_samples"]
    assert evaluation["eval_countdown_pass1"] == pytest.approx(sum(rewards) / 12)
    check_export(run.out / "hf", folder / "model")


def check_export(exported, start) -> None:
    """The adapters are there, have moved, and give another model than the one that the run started from."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(exported)("3 4 5 make [35] :", return_tensors="pt")["input_ids"]
    base = AutoModelForCausalLM.from_pretrained(start, dtype=torch.float32)
    with torch.no_grad():
        before = base(tokens).logits
        trained = PeftModel.from_pretrained(base, exported)
        assert all(p.any() for name, p in trained.named_parameters() if "lora_B" in name)
        assert (trained(tokens).logits - before).abs().max() > 1e-3
