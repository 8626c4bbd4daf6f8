"""The reward that `deltal data` names at its end scores its own rows: 1 for a right answer, 0 for a wrong one."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.arithmetic import OPERATIONS
from support.data_files import jsonl, read

from deltal_openrlhf.cli.main import main
from deltal_openrlhf.rewards.named import located

SCORE = """
import importlib.util, json, sys
asked = json.load(sys.stdin)
spec = importlib.util.spec_from_file_location("reward", asked["file"])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
responses = [asked["prompt"] + response for response in asked["responses"]]
n = len(responses)
print(module.reward_func(responses, [asked["prompt"]] * n, [asked["label"]] * n)["rewards"].tolist())
"""
GSM8K = [{"question": f"How many are {i} and {i}?", "answer": f"Twice {i}.\n#### {2 * i}"} for i in range(6)]
MATH = [{"problem": f"Compute $2 x {i}$.", "answer": str(2 * i)} for i in range(6)]


def expression(label: str) -> str:
    """Two numbers in the two orders, with the four operations."""
    problem = json.loads(label)
    pairs = itertools.product(itertools.permutations(problem["numbers"]), OPERATIONS)
    return next(f"{a} {op} {b}" for (a, b), op in pairs if b and OPERATIONS[op](a, b) == problem["target"])


def tagged(answer: str) -> str:
    return f" so </think>\n<answer>{answer}</answer>"


def boxed(answer: str) -> str:
    return rf" so \boxed{{{answer}}}"


RIGHT = {
    "countdown": lambda label: tagged(expression(label)),
    "math": boxed,
    "gsm8k": boxed,
    "shapes": boxed,
    "reasoning-gym": lambda label: tagged(json.loads(label)["answer"]),
}


@pytest.mark.parametrize("task", RIGHT)
def test_the_reward_that_is_printed_scores_the_rows(task, tmp_path, capsys):
    words = {
        "countdown": ["--num_numbers", "2", "2"],
        "math": ["--train", jsonl(tmp_path / "math.jsonl", MATH), "--eval"],
        "gsm8k": [
            "--train",
            jsonl(tmp_path / "gsm8k.jsonl", GSM8K),
            "--test",
            jsonl(tmp_path / "test.jsonl", GSM8K[:1]),
        ],
        "reasoning-gym": ["--task", "gcd"],
    }.get(task, [])
    if task not in ("math", "gsm8k"):
        words += ["--train", "3", "--test", "1"]
    assert main(["data", task, *words, "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out.splitlines()[-1].split()
    file = located(printed[printed.index("--reward.remote_url") + 1])
    label = read(tmp_path / "out/train.jsonl")[0]["label"]
    asked = {"file": file, "prompt": "p", "label": label, "responses": [RIGHT[task](label), tagged("-1"), boxed("-1")]}
    words = [sys.executable, "-c", SCORE]
    done = subprocess.run(words, input=json.dumps(asked), capture_output=True, text=True, timeout=90)
    assert Path(file).is_file() and done.stdout.strip() == "[1.0, 0.0, 0.0]", done.stderr
