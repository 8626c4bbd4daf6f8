"""The quick start with SmolLM2: sums, their responses, what the supervised start learns from, and the command with a small stand-in."""

import json
import random
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tokenizers import Regex, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer

from deltal_openrlhf.cli import quickstart as command_line
from deltal_openrlhf.data.countdown import same_problem
from deltal_openrlhf.data.prompt_tokens import as_text
from deltal_openrlhf.models.tiny import write_tiny_model
from deltal_openrlhf.quickstart import given, stages, sums, supervised_sums, task, training
from deltal_openrlhf.quickstart.kinds import KINDS
from deltal_openrlhf.rewards.math_reward import reward_func

TEMPLATE = "{% for m in messages %}({{ m['role'] }}) {{ m['content'] }}\n{% endfor %}{% if add_generation_prompt %}(assistant) {% endif %}"
CHARACTERS = ["<pad>", "<eos>", "<unk>", *map(chr, range(32, 127)), "\n"]
STEP = re.compile(r"(-?\d+) ([+-]) (\d+) = (-?\d+)")


@pytest.fixture(scope="module")
def chat(tmp_path_factory) -> Path:
    """A random model with a chat template, whose tokens are characters."""
    folder = tmp_path_factory.mktemp("models") / "chat"
    torch.manual_seed(0)
    write_tiny_model(folder, CHARACTERS, pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated"))
    for name, values in (
        ("config.json", {"max_position_embeddings": 2048}),
        ("tokenizer_config.json", {"chat_template": TEMPLATE}),
    ):
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return folder


def drawn(n: int, split: str = "train"):
    rng = random.Random(7)
    return [sums.draw(rng, split) for _ in range(n)]


def total_of(expression: str) -> int:
    """Of "6 + 4 - 9"."""
    return sum(map(int, expression.replace("+ ", "").replace("- ", "-").split()))


# ── The task ──


def test_a_question_asks_for_its_target():
    for problem in drawn(300):
        message = sums.question(*problem)[-1]
        expression, equals, rest = message["content"].partition(" =")
        assert (message["role"], equals, rest) == ("user", " =", "")
        assert re.fullmatch(r"\d+( [+-] \d+){1,4}", expression)
        assert total_of(expression) == problem.target
        assert all(1 <= abs(number) <= 9 for number in problem.numbers)
    assert {len(problem.numbers) for problem in drawn(300)} == {2, 3, 4, 5}


def test_every_line_of_steps_is_true_and_takes_the_next_number():
    for problem in drawn(300):
        *lines, last = sums.in_steps(problem).split("\n")
        total = problem.numbers[0]
        assert len(lines) == len(problem.numbers) - 1
        for line, number in zip(lines, problem.numbers[1:], strict=True):
            left, sign, right, result = STEP.fullmatch(line).groups()
            assert (int(left), int(sign + right)) == (total, number)
            total += number
            assert int(result) == total
        assert last == f"#### {problem.target}"


def test_half_of_the_responses_give_the_answer_at_once():
    rng = random.Random(0)
    made = [(problem, sums.response(problem, rng)) for problem in drawn(1000)]
    at_once = [response == f"#### {problem.target}" for problem, response in made]
    assert 440 < sum(at_once) < 560
    assert all(
        response == sums.in_steps(problem)
        for (problem, response), short in zip(made, at_once, strict=True)
        if not short
    )


def test_the_math_reward_grades_responses():
    problems = drawn(100)
    prompts = [sums.question(*problem)[-1]["content"] for problem in problems]
    labels = [sums.label(*problem) for problem in problems]
    right = [f"{prompt} {sums.in_steps(problem)}" for prompt, problem in zip(prompts, problems, strict=True)]
    wrong = [
        f"{prompt} {sums.in_steps(problem._replace(numbers=(problem.numbers[0] + 1, *problem.numbers[1:])))}"
        for prompt, problem in zip(prompts, problems, strict=True)
    ]
    assert reward_func(right, prompts, labels)["rewards"].sum() == 100
    assert reward_func(wrong, prompts, labels)["rewards"].sum() == 0


def test_held_out_sums_are_never_trained_on():
    held_out = set(map(same_problem, task.held_out(sums.draw, 256)))
    assert held_out and not held_out & set(map(same_problem, drawn(20_000)))
    assert held_out & set(map(same_problem, drawn(20_000, "test")))


# ── The supervised start ──


def test_the_loss_is_that_of_all_logits_at_the_responses_tokens(chat):
    """Against logits of every position, with the tokens of a response found by decoding."""
    tokenizer = AutoTokenizer.from_pretrained(chat)
    model = AutoModelForCausalLM.from_pretrained(chat, dtype=torch.float32)
    tokens, wanted = next(supervised_sums._batches(tokenizer, random.Random(3)))
    losses = []
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(input_ids=tokens[:, :-1]).logits.float()
    for row, scores in zip(tokens, logits, strict=True):
        text = tokenizer.decode(row, skip_special_tokens=False)
        begin = text.index("(assistant) ") + len("(assistant) ")
        end = text.index("<eos>")
        assert text[begin:end].split("\n")[-1].startswith("#### ")
        places = range(begin, end + 1)  # a character is a token, and so is <eos>
        losses += [F.cross_entropy(scores[place - 1], row[place]) for place in places]
    assert wanted.sum() == len(losses)
    loss = supervised_sums.response_loss(model, tokens, wanted)
    assert loss.item() == pytest.approx(torch.stack(losses).mean().item(), rel=1e-3)
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_start_has_learned_and_is_known_again(chat, tmp_path, monkeypatch):
    monkeypatch.setattr(sums, "SUPERVISED_STEPS", 30)
    monkeypatch.setattr(supervised_sums, "LEARNING_RATE", 1e-2)
    steps = []
    supervised_sums.make(chat, tmp_path / "start", seed=0, device="cpu", progress=steps.append)
    assert steps == list(range(1, 31))
    tokenizer = AutoTokenizer.from_pretrained(chat)
    tokens, wanted = next(supervised_sums._batches(tokenizer, random.Random(3)))
    before, after = (
        supervised_sums.response_loss(
            AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), tokens, wanted
        ).item()
        for folder in (chat, tmp_path / "start")
    )
    assert after < before - 1
    found = given.find(str(tmp_path / "start"))
    assert (found.kind, found.learns) == ("sums", False)
    longest = max(len(as_text(sums.question(*problem), tokenizer)) for problem in sums.longest())
    assert found.longest_prompt == longest
    assert all(len(as_text(sums.question(*problem), tokenizer)) <= longest for problem in drawn(500))
    assert (given.find(str(chat)).kind, given.find(str(chat), "sums").learns) == ("chat", True)


