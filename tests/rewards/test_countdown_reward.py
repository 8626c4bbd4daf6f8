"""The countdown checker and the file that OpenRLHF loads, against hand-written answers and an independent evaluator."""

import asyncio
import importlib.util
import itertools
import json
import random
import time
from fractions import Fraction
from pathlib import Path

import pytest

import deltal_openrlhf.rewards
from deltal_openrlhf.data.countdown import base_prompt
from deltal_openrlhf.rewards.countdown import MAX_ANSWER_CHARS, last_answer, score

REWARD_FILE = Path(deltal_openrlhf.rewards.__file__).parent / "countdown_reward.py"
PROMPT = base_prompt((1, 2, 3), 9)
LABEL = json.dumps({"numbers": [1, 2, 3], "target": 9})


def answer(text: str) -> str:
    return f"some work</think> <answer>{text}</answer>"


@pytest.mark.parametrize(
    ("text", "numbers", "target"),
    [
        ("(1 + 2) * 3", [1, 2, 3], 9),
        (" ( 1 + 2 ) * 3\n", [3, 2, 1], 9),
        ("(1+2)*3 = 9", [1, 2, 3], 9),
        ("8 / 3 * 3", [3, 8, 3], 8),  # exact: floats give 8.0 only by luck
        ("8 / (3 - 8/3)", [3, 3, 8, 8], 24),
        ("-3 + 5", [3, 5], 2),
        ("--7", [7], 7),
        ("1 - 5 = -4", [1, 5], -4),
        ("98 = 49 * 2", [49, 2], 98),
        ("-4 = 1 - 5", [1, 5], -4),
        ("$49 * 2$", [49, 2], 98),
        ("$$49 * 2 = 98$$", [49, 2], 98),
        (r"\(49 \times 2\)", [49, 2], 98),
        (r"\[98 = 49 \cdot 2\]", [49, 2], 98),
        (r"\boxed{49 * 2}", [49, 2], 98),
        (r"$\boxed{49 \times 2 = 98}$.", [49, 2], 98),
        (r"\left(1 + 2\right) \div 3", [1, 2, 3], 1),
        (r"\frac{8}{3 - \frac{8}{3}}", [3, 3, 8, 8], 24),
        ("`49 * 2`", [49, 2], 98),
        ("```\n49 * 2\n```", [49, 2], 98),
        ("**49 * 2**", [49, 2], 98),
        ("49 * 2.", [49, 2], 98),
        ("49 * 2 = 98.", [49, 2], 98),
        ("49 × 2", [49, 2], 98),
        ("49 ÷ 7 − 2", [49, 7, 2], 5),
    ],
)
def test_right(text, numbers, target):
    assert score(answer(text), numbers, target) == 1.0
    assert score(answer(text), numbers, target + 1) == 0.0
    assert score(answer(text), [*numbers, 1], target) == 0.0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "9",  # not from the numbers
        "(1 + 2) * 3 * 1",  # a number twice
        "1 + 2",  # a number left out
        "(1 + 2) * 3 = 10",
        "(1 + 2) * 3 = 9 = 9",
        "(1 + 2) * 3 == 9",
        "10 = (1 + 2) * 3",
        "9 = 9",
        "9 = (1 + 2) * 3 = 9",
        "The answer is (1 + 2) * 3",
        "$(1 + 2) * 3",
        "\\boxed{(1 + 2) * 3",
        "\\frac{1 + 2}{3}",
        "\\boxed{9}",
        "{(1 + 2)} * 3",
        "= 9",
        "(1 + 2) * 3 =",
        "+1 + 2 + 3 + 3",
        "(1 + 2) x 3",
        "(1 + 2) * 3.0",
        "(1 + 2) * 0b11",
        "(1 + 2) * 3 # 9",
        "(1 + 2)(3)",
        "[1, 2, 3]",
        "1 < 2 < 3",
        "(1, 2, 3)",
        "1 if 2 else 3",
        "9 * (1 - 1) / (2 - 2)",
        "3 ** 2 * 1",
        "3 * 3 // 1",
        "__import__('os').system('true')",
        "{'numbers': 1}",
    ],
)
def test_wrong(text):
    assert score(answer(text), [1, 2, 3], 9) == 0.0


