"""The countdown experiment's two sizes: the quick start's is what it always was, that for a GPU is checked on a CPU with a tiny model."""

import hashlib
import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from support.arithmetic import OPERATIONS
from support.scripts import in_scripts, run_script
from transformers import AutoModelForCausalLM, AutoTokenizer

from deltal_openrlhf.data.countdown import Problem, split_of
from deltal_openrlhf.quickstart import evaluate, model, supervised
from deltal_openrlhf.quickstart.kinds import KINDS
from deltal_openrlhf.quickstart.run import supervised_start
from deltal_openrlhf.quickstart.sizes import CPU, GPU
from deltal_openrlhf.quickstart.task import held_out, prompt
from deltal_openrlhf.rewards.countdown import score

ROOT = Path(__file__).parents[2]
LLAMA = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
}
SMALL = {"steps": 3, "batch": 16, "micro_batch": 4, "warmup": 1, "device": "cpu"}
TINY = replace(GPU, llama=GPU.llama | LLAMA, task=replace(GPU.task, max_attempts=4), **SMALL)
"""Of the GPU's size: its words, its problems, its bfloat16."""


def test_the_quick_starts_problems_are_those_it_always_had():
    """SHA-256 of what the code gave before there were sizes: the committed results are of these problems, traces and batches."""

    def digest(text: str) -> str:
        return hashlib.sha256(text.encode()).hexdigest()

    rng, lines = random.Random(0), []
    for _ in range(2000):
        problem = CPU.task.draw(rng, "train")
        lines.append(f"{prompt(*problem)} {CPU.task.trace(problem, rng)}")
    assert digest("\n".join(lines)) == "a0063d79d2c610cfd3411f17636f4a1e40867da6a0efd272529b4dc5cf13c198"
    problems = "\n".join(prompt(*problem) for problem in held_out(CPU.task.draw, 256))
    assert digest(problems) == "3d8aae6e49b07c7c682cd011a7f4d0f809cbddb0be2c1a9a10f6ad5e7ef724b6"
    assert digest(" ".join(CPU.task.words)) == "54fd6afe6e36a0ebeae52151a8abe8f827612bfe428bb814a863fa238eb937f1"
    batches, taken = supervised._batches(model.build_tokenizer(), CPU, random.Random(0)), hashlib.sha256()
    for _ in range(20):
        tokens, weights = next(batches)
        taken.update(json.dumps([tokens.tolist(), weights.tolist()]).encode())
    assert taken.hexdigest() == "8c445f03195f45c861ba6650dbd1fec82d0b21f4aa8d22c4f5d932ae3c851912"


def evaluate_tape(tape: str) -> tuple[list[int], list[int]]:
    """(numbers used, values) of `a o b = v o c = w ...`; fails where a result is wrong."""
    first, *rest = tape.split()
    numbers, values = [int(first)], [int(first)]
    while rest:
        name, number, equals, result, *rest = rest
        assert equals == "=" and OPERATIONS[name](values[-1], int(number)) == int(result)
        numbers.append(int(number))
        values.append(int(result))
    return numbers, values


@pytest.mark.parametrize("numbers", [(1, 2, 3), (2, 3, 7, 9), (4, 4, 6, 6), (8, 9, 9, 9)])
def test_attempts(numbers):
    """Each has the value that its tape and its expression say, uses each number once, and all values are allowed."""
    known = GPU.task.attempts(numbers)
    assert known is GPU.task.attempts(numbers[::-1])
    for value, attempts in known.items():
        for attempt in attempts:
            used, values = evaluate_tape(attempt.tape)
            assert sorted(used) == sorted(numbers) and values[-1] == attempt.value == value
            assert all(0 <= v <= 99 for v in values)
            response = f"{attempt.tape} <answer> {attempt.expression} </answer>"
            assert score(response, numbers, value) == 1.0
            assert score(response, numbers, value + 1) == 0.0
            assert score(response, (*numbers, 1), value) == 0.0


