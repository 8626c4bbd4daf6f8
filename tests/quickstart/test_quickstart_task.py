"""The quick start's parts: task, tokenizer from a saved folder, supervised batches, evaluation, stages, report, command line."""

import json
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
from dataclasses import replace

import pytest
import torch
from torch.distributions import Categorical
from transformers import AutoModelForCausalLM, AutoTokenizer

from deltal_openrlhf.data.countdown import Problem, label, split_of
from deltal_openrlhf.models.sampling import sample
from deltal_openrlhf.parity import forkserver
from deltal_openrlhf.quickstart import __main__ as command_line
from deltal_openrlhf.quickstart import (
    evaluate,
    model,
    report,
    shuffled_reward,
    sizes,
    stages,
    supervised,
    task,
    training,
)
from deltal_openrlhf.rewards.countdown_reward import reward_func
from deltal_openrlhf.statistics import paired

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
            assert eval(f"{a} {first} {b}") == int(between)  # noqa: S307 - our own trace
            assert eval(f"{between} {second} {c}") == int(value)  # noqa: S307
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
    """All values of (a o b) o c by Python's own arithmetic."""
    values = set()
    for a, b, c in ((2, 3, 7), (2, 7, 3), (3, 2, 7), (3, 7, 2), (7, 2, 3), (7, 3, 2)):
        for first in "+-*/":
            for second in "+-*/":
                between = eval(f"{a} {first} {b}")  # noqa: S307
                value = eval(f"{between} {second} {c}")  # noqa: S307
                if all(0 <= x <= 42 and x == int(x) for x in (between, value)):
                    values.add(int(value))
    assert set(TASK.attempts((2, 3, 7))) == values


def test_held_out_problems():
    problems = TASK.held_out(256)
    assert len(set(problems)) == 256 and problems == TASK.held_out(256)
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
    for rows in (prompts, uneven):
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
    result = evaluate.evaluate(folder, TASK.held_out(6), samples=3, max_new_tokens=20)
    assert result["correct"] == [[0] * 3] * 6 and len(result["lengths"]) == 18
    assert evaluate.evaluate(folder, TASK.held_out(6), samples=3, max_new_tokens=20) == result


def test_intervals():
    rng = random.Random(0)
    before = [[int(rng.random() < 0.3) for _ in range(4)] for _ in range(256)]
    after = [[int(x or rng.random() < 0.2) for x in row] for row in before]
    alone = range(256)
    single, change = paired.accuracy(before, alone), paired.difference(before, after, alone)
    assert single["low"] < single["mean"] < single["high"]
    # The normal approximation: 1.96 standard errors of 256 problem means.
    means = torch.tensor(before).float().mean(1)
    assert (single["high"] - single["low"]) / 2 == pytest.approx(1.96 * means.std().item() / 16, rel=0.1)
    assert change["mean"] == pytest.approx(paired.accuracy(after, alone)["mean"] - single["mean"])
    assert change["low"] > 0
    assert paired.difference(before, before, alone) == {"mean": 0.0, "low": 0.0, "high": 0.0}


def test_intervals_take_the_same_problem_in_another_order_as_one():
    # 64 problems, each four times with the same result: as much evidence as 64.
    rng = random.Random(1)
    once = [[int(rng.random() < 0.5)] for _ in range(64)]
    fourfold = paired.accuracy(once * 4, list(range(64)) * 4)
    single = paired.accuracy(once, range(64))
    assert fourfold["high"] - fourfold["low"] == pytest.approx(single["high"] - single["low"], rel=0.01)
    naive = paired.accuracy(once * 4, range(256))
    assert naive["high"] - naive["low"] < 0.6 * (single["high"] - single["low"])


def test_shuffled_reward_ignores_the_answer():
    labels = [shuffled_reward.chance_label((1, 2, 3), 9, 0.3)] * 4000
    right = [f"p {i} <answer> ( 1 + 2 ) * 3 </answer>" for i in range(4000)]
    wrong = [f"p {i} <answer> 1 </answer>" for i in range(4000)]
    rewards = {
        name: shuffled_reward.reward_func(q, ["p"] * 4000, labels)["rewards"]
        for name, q in (("r", right), ("w", wrong))
    }
    for values in rewards.values():
        assert set(values.tolist()) == {0.0, 1.0} and values.mean().item() == pytest.approx(0.3, abs=0.03)
    assert abs(torch.corrcoef(torch.stack(list(rewards.values())))[0, 1].item()) < 0.06
    assert reward_func(right[:1], ["p"], labels[:1])["rewards"].item() == 1.0  # the label still serves the true reward


def test_stages_are_skipped_repeated_and_resumed(tmp_path, capsys):
    calls = []
    path = tmp_path / "x.json"

    def work():
        calls.append(1)
        return {"n": len(calls)}

    first = stages.run_stage(path, "x", {"seed": 0}, work)
    assert first["result"] == {"n": 1} and first["peak_memory_gb"] > 0.05
    assert stages.run_stage(path, "x", {"seed": 0}, work) == first
    assert stages.run_stage(path, "x", {"seed": 1}, work)["result"] == {"n": 2}
    made = tmp_path / "folder"
    assert stages.run_stage(path, "x", {"seed": 1}, work, made)["result"] == {"n": 3}
    made.mkdir()
    assert stages.run_stage(path, "x", {"seed": 1}, work, made)["result"] == {"n": 3}
    with pytest.raises(RuntimeError):
        stages.run_stage(path, "x", {"seed": 2}, lambda: (_ for _ in ()).throw(RuntimeError))
    assert json.loads(path.read_text())["settings"] == {"seed": 1}


