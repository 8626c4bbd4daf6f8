"""The quick start's parts: task, tokenizer from a saved folder, supervised batches, sampling, evaluation, the control's reward."""

import random
from collections import Counter
from dataclasses import replace

import pytest
import torch
from support.arithmetic import OPERATIONS
from torch.distributions import Categorical
from transformers import AutoModelForCausalLM, AutoTokenizer

from deltal_openrlhf.data.countdown import Problem, label, split_of
from deltal_openrlhf.models.sampling import sample
from deltal_openrlhf.quickstart import (
    coin_reward,
    evaluate,
    model,
    sizes,
    supervised,
    task,
)
from deltal_openrlhf.quickstart.kinds import KINDS
from deltal_openrlhf.rewards.countdown_reward import reward_func

TASK = sizes.CPU.task


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A saved checkpoint with fresh weights."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("start") / "start"
    tokenizer = model.build_tokenizer()
    model.save(model.build_model(tokenizer), tokenizer, path)
    return path


def grade(prompt: str, response: str, problem: Problem) -> float:
    return reward_func([f"{prompt} {response} <eos>"], [prompt], [label(*problem)])["rewards"].item()


def test_traces():
    """Every trace is words of the task, within the limit; it is right if it answers, and its tape agrees with its answer."""
    rng = random.Random(0)
    answered, lengths = 0, []
    for _ in range(2000):
        problem = TASK.draw(rng, "train")
        prompt, response = task.prompt(*problem), TASK.trace(problem, rng)
        words = response.split()
        assert set(words) | set(prompt.split()) <= set(TASK.words)
        assert len(prompt.split()) == TASK.longest_prompt
        has_answer = "<answer>" in words
        assert grade(prompt, response, problem) == float(has_answer)
        assert grade(prompt, response, problem._replace(target=problem.target + 1)) == 0.0
        tapes = response.split(" <answer>")[0].removesuffix(" NO").split(" NO ")
        for i, tape in enumerate(tapes):
            a, first, b, _, between, second, c, _, value = tape.split()
            assert sorted(map(int, (a, b, c))) == sorted(problem.numbers)
            assert OPERATIONS[first](int(a), int(b)) == int(between)
            assert OPERATIONS[second](int(between), int(c)) == int(value)
            assert (int(value) == problem.target) == (has_answer and i == len(tapes) - 1)
        if has_answer:
            assert response.endswith(f"<answer> ( {a} {first} {b} ) {second} {c} </answer>")
        answered += has_answer
        lengths.append(len(words) + 1)
    assert 0.4 < answered / 2000 < 0.75
    assert max(lengths) <= TASK.max_new_tokens and sorted(lengths)[1900] > 5 * sorted(lengths)[100]


def test_longest_trace_fits():
    class NeverLucky(random.Random):
        def random(self):
            return 1.0  # no hint, no giving up

        def choice(self, attempts):
            return next(a for a in attempts if a.value != 9)

    words = len(TASK.trace(Problem((1, 2, 3), 9), NeverLucky()).split())
    assert words == TASK.max_attempts * 10
    assert words + 1 <= TASK.max_new_tokens and 23 * 10 + 9 + 9 + 1 <= TASK.max_new_tokens


def test_attempts_against_brute_force():
    """All values of (a o b) o c."""
    values = set()
    for a, b, c in ((2, 3, 7), (2, 7, 3), (3, 2, 7), (3, 7, 2), (7, 2, 3), (7, 3, 2)):
        for first in "+-*/":
            for second in "+-*/":
                between = OPERATIONS[first](a, b)
                value = OPERATIONS[second](between, c)
                if all(0 <= x <= 42 and x == int(x) for x in (between, value)):
                    values.add(int(value))
    assert set(TASK.attempts((2, 3, 7))) == values


def test_held_out_problems():
    problems = task.held_out(TASK.draw, 256)
    assert len(set(problems)) == 256 and problems == task.held_out(TASK.draw, 256)
    assert all(split_of(*p) == "test" and p.target in TASK.attempts(p.numbers) for p in problems)
    rng = random.Random(0)
    assert all(split_of(*TASK.draw(rng, "train")) == "train" for _ in range(500))


def test_checkpoint_loads_as_the_host_loads_it(folder):
    tokenizer, config = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder).config
    assert tokenizer.eos_token == "<eos>" and len(tokenizer) == config.vocab_size == len(TASK.words) + 3
    assert AutoModelForCausalLM.from_pretrained(folder).generation_config.eos_token_id == tokenizer.eos_token_id
    assert AutoModelForCausalLM.from_pretrained(folder).dtype == torch.bfloat16
    assert len(tokenizer("1 2 3 make [6] :", add_special_tokens=False)["input_ids"]) == TASK.longest_prompt