def test_attempts_of_four_numbers_against_brute_force():
    """No value of a left-to-right tape is missing: folded over sets, from every number on."""

    def reachable(value: int, left: tuple[int, ...]) -> set[int]:
        if not left:
            return {value}
        found: set[int] = set()
        for i, number in enumerate(left):
            results = {value + number, value - number, value * number}
            if value % number == 0:
                results.add(value // number)
            for result in results:
                if 0 <= result <= 99:
                    found |= reachable(result, left[:i] + left[i + 1 :])
        return found

    for numbers in ((2, 3, 7, 9), (1, 5, 5, 8)):
        values = set().union(*(reachable(n, numbers[:i] + numbers[i + 1 :]) for i, n in enumerate(numbers)))
        assert set(GPU.task.attempts(numbers)) == values


def test_traces_for_a_gpu():
    """Problems of three and four numbers, half and half; words of the task; right if they answer; never longer than a response may be."""
    rng, words = random.Random(0), set(GPU.task.words)
    with_four, answered, lengths = 0, 0, []
    for _ in range(600):
        problem = GPU.task.draw(rng, "train")
        question, response = prompt(*problem), GPU.task.trace(problem, rng)
        assert split_of(*problem) == "train" and 1 <= problem.target <= 99
        assert set(question.split()) | set(response.split()) <= words
        assert len(question.split()) == len(problem.numbers) + 3 <= GPU.task.longest_prompt
        found = "<answer>" in response
        assert score(response, problem.numbers, problem.target) == float(found)
        *misses, last = response.split(" <answer>")[0].removesuffix(" NO").split(" NO ")
        for tape in (*misses, last):
            used, values = evaluate_tape(tape)
            assert sorted(used) == sorted(problem.numbers)
            assert (values[-1] == problem.target) == (found and tape is last)
        with_four += len(problem.numbers) == 4
        answered += found
        lengths.append(len(response.split()) + 1)
    assert 0.45 < with_four / 600 < 0.55
    assert 0.4 < answered / 600 < 0.6
    lengths.sort()
    assert lengths[-1] <= GPU.task.max_new_tokens and lengths[570] > 30 * lengths[30]


def test_the_longest_trace_fits():
    class LastMinute(random.Random):
        """No hint, no giving up; misses, and a hit in the last attempt."""

        calls = 0

        def random(self):
            return 1.0

        def choice(self, attempts):
            self.calls += 1
            return next(a for a in attempts if (a.value == 24) == (self.calls == GPU.task.max_attempts))

    trace = GPU.task.trace(Problem((1, 2, 3, 4), 24), LastMinute())
    assert trace.count("=") == 3 * GPU.task.max_attempts and trace.endswith("</answer>")
    assert len(trace.split()) + 1 == 2029 <= GPU.task.max_new_tokens
    assert GPU.max_tokens == GPU.task.longest_prompt + GPU.task.max_new_tokens <= GPU.llama["max_position_embeddings"]


def test_held_out_problems_for_a_gpu():
    problems = held_out(GPU.task.draw, 256)
    assert len(set(problems)) == 256 and all(split_of(*p) == "test" for p in problems)
    assert {len(p.numbers) for p in problems} == {3, 4}


def test_loss_weights_do_not_count_prompts_of_either_length():
    tokenizer = model.build_tokenizer(GPU)
    ids = tokenizer.get_vocab()
    three = "3 4 5 make [35] : 3 + 4 = 7 * 5 = 35 <answer> ( 3 + 4 ) * 5 </answer> <eos> <pad> <pad>"
    four = "3 4 5 9 make [44] : 3 + 4 = 7 * 5 = 35 + 9 = 44 NO <eos> <pad> <pad> <pad> <pad> <pad>"
    tokens = torch.tensor([[ids[word] for word in text.split()] for text in (three, four)])
    weights = supervised._Weights(ids)(tokens, ids["<pad>"]).tolist()
    assert weights[0] == [0] * 5 + [1, 1, 1, 1, 4, 1, 1, 1, 4] + [4] * 10 + [0, 0]
    assert weights[1] == [0] * 6 + [1, 1, 1, 1, 4, 1, 1, 1, 4, 1, 1, 1, 4] + [4, 1] + [0] * 5


def test_the_mean_weight_is_about_that_of_the_traces():
    batches = supervised._batches(model.build_tokenizer(GPU), GPU, random.Random(1))
    mean = sum(next(batches)[1].sum().item() for _ in range(16)) / (
        16 * GPU.batch
    )  # 16 batches are one pool of all lengths
    assert mean == pytest.approx(GPU.mean_weight, rel=0.1)


def test_the_model_for_a_gpu_has_34_million_parameters():
    with torch.device("meta"):
        net = model.build_model(model.build_tokenizer(GPU), GPU)
    assert sum(p.numel() for p in net.parameters()) == pytest.approx(34e6, rel=0.01)


def test_micro_batches_do_not_change_the_gradient():
    tokenizer = model.build_tokenizer(TINY)
    exact = replace(TINY, bf16=False, steps=1)
    parts, whole, other = (
        [p.grad for p in supervised.train(tokenizer, replace(exact, micro_batch=n), seed=seed).parameters()]
        for n, seed in ((4, 1), (16, 1), (16, 2))
    )
    torch.testing.assert_close(parts, whole, rtol=1e-3, atol=1e-6)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(parts, other, rtol=1e-3, atol=1e-6)


def test_a_start_of_the_gpus_task_learns_and_serves(tmp_path, capsys):
    """In bfloat16, with a tiny model: the loss falls, the saved folder gives traces back, prompts of both lengths are answered."""
    tokenizer = model.build_tokenizer(TINY)
    tokens, weights = next(supervised._batches(tokenizer, TINY, random.Random(5)))

    def loss(net) -> float:
        logits = net(input_ids=tokens[:, :-1]).logits.float()
        losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
        return ((losses * weights.flatten()).sum() / weights.sum()).item()

    longer = replace(TINY, steps=10, learning_rate=4e-3)
    trained = supervised.train(tokenizer, longer, seed=1)
    assert next(trained.parameters()).dtype == torch.float32
    assert loss(trained) < loss(model.build_model(tokenizer, TINY)) - 0.3

    supervised_start(TINY, 1, tmp_path / "start")
    assert "supervised start: 3/3 steps" in capsys.readouterr().out
    saved = AutoTokenizer.from_pretrained(tmp_path / "start")
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "start").dtype == torch.bfloat16
    assert len(saved) == 2 * 99 + 1 + 4 + 8 + 3
    problems = held_out(GPU.task.draw, 8)
    assert len({len(p.numbers) for p in problems}) == 2
    found = evaluate.evaluate(tmp_path / "start", problems, replace(KINDS["words"], evaluated=2, max_new_tokens=8))
    assert len(found["lengths"]) == 16


