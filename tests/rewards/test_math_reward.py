"""The math reward file as the host loads and calls it."""

import asyncio
import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from support.processes import running_children

import deltal_openrlhf.rewards
from deltal_openrlhf.grading.grader import STATUSES
from deltal_openrlhf.rewards.gym_labels import label_of
from deltal_openrlhf.rewards.scoring import shared_grader

REWARD_FILE = Path(deltal_openrlhf.rewards.__file__).parent / "math_reward.py"
PROMPT = r"What is 1/2 + 1/4? Put the answer in \boxed{}, for example \boxed{3/4}. "
COUNTDOWN = json.dumps({"numbers": [1, 2, 3], "target": 9})


def load_as_host():
    """SingleTurnAgentExecutor.__init__ of OpenRLHF 0.11.2."""
    spec = importlib.util.spec_from_file_location("reward_func", str(REWARD_FILE))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.reward_func


def rewards_as_host(queries, prompts, labels) -> list[dict]:
    """One call a response, all at once, each from a thread."""
    reward_func = load_as_host()

    async def all_of_them():
        calls = (
            asyncio.to_thread(reward_func, [q], [p], [a]) for q, p, a in zip(queries, prompts, labels, strict=True)
        )
        return await asyncio.gather(*calls)

    return asyncio.run(all_of_them())


def reward(response: str, label: str, prompt: str = PROMPT) -> tuple[float, str]:
    """(reward, status) of one response."""
    (result,) = rewards_as_host([prompt + response], [prompt], [label])
    assert result["rewards"].shape == result["scores"].shape == (1,)
    assert result["rewards"].item() == result["scores"].item()
    assert set(result["extra_logs"]) == {f"grade/{status}" for status in STATUSES}
    (status,) = [name for name, flag in result["extra_logs"].items() if flag.tolist() == [1.0]]
    assert sum(flag.item() for flag in result["extra_logs"].values()) == 1.0
    return result["rewards"].item(), status.removeprefix("grade/")


@pytest.mark.parametrize(
    ("response", "label", "expected"),
    [
        (r"It is \boxed{\frac{3}{4}}<|endoftext|>", "3/4", (1.0, "equal")),
        (r"\boxed{0.75}", r"\frac{3}{4}", (1.0, "equal")),
        (r"\boxed{2/3}", "3/4", (0.0, "different")),
        (r"\boxed{3/4}, no: \boxed{1/4}", "3/4", (0.0, "different")),
        ("<answer>3/4</answer>", "3/4", (1.0, "equal")),
        ("3/4", "3/4", (0.0, "unparsable")),  # nothing marks it as the answer
        (r"\boxed{3/4", "3/4", (0.0, "unparsable")),  # cut off
        ("", "3/4", (0.0, "unparsable")),
        (r"\boxed{" + "1" * 100_000 + "}", "3/4", (0.0, "too_long")),
        (r"\boxed{(x+1)^2}", "x^2+2x+1", (1.0, "equal")),
        (r"\boxed{\int_0^5 2x dx}", "25", (1.0, "equal")),  # a worker's
        (r"\boxed{\int_0^5 2x dx}", "24", (0.0, "different")),
        (r"\boxed{4}", '["3", "4"]', (1.0, "equal")),
        (r"\boxed{5}", '["3", "4"]', (0.0, "different")),
        ("<answer>(1 + 2) * 3</answer>", COUNTDOWN, (1.0, "equal")),
        ("<answer>(1 + 2) + 3</answer>", COUNTDOWN, (0.0, "different")),
        ("(1 + 2) * 3", COUNTDOWN, (0.0, "unparsable")),
        (r"\boxed{\{1, 2\}}", r"\{2, 1\}", (1.0, "equal")),  # a brace does not make a countdown label
    ],
)
def test_rewards_and_statuses(response, label, expected):
    assert reward(response, label) == expected


def test_an_example_in_the_prompt_is_no_answer():
    assert reward("", "3/4") == (0.0, "unparsable")
    assert reward(PROMPT, "3/4", prompt="") == (1.0, "equal")  # as a response, the example would be right


@pytest.mark.parametrize("query", ["", PROMPT[1:] + r"\boxed{3/4}", PROMPT.lower() + r"\boxed{3/4}"])
def test_no_reward_without_the_prompt(query):
    with pytest.raises(ValueError, match="tokenizer.*--data.max_len"):
        rewards_as_host([query], [PROMPT], ["3/4"])


@pytest.mark.parametrize(
    ("label", "says"),
    [
        ("", "a math label is"),
        ("  ", "a math label is"),
        (None, "a math label is"),
        ('["3", ', "a math label starts like a JSON list"),
        ('["3", 4]', "a math label's list"),
        ('{"numbers": [1]}', "a countdown label is"),
        ('{"target": [1]', "a countdown label is"),
        (' { "numbers": ["1"], "target": 1}', "a countdown label holds"),
    ],
)
def test_a_broken_label_is_no_reward(label, says):
    with pytest.raises(ValueError, match=says):
        rewards_as_host([PROMPT + r"\boxed{3/4}"], [PROMPT], [label])


def test_labels_of_all_kinds_have_the_same_logs():
    """The host joins the logs of a batch by name, and ends where one response has a name more."""
    gym = label_of("chain_sum", {}, "44", {"expression": "12 + 32"})
    labels = ["44", gym, json.dumps({"numbers": [40, 4], "target": 44}), '["43", "44"]']
    answers = [r"\boxed{44}", "<answer>44</answer>", "<answer>40 + 4</answer>", r"\boxed{44}"]
    results = rewards_as_host([PROMPT + answer for answer in answers], [PROMPT] * 4, labels)
    assert [result["rewards"].item() for result in results] == [1.0] * 4
    assert all(set(result["extra_logs"]) == {f"grade/{status}" for status in STATUSES} for result in results)


def test_many_threads_share_one_grader():
    """Each of 60 responses needs a worker; every thread gets its own answer back."""
    golds = [str(n * n + n % 2) for n in range(60)]
    answers = [rf"\int_0^{{{n}}} 2x dx" for n in range(60)]  # right for even n
    queries = [rf"{PROMPT}\boxed{{{answer}}}" for answer in answers]
    results = rewards_as_host(queries, [PROMPT] * 60, golds)
    assert [result["rewards"].item() for result in results] == [float(n % 2 == 0) for n in range(60)]
    of_math = [p for p, words in running_children() if "deltal_openrlhf.grading.comparison" in words]
    workers = [p for p in of_math if p.ppid() == os.getpid()]
    assert 1 <= len(workers) <= shared_grader().workers


def test_the_process_ends_with_its_workers():
    code = (
        "import psutil\n"
        "from deltal_openrlhf.rewards.scoring import shared_grader, submit\n"
        r"print(submit(shared_grader(), r'\boxed{\int_0^5 2x dx}', '25').result().equal)"
        "\nprint(*[child.pid for child in psutil.Process().children(recursive=True)])\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    right, pids = ended.stdout.splitlines()
    assert right == "True"
    assert len(pids.split()) >= 2
    deadline = time.monotonic() + 10  # a killed process is there until somebody reaps it
    while any(psutil.pid_exists(int(pid)) for pid in pids.split()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_batch():
    queries = [PROMPT + r"\boxed{3/4}", PROMPT + "none"]
    result = load_as_host()(queries, [PROMPT] * 2, ["3/4", "3/4"])
    assert result["rewards"].tolist() == [1.0, 0.0]
    assert result["extra_logs"]["grade/equal"].tolist() == [1.0, 0.0]
    assert result["extra_logs"]["grade/unparsable"].tolist() == [0.0, 1.0]
