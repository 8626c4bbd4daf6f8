"""The calculator, and its episodes in the host's own loop over turns, with an engine that says what it is told to."""

import asyncio
import json
from types import SimpleNamespace

import pytest
import torch
from openrlhf.trainer.ppo_utils.samples_generator import SamplesGenerator
from openrlhf.trainer.ray import vllm_engine
from support.host_arguments import host_arguments
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from vllm import SamplingParams
from vllm.v1.engine.detokenizer import check_stop_strings

from deltal_openrlhf.agents import calculator, named
from deltal_openrlhf.host.responses import CheckedExecutor
from deltal_openrlhf.train import checks, data_files, user_files
from deltal_openrlhf.train.data_rows import REWARD_CHECKS

LABEL = json.dumps({"numbers": [3, 4, 5], "target": 35})
RIGHT = ["5 * 3 =", " - 4 =", " NO 3 + 4 =", " <answer> ( 3 + 4 ) * 5 </answer> <eos>"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3 * 4 =", "12"),
        ("5 * 3 = 15 - 4 =", "11"),
        ("so (1 + 2) / 4 =", "3/4"),
        ("8 / 3 * 3 =", "8"),
        ("first\n3 × 4 − 2 ÷ 1 =", "10"),
        ("-3 + 1 =", "-2"),
        ("7 =", "7"),
        ("3 4 =", None),
        ("( 3 + 4 =", None),
        ("1 / 0 =", None),
        ("2 ** 9 =", None),
        ("x =", None),
        ("=", None),
        ("3 +\n4 =", "4"),  # an expression stands in one line
        ("9" * 200 + " =", None),
        ("1 + " * 60 + "1 =", None),
        ("(" * 90 + "1" + ")" * 90 + " =", "1"),
        ("__import__('os').system('x') =", None),
    ],
)
def test_the_value_of_what_stands_in_front(text, value):
    assert calculator.value(text) == value


class Engine:
    """A token is a character. turns: what the policy says, one after the other."""

    def __init__(self, turns):
        self.turns, self.asked = list(turns), []

    def __call__(self, text, **_):
        return {"input_ids": torch.tensor([[ord(letter) for letter in text]])}

    def decode(self, tokens, **_):
        return "".join(map(chr, tokens))

    async def generate(self, tokens, params, multi_modal_data=None):
        self.asked.append(("".join(map(chr, tokens)), params))
        text = self.turns.pop(0)
        tokens = [ord(letter) for letter in text]
        return SimpleNamespace(
            outputs=[SimpleNamespace(token_ids=tokens, text=text, finish_reason="stop", logprobs=None)]
        )


class StoppedEngine:
    """Says its turns in the tokens of a tokenizer, and stops as vLLM does: behind a whole token, with the text cut."""

    def __init__(self, turns, tokenizer):
        self.turns, self.tokenizer = list(turns), tokenizer

    async def generate(self, tokens, params, multi_modal_data=None):
        said, text = [], ""
        for token in self.tokenizer(self.turns.pop(0))["input_ids"]:
            said.append(token)
            new = self.tokenizer.convert_ids_to_tokens(token).replace("▁", " ")
            text += new
            if stopped := check_stop_strings(text, len(new), params.stop, params.include_stop_str_in_output):
                text = text[: stopped[1]] if stopped[1] != -1 else text
                break
        outputs = [SimpleNamespace(token_ids=said, text=text, finish_reason="stop", logprobs=None)]
        return SimpleNamespace(outputs=outputs)