def test_prompts_of_a_training(tmp_path):
    training.write_prompts(tmp_path / "a.jsonl", steps=3, seed=1, chance=None)
    training.write_prompts(tmp_path / "b.jsonl", steps=3, seed=1, chance=0.25)
    a, b = ([json.loads(x) for x in (tmp_path / f"{n}.jsonl").read_text().splitlines()] for n in "ab")
    assert len(a) == 48 and [r["input"] for r in a] == [r["input"] for r in b]
    for true, control in zip(a, b, strict=True):
        problem = json.loads(true["label"])
        assert split_of(problem["numbers"], problem["target"]) == "train"
        assert true["input"] == task.prompt(problem["numbers"], problem["target"])
        assert json.loads(control["label"]) == {**problem, "chance": 0.25}


def test_training_command_is_one_that_openrlhf_knows(tmp_path):
    """Every flag is the host's, except the two short ones of ours."""
    import inspect

    import openrlhf.cli.train_ppo_ray as host

    arguments = training.command(
        start=tmp_path,
        out=tmp_path,
        prompts=tmp_path,
        loss=["--loss_agg", "deltal", "--alpha", "1.0"],
        steps=2,
        seed=3,
        control=True,
    )
    flags = [word for word in arguments[3:] if word.startswith("--")]
    assert len(flags) == len(set(flags))
    source = inspect.getsource(host).replace('f"--{prefix}.', '"--actor.')
    assert [f for f in flags if f'"{f}"' not in source] == ["--loss_agg", "--alpha"]
    assert arguments[arguments.index("--reward.remote_url") + 1].endswith("shuffled_reward.py")


def test_report(tmp_path):
    keys = ["rollout/reward_mean", "deltal/ess", "deltal/grad_norm"]
    keys += [f"deltal/response_length_{k}" for k in ("mean", "p50", "p95", "max")]
    rows = [{"step": step, **{k: float(step) for k in keys}} for step in range(1, 6)]
    interval = {"mean": 0.2, "low": 0.1, "high": 0.3}
    report.plot(rows, interval, interval, "title", tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG") and len(list(tmp_path.iterdir())) == 1
    table = report.table(report.accuracies([[0, 0], [0, 1]], [[1, 1], [0, 1]], [0, 1]), 43, 120)
    assert "0.250" in table and "0.750" in table and "+0.500" in table and "120" in table


def test_whole_command_with_a_stand_in_for_training(tmp_path, monkeypatch, capsys, folder):
    """All stages; the training is a copy of the start. Then again: nothing is repeated. Then with another alpha: training alone is."""
    trainings = []

    def copy_start(arguments):
        trainings.append(arguments)
        checkpoint = tmp_path / "out" / "checkpoint"
        tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out" / "start")
        model.save(AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "start"), tokenizer, checkpoint)
        keys = ["deltal/grad_norm", "deltal/ess", "rollout/reward_mean", "deltal/response_length_mean"]
        (checkpoint / "metrics.jsonl").write_text(json.dumps({"step": 1, **dict.fromkeys(keys, 1.0)}) + "\n")

    monkeypatch.setattr(training, "train", copy_start)
    monkeypatch.setattr(sizes, "CPU", replace(sizes.CPU, steps=2, task=replace(TASK, max_new_tokens=30)))
    monkeypatch.setattr(task, "HELD_OUT", 4)
    warm = forkserver.context()
    monkeypatch.setattr(multiprocessing, "get_context", lambda method: warm)
    arguments = ["--out", str(tmp_path / "out"), "--steps", "2"]
    assert command_line.main(arguments) == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["accuracy_before"] == summary["accuracy_after"] and summary["accuracy_difference"] == 0
    assert {"accuracy_before_interval", "accuracy_after_interval", "steps", "seconds", "peak_memory_gb"} < set(summary)
    for name in ("checkpoint", "plot"):
        assert (tmp_path / "out" / summary[name]).exists()
    assert "held-out accuracy" in capsys.readouterr().out

    assert command_line.main(arguments) == 0
    assert len(trainings) == 1
    assert command_line.main([*arguments, "--alpha", "0.5"]) == 0
    assert len(trainings) == 2 and trainings[1][-2:] == ["--alpha", "0.5"]
    assert (tmp_path / "out" / "previous" / "checkpoint" / "metrics.jsonl").exists()
    assert "supervised start: done before" in capsys.readouterr().out
    assert command_line.main([*arguments, "--loss_agg", "token-mean"]) == 0
    assert trainings[2][-2:] == ["--loss_agg", "token-mean"]


def test_failed_training_is_reported_and_repeated(tmp_path):
    with pytest.raises(training.TrainingFailed) as failed:
        training.train([sys.executable, "-c", "raise SystemExit(3)"])
    assert failed.value.code == 3


def test_sigterm_is_passed_on_to_the_training():
    def terminate_once_passed_on():
        while signal.getsignal(signal.SIGTERM) is before:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    threading.Thread(target=terminate_once_passed_on, daemon=True).start()
    with pytest.raises(training.TrainingFailed) as failed:
        training.train([sys.executable, "-c", "import time; time.sleep(60)"])
    assert failed.value.code == -signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    "bad",
    [["--alpha", "1.5"], ["--alpha", "nan"], ["--steps", "0"], ["--seed", "-1"], ["--loss_agg", "x"], ["--out", "a,b"]],
)
def test_bad_flags(bad, capsys):
    with pytest.raises(SystemExit) as stopped:
        command_line.main(bad)
    assert stopped.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_help(capsys):
    with pytest.raises(SystemExit) as stopped:
        command_line.main(["--help"])
    assert stopped.value.code == 0
    assert "--shuffle_rewards" in capsys.readouterr().out