def test_round_trip_from_the_saved_folder(folder):
    """A trace that went through the tokens of the saved tokenizer is still right for the reward function."""
    tokenizer, rng = AutoTokenizer.from_pretrained(folder), random.Random(1)
    graded = set()
    for _ in range(50):
        problem = TASK.draw(rng, "train")
        prompt, response = task.prompt(*problem), TASK.trace(problem, rng)
        ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        ids = ids + tokenizer(response, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
        query = tokenizer.decode(ids, skip_special_tokens=False)
        assert query == f"{prompt} {response} <eos>"
        graded.add(reward_func([query], [prompt], [label(*problem)])["rewards"].item())
    assert graded == {0.0, 1.0}


def test_a_tokenizer_that_loses_words_is_refused(folder, monkeypatch, tmp_path):
    monkeypatch.setattr(task.Task, "words", [w for w in TASK.words if w != "7"])
    tokenizer = model.build_tokenizer()
    with pytest.raises(ValueError, match="<unk>"):
        model.save(model.build_model(tokenizer), tokenizer, tmp_path / "start")
    assert not (tmp_path / "start").exists()


def test_loss_weights():
    tokenizer = model.build_tokenizer()
    ids = tokenizer.get_vocab()
    text = "3 4 5 make [35] : 5 * 3 = 15 - 4 = 11 NO 3 + 4 = 7 * 5 = 35 <answer> ( 3 + 4 ) * 5 </answer> <eos> <pad>"
    tokens = torch.tensor([[ids[word] for word in text.split()]])
    weights = supervised._Weights(ids)(tokens, ids["<pad>"])[0].tolist()
    attempt = [1, 1, 1, 1, 4, 1, 1, 1, 4, 4]
    assert weights == [0] * 5 + attempt * 2 + [4] * 9 + [0]


def test_supervised_start_learns():
    """A few steps on one core: the loss of a fresh batch falls, and the same seed gives the same weights."""
    tokenizer = model.build_tokenizer()

    def loss(trained):
        tokens, weights = next(supervised._batches(tokenizer, sizes.CPU, random.Random(5)))
        logits = trained(input_ids=tokens[:, :-1]).logits
        losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
        return ((losses * weights.flatten()).sum() / weights.sum()).item()

    once, again, longer = (supervised.train(tokenizer, replace(sizes.CPU, steps=n), seed=1) for n in (1, 1, 8))
    assert all(torch.equal(a, b) for a, b in zip(once.parameters(), again.parameters(), strict=True))
    assert loss(longer) < loss(once) - 0.3


def test_sampling_drops_finished_rows_and_follows_the_model(folder):
    """Logits so peaked that sampling is greedy: each row is what the model gives it alone, with and without rows that end early."""
    net = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    net.lm_head.weight.data *= 1e5
    generator = torch.Generator().manual_seed(0)
    prompts = torch.randint(3, 50, (40, 6), generator=generator).tolist()

    def respond(prompts, *eos):
        return sample(net, prompts, max_new_tokens=30, eos=eos, generator=generator)

    uneven = [prompt[: 2 + i % 5] for i, prompt in enumerate(prompts)]  # padded on the left inside
    for rows in (prompts, uneven, uneven[:10] * 4):  # the last with several responses to a prompt
        whole = respond(rows)
        for prompt, response in zip(rows, whole, strict=True):
            logits = net(input_ids=torch.tensor([prompt + response.tokens])).logits[0, len(prompt) - 1 : -1]
            assert logits.argmax(-1).tolist() == response.tokens and not response.finished
        end, other_end = whole[0].tokens[7], whole[1].tokens[9]
        for response, cut in zip(whole, respond(rows, end, other_end), strict=True):
            last = next((i for i, token in enumerate(response.tokens) if token in (end, other_end)), None)
            assert cut.tokens == response.tokens[: None if last is None else last + 1]
            assert cut.finished == (last is not None)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_entropy_is_that_of_the_sampled_tokens_distributions(folder, temperature):
    net = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    prompts, generator = [[5, 6], [7, 8, 9, 10]], torch.Generator().manual_seed(0)
    responses = sample(net, prompts, max_new_tokens=9, eos=[], generator=generator, temperature=temperature)
    for prompt, response in zip(prompts, responses, strict=True):
        logits = net(input_ids=torch.tensor([prompt + response.tokens])).logits[0, len(prompt) - 1 : -1]
        assert response.entropy == pytest.approx(
            Categorical(logits=logits / temperature).entropy().sum().item(), rel=1e-4
        )


def test_evaluation_of_an_untrained_model(folder):
    kind = replace(KINDS["words"], evaluated=3, max_new_tokens=20)
    result = evaluate.evaluate(folder, task.held_out(TASK.draw, 6), kind)
    assert result["correct"] == [[0] * 3] * 6 and len(result["lengths"]) == 18 and len(result["first"]) == 6
    assert evaluate.evaluate(folder, task.held_out(TASK.draw, 6), kind) == result


@pytest.fixture
def coins(monkeypatch):
    """Rewards of texts, from a fresh start."""
    monkeypatch.setattr(coin_reward, "_seen", Counter())
    return lambda texts: coin_reward.reward_func(texts, texts, texts)["rewards"]


def test_coins_ignore_the_answer(coins):
    right = coins([f"p {i} <answer> ( 1 + 2 ) * 3 </answer>" for i in range(4000)])
    wrong = coins([f"p {i} <answer> 1 </answer>" for i in range(4000)])
    for values in (right, wrong):
        assert set(values.tolist()) == {0.0, 1.0} and values.mean().item() == pytest.approx(0.5, abs=0.03)
    assert abs(torch.corrcoef(torch.stack([right, wrong]))[0, 1].item()) < 0.06


def test_coins_of_equal_responses_are_independent(coins, monkeypatch):
    """So no text has an advantage, however often it comes. In another order, a text gets the same coins in all."""
    texts = [f"q {group} {text}" for group in range(5000) for text in "aaaabcde"]
    rewards = coins(texts).view(-1, 8)
    assert torch.corrcoef(rewards.T).fill_diagonal_(0).abs().max() < 0.06
    monkeypatch.setattr(coin_reward, "_seen", Counter())
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(0)).tolist()
    again = torch.empty(len(texts))
    again[order] = coins([texts[i] for i in order])
    assert torch.equal(again.view(-1, 8)[:, :4].sum(1), rewards[:, :4].sum(1))
    assert torch.equal(again.view(-1, 8)[:, 4:], rewards[:, 4:])