def spaced_tokenizer(*merges):
    """A token is a character, or one of the merged pairs. As with sentencepiece, a text's first space is lost in decoding."""
    letters = [chr(number) for number in range(33, 127)] + ["▁"]
    vocabulary = {token: i for i, token in enumerate([*letters, *("".join(pair) for pair in merges)])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=list(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def episode(turns, max_length=400, label=LABEL, tokenizer=None):
    engine = StoppedEngine(turns, tokenizer) if tokenizer else Engine(turns)
    executor = vllm_engine._load_agent_executor(named.located("deltal:countdown-calculator"))  # as the host loads it
    response = asyncio.run(
        CheckedExecutor(executor, "it", needs_truncated=True).execute(
            prompt="p:",
            label=label,
            sampling_params=SamplingParams(max_tokens=None),
            max_length=max_length,
            hf_tokenizer=tokenizer or engine,
            llm_engine=engine,
            images=None,
        )
    )
    return response, engine


def test_an_episode_is_what_policy_and_calculator_wrote_and_only_the_policys_tokens_are_trained():
    response, engine = episode(RIGHT)
    text = "".join(map(chr, response["observation_tokens"]))
    assert text == "p:5 * 3 = 15 - 4 = 11 NO 3 + 4 = 7 <answer> ( 3 + 4 ) * 5 </answer> <eos>"
    assert [said for said, _ in engine.asked] == [
        "p:",
        "p:5 * 3 = 15",
        "p:5 * 3 = 15 - 4 = 11",
        text[: text.index(" <answer>")],
    ]
    assert all(params.stop == ["="] and params.include_stop_str_in_output for _, params in engine.asked)
    assert response["reward"] == response["scores"] == 1.0 and response["truncated"] is False
    assert response["extra_logs"] == {"answered": 1.0, "calculator/results": 3.0}
    # As the host makes an Experience of it.
    made = SamplesGenerator._process_response_into_experience(None, response, max_len=400)
    trained = "".join(
        chr(t) for t, m in zip(made.sequences[0, 1:].tolist(), made.action_mask[0].tolist(), strict=True) if m
    )
    assert trained == "".join(RIGHT)
    assert made.action_mask.sum().item() == sum(map(len, RIGHT)) < made.response_length.item()


@pytest.mark.parametrize(
    ("turns", "max_length", "reward", "cut", "results"),
    [
        (["3 + 4 <eos>"], 400, 0.0, False, 0.0),  # gave up
        (["<answer> (3+4)*5 </answer> <eos>"], 400, 1.0, False, 0.0),
        (["<answer> (3+4)*5 =", " </answer>"], 400, 1.0, False, 1.0),  # the calculator's 35 is a part of the answer
        (
            ["<answer> (3+4)*5 </answer> 1 ="],
            2 + 30,
            1.0,
            True,
            1.0,
        ),  # nothing is left for another turn; what was said counts
        (["3 + 4 =", "x =", " 3 * 5 ="], 2 + 22, 0.0, True, 2.0),
    ],
)
def test_how_episodes_end(turns, max_length, reward, cut, results):
    response, _ = episode(turns, max_length)
    assert (response["reward"], response["scores"], response["truncated"]) == (reward, reward, cut)
    assert response["extra_logs"]["calculator/results"] == results


def test_an_answer_that_was_right_and_is_taken_back_pays_nothing():
    response, _ = episode(["<answer> (3+4)*5 </answer> no =", " <answer> 3 </answer> <eos>"])
    assert response["reward"] == response["scores"] == 0.0


def test_a_token_that_goes_on_behind_the_equals_sign_ends_the_episode():
    """The policy's token "=(" is trained on, so the calculator does not write its result behind "=", and the answer is not a right one."""
    turns = ["<answer> (3+4)*5 =( </answer>", " </answer>"]
    for merges, text, reward, results in (
        ([], "p:<answer> (3+4)*5 = 35 </answer>", 1.0, 1.0),
        ([("=", "(")], "p:<answer> (3+4)*5 =(", 0.0, 0.0),
    ):
        tokenizer = spaced_tokenizer(*merges)
        response, _ = episode(turns, tokenizer=tokenizer)
        assert tokenizer.decode(response["observation_tokens"]) == text
        assert (response["reward"], response["scores"]) == (reward, reward)
        assert response["extra_logs"]["calculator/results"] == results


def test_two_equals_signs_in_a_token_call_for_no_value():
    response, _ = episode(["5 * 3 ==", " 4 =", " no"], tokenizer=spaced_tokenizer(("=", "=")))
    assert response["extra_logs"]["calculator/results"] == 1.0  # that of 4


def test_the_space_at_the_beginning_of_a_turn_is_kept():
    """Without it, 15 and 3 would be 153."""
    tokenizer = spaced_tokenizer()
    assert tokenizer.decode(tokenizer(" 3 =")["input_ids"]) == "3 ="
    response, _ = episode(["5 * 3 =", " 3 =", " no"], tokenizer=tokenizer)
    assert tokenizer.decode(response["observation_tokens"]) == "p:5 * 3 = 15 3 = no"
    assert response["extra_logs"]["calculator/results"] == 1.0


def test_a_broken_label_stops_the_run():
    with pytest.raises(ValueError, match="a countdown label is"):
        episode(["<eos>"], label="35")


# ── Its name ──


def test_a_start_takes_the_name_and_refuses_another():
    args = host_arguments("--train.agent_func_path", "deltal:countdown-calculator", "--data.label_key", "label")
    user_files.check_user_files(args)
    checks.check_label_key(args)
    assert not [line for line in data_files.missing_files(args) if "agent" in line]
    assert set(named.FILES) <= set(REWARD_CHECKS)
    wrong = host_arguments("--train.agent_func_path", "deltal:countdown-calculater")
    (line,) = [line for line in data_files.missing_files(wrong) if "agent_func" in line and "calculater" in line]
    assert line == (
        "--train.agent_func_path: deltal:countdown-calculater is not an agent of this package; the nearest known one is "
        "'deltal:countdown-calculator'"
    )
    with pytest.raises(
        ValueError,
        match="^--data.label_key is not given, but --train.agent_func_path deltal:countdown-calculator grades",
    ):
        checks.check_label_key(host_arguments("--train.agent_func_path", "deltal:countdown-calculator"))