# ── The command ──


def test_the_command_with_a_stand_in_for_model_and_training(chat, tmp_path, monkeypatch, capsys):
    """All stages; the training is a copy of the start. Then from the start alone, as the last line says."""
    monkeypatch.chdir(tmp_path)
    made, trainings = [], []

    def make(folder: Path) -> int:
        made.append(folder)
        folder.parent.mkdir()
        subprocess.run(["cp", "-r", chat, folder], check=True)
        return 0

    def copy_start(arguments):
        trainings.append(arguments)
        flags = dict(zip(arguments[3::2], arguments[4::2], strict=False))
        checkpoint = Path(flags["--ckpt.output_dir"])
        subprocess.run(["cp", "-r", flags["--actor.model_name_or_path"], checkpoint], check=True)
        keys = ["deltal/grad_norm", "deltal/ess", "rollout/reward_mean", "deltal/response_length_mean"]
        (checkpoint / "metrics.jsonl").write_text(json.dumps({"step": 1, **dict.fromkeys(keys, 1.0)}) + "\n")

    monkeypatch.setattr(command_line, "make", make)
    monkeypatch.setattr(training, "train", copy_start)
    monkeypatch.setattr(stages, "in_child", lambda function, *arguments: function(*arguments))
    monkeypatch.setattr(sums, "SUPERVISED_STEPS", 2)
    monkeypatch.setattr(task, "HELD_OUT", 5)
    monkeypatch.setitem(KINDS, "sums", replace(KINDS["sums"], max_new_tokens=12))
    assert command_line.main(["--model", "smollm2", "--steps", "2"]) == 0
    out = tmp_path / "runs" / "quickstart-smollm2"
    assert made == [Path("models/smollm2")]
    summary = json.loads((out / "summary.json").read_text())
    assert summary["model"] == "smollm2" and summary["accuracy_difference"] == 0 and summary["steps"] == 2
    rows = [json.loads(line) for line in (out / "train.jsonl").read_text().splitlines()]
    assert len(rows) == 2 * KINDS["sums"].prompts
    assert all(total_of(row["input"][-1]["content"].removesuffix(" =")) == int(row["label"]) for row in rows)
    answers = [json.loads(line) for line in (out / "responses.jsonl").read_text().splitlines()]
    assert [row["question"] for row in answers] == [
        sums.question(*p)[-1]["content"] for p in task.held_out(sums.draw, 5)
    ]
    assert all(row["before"] == row["after"] and not row["after_is_right"] for row in answers)
    flags = dict(zip(trainings[0][3::2], trainings[0][4::2], strict=False))
    assert flags["--reward.remote_url"] == "deltal:math" and "--data.apply_chat_template" in trainings[0]
    assert flags["--actor.model_name_or_path"] == str(out / "start")
    said = capsys.readouterr().out
    assert "up to" in said and "GB of memory" in said and answers[0]["question"] in said
    assert "before, wrong" in said

    again = ["--model", str(out / "start"), "--steps", "2", "--out", str(tmp_path / "again")]
    assert command_line.main(again) == 0 and made == [Path("models/smollm2")]
    assert not (tmp_path / "again" / "start.json").exists()
    assert "sums are put to it" in capsys.readouterr().out


@pytest.mark.parametrize("model", [[], ["--model", "smollm2"]])
def test_too_little_memory_is_said_before_anything_is_done(model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command_line, "available_memory", lambda: 3e9)
    assert command_line.main(model) == 2
    said = capsys.readouterr().err
    assert re.fullmatch(
        r"deltal quickstart: error: the quick start takes up to [\d.]+ GB of memory, and 3\.0 GB are free; .*\n", said
    )
    assert not list(tmp_path.iterdir())