def test_only_the_last_closed_answer_counts():
    right, wrong = answer("(1+2)*3"), answer("1+2+3")
    assert score(wrong + right, [1, 2, 3], 9) == 1.0
    assert score(right + wrong, [1, 2, 3], 9) == 0.0
    assert score(right + " <answer> 1+2", [1, 2, 3], 9) == 1.0
    assert score(right + "<eos>", [1, 2, 3], 9) == 1.0
    assert score("<Answer>(1+2)*3</ANSWER>", [1, 2, 3], 9) == 1.0
    assert score("İ" + right, [1, 2, 3], 9) == 1.0
    assert score(wrong + "<|im_end|>" + right, [1, 2, 3], 9) == 0.0
    assert score("<think>" + right.replace("</think>", ""), [1, 2, 3], 9) == 0.0
    assert last_answer("<answer>a</answer>b</answer>") == "a"
    assert last_answer("<answer>a<answer>b</answer>") == "b"
    for text in ("(1+2)*3", "<answer>(1+2)*3", "(1+2)*3</answer>", "</answer>(1+2)*3<answer>"):
        assert last_answer(text) is None
        assert score(text, [1, 2, 3], 9) == 0.0


HOSTILE = {
    "power tower": answer("9**9**9**9"),
    "many powers": answer("**".join(["9"] * 60)),
    "open parentheses": answer("(" * MAX_ANSWER_CHARS),
    "balanced nesting": answer("(" * 99 + "1" + ")" * 99),
    "minus signs": answer("-" * (MAX_ANSWER_CHARS - 1) + "1"),
    "huge integer": answer("9" * MAX_ANSWER_CHARS),
    "huge product": answer("*".join(["9" * 19] * 10)),
    "huge claim": answer("(1+2)*3=" + "9" * 190),
    "division by zero": answer("1/(2-2)*3"),
    "one megabyte": answer("1+" * 500_000 + "1"),
    "one megabyte of parentheses": answer("(" * 1_000_000),
    "unclosed, one megabyte": "<answer>" + "1" * 1_000_000,
    "opening tags": "<answer>" * 100_000,
    "closing tags": "</answer>" * 100_000,
    "tag pairs": "<answer></answer>" * 100_000,
    "thoughts": "<think>" * 100_000,
    "turns": "<|im_en" * 100_000,
    "wrappers": answer("$" * MAX_ANSWER_CHARS),
    "boxes": answer(r"\boxed{" * 10 + "9" + "}" * 10),
    "fractions": answer(r"\frac{" * 15 + "9" + "}" * 15),
    "tags the wrong way round": "</answer><answer>" * 100_000,
    "spaces": answer(" " * 1_000_000),
    "arabic digits": answer("(١+٢)*٣"),
    "fullwidth digits": answer("（１+２）*３"),
    "superscript": answer("3²"),
    "nul": answer("(1+2)*3\0"),
    "nul only": answer("\0"),
    "surrogate": answer("(1+2)*\ud800"),
    "underscore": answer("(1+2)*0_3"),
    "leading zero": answer("(01+2)*3"),
    "newlines": answer("1\n+2\n+6"),
    "form feed": answer("(1+2)*3\f1"),
    "backslash": answer("(1+2)*\\\n3"),
    "lambda": answer("(lambda: 9)()"),
    "walrus": answer("(x:=9)"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_scores_zero_at_once(name):
    start = time.perf_counter()
    assert score(HOSTILE[name], [1, 2, 3], 9) == 0.0
    assert time.perf_counter() - start < 0.05


def test_length_limit_is_exact():
    def padded(n):
        return answer("(1+2)*3".ljust(n))

    assert score(padded(MAX_ANSWER_CHARS), [1, 2, 3], 9) == 1.0
    assert score(padded(MAX_ANSWER_CHARS + 1), [1, 2, 3], 9) == 0.0


def test_random_expressions_against_an_independent_evaluator():
    """Trees of fractions valued while they are built, never parsed."""
    rng = random.Random(0)
    operations = {
        "+": lambda a, b: a + b,
        "-": lambda a, b: a - b,
        "*": lambda a, b: a * b,
        "/": lambda a, b: a / b if b else None,
    }
    checked = 0
    while checked < 500:
        numbers = [rng.randint(0, 12) for _ in range(rng.randint(1, 6))]
        parts = [(str(n), Fraction(n)) for n in numbers]
        while len(parts) > 1:
            (left, a), (right, b) = (parts.pop(rng.randrange(len(parts))) for _ in range(2))
            name = rng.choice("+-*/")
            value = operations[name](a, b)
            if value is None:
                break
            parts.append((f"({left} {name} {right})", value))
        else:
            text, value = parts[0]
            assert score(answer(text), numbers, value) == 1.0
            assert score(answer(text), numbers, value + 1) == 0.0
            assert score(answer(text), [*numbers[1:], 13], value) == 0.0
            checked += 1


def test_every_answer_to_a_small_problem():
    """All of a o b o c without parentheses: the score agrees with left-to-right arithmetic that knows precedence."""
    for (a, b, c), (first, second) in itertools.product(
        itertools.permutations((2, 3, 5)), itertools.product("+-*", repeat=2)
    ):
        values = {"+": lambda x, y: x + y, "-": lambda x, y: x - y, "*": lambda x, y: x * y}
        late = second == "*" and first != "*"
        value = values[first](a, values[second](b, c)) if late else values[second](values[first](a, b), c)
        assert score(answer(f"{a}{first}{b}{second}{c}"), [2, 3, 5], 11) == float(value == 11)


def load_as_host():
    """SingleTurnAgentExecutor.__init__ of OpenRLHF 0.11.2."""
    spec = importlib.util.spec_from_file_location("reward_func", str(REWARD_FILE))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.reward_func


def reward(query: str, prompt: str = PROMPT, label: str = LABEL) -> float:
    async def as_host():
        return await asyncio.to_thread(load_as_host(), [query], [prompt], [label])

    result = asyncio.run(as_host())
    assert result["rewards"].shape == result["scores"].shape == result["extra_logs"]["answered"].shape == (1,)
    assert result["rewards"].item() == result["scores"].item()
    return result["rewards"].item()


def test_reward_file_as_the_host_calls_it():
    assert reward(PROMPT + answer("(1+2)*3") + "<|endoftext|>") == 1.0
    assert reward(PROMPT + answer("1+2+3")) == 0.0


def test_empty_response_to_a_prompt_with_a_valid_example():
    prompt = PROMPT + answer("(1 + 2) * 3")
    assert score(prompt, [1, 2, 3], 9) == 1.0  # the example would be right
    assert reward(prompt, prompt) == 0.0
    assert reward(prompt + "<eos>", prompt) == 0.0
    assert reward(prompt + " no idea </answer>", prompt) == 0.0


@pytest.mark.parametrize("query", ["", PROMPT[1:] + answer("(1+2)*3"), PROMPT.lower() + answer("(1+2)*3")])
def test_no_reward_without_the_prompt(query):
    with pytest.raises(ValueError, match="tokenizer.*--data.max_len"):
        reward(query)


@pytest.mark.parametrize(
    "label", ["", "9", "[]", '{"numbers": [1]}', '{"numbers": 1, "target": 1}', '{"numbers": ["1"], "target": 1}']
)
def test_broken_label(label):
    with pytest.raises(ValueError, match="countdown label"):
        reward(PROMPT + answer("(1+2)*3"), label=label)


def test_batch():
    result = load_as_host()([PROMPT + answer("(1+2)*3"), PROMPT + "none"], [PROMPT] * 2, [LABEL] * 2)
    assert result["rewards"].tolist() == [1.0, 0.0]
    assert result["extra_logs"]["answered"].tolist() == [1.0, 0.0]