def test_a_start_saved_with_the_tokenizer_of_the_other_size_is_refused(tmp_path):
    tokenizer = model.build_tokenizer(CPU)  # has no word for 43 and above
    with pytest.raises(ValueError, match="<unk>"):
        model.save(model.build_model(tokenizer, TINY), tokenizer, tmp_path / "start", TINY)


def test_the_comparison_for_a_gpu_fits_its_task():
    flags = yaml.safe_load((ROOT / "configs" / "compare" / "countdown-gpu.yaml").read_text(encoding="utf-8"))["flags"]
    assert flags["rollout.max_new_tokens"] == GPU.task.max_new_tokens
    assert flags["data.max_len"] == GPU.task.longest_prompt + GPU.task.max_new_tokens
    assert flags["rollout.batch_size"] * flags["rollout.n_samples_per_prompt"] == flags["train.batch_size"]
    assert flags["data.max_samples"] == 100 * flags["rollout.batch_size"]


STARTS = """
import contextlib, hashlib, io
from dataclasses import replace
from pathlib import Path
import make_starts
gpu = make_starts.SIZES["gpu"]
task = replace(gpu.task, max_attempts=4)
make_starts.SIZES["gpu"] = replace(gpu, llama=gpu.llama | data["llama"], task=task, **data["small"])
make_starts.TRAIN_PROMPTS = 50
result = []
for sys.argv[1:] in data["runs"]:
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            make_starts.main()
        except SystemExit as stop:
            code = stop.code
    files = sorted(path for path in Path(sys.argv[-1]).rglob("*") if path.is_file())
    digests = {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    result.append([code, out.getvalue(), err.getvalue(), digests])
"""


def test_starts_command(tmp_path):
    """--size gpu writes data and starts, and keeps them."""
    runs = [["--size", size, "--seeds", "3", "--out", str(tmp_path)] for size in ("gpu", "gpu", "cpu")]
    first, again, other = in_scripts(STARTS, {"llama": LLAMA, "small": SMALL, "runs": runs})
    assert first[0] == 0, first[2]
    rows = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    assert len(rows) == 50 and {len(row["input"].split()) for row in rows} == {6, 7}
    for row in rows:
        problem = json.loads(row["label"])
        assert row["input"] == prompt(problem["numbers"], problem["target"])
        assert split_of(problem["numbers"], problem["target"]) == "train"
    assert len((tmp_path / "held_out.jsonl").read_text().splitlines()) == 256
    assert str(tmp_path / "start3" / "model.safetensors") in first[3]
    assert again[0] == 0 and "start3: there, kept" in again[1]
    assert other[0] == 2 and len(other[2].splitlines()) == 1 and "train.jsonl holds other problems" in other[2]
    assert first[3] == again[3] == other[3]


@pytest.mark.parametrize("size", ["gpu", "huge"])
def test_starts_of_a_size_that_is_not_to_be_had_are_refused(size, tmp_path):
    process = run_script("make_starts.py", "--size", size, "--out", tmp_path / "refused", CUDA_VISIBLE_DEVICES="")
    assert process.returncode == 2 and len(process.stderr.splitlines()) == 1 and "--size" in process.stderr
    assert not (tmp_path / "refused").exists()
