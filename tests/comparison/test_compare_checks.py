"""The check of every set of flags before anything starts."""

import json
import re
import sys
from pathlib import Path

import pytest
import yaml
from support import commands
from tokenizers import Regex, pre_tokenizers

from deltal_openrlhf.comparison.checks import check_flags
from deltal_openrlhf.comparison.grid import Job
from deltal_openrlhf.comparison.run import distinct_flags
from deltal_openrlhf.comparison.spec import Arm, read_spec
from deltal_openrlhf.models.tiny import write_tiny_model

REWARD = Path(__file__).parents[2] / "deltal_openrlhf" / "rewards" / "countdown_reward.py"

FLAGS = {
    "actor.model_name_or_path": "start",
    "train.seed": 0,
    "data.prompt_dataset": "train.jsonl",
    "data.max_len": 256,  # the tiny model's positions
    "rollout.max_new_tokens": 212,
    "rollout.batch_size": 4,
    "rollout.n_samples_per_prompt": 8,
    "rollout.micro_batch_size": 8,
    "train.batch_size": 32,
    "train.micro_batch_size": 8,
    "algo.advantage.estimator": "group_norm",
    "algo.kl.init_coef": 0,
    "actor.num_gpus_per_node": 1,
    "vllm.num_engines": 1,
    "vllm.sync_backend": "gloo",
    "vllm.enforce_eager": True,
    "reward.remote_url": str(REWARD),
    "data.label_key": "label",
}
CASES = {
    "both": ({}, None, None),
    "sgd": ({"deltal.sgd": True}, None, None),
    "unknown": (
        {"actor.adam.lrr": 1},
        *("unknown key 'actor.adam.lrr'; the nearest known one is 'actor.adam.lr'",) * 2,
    ),
    "value": (
        {"actor.loss_agg_mode": "deltal", "deltal.alpha": 1.5},
        *("--alpha is 1.5, allowed is a number from 0 to 1",) * 2,
    ),
    "type": ({"train.batch_size": "many"}, *("argument --train.batch_size: invalid int value: 'many'",) * 2),
    "loop only": ({"actor.optim": "muon"}, "--actor.optim is not followed by the single-process loop", None),
    "pipeline only": ({"train.micro_batch_size": 5}, None, "is not a multiple of ranks x --train.micro_batch_size, 5"),
    "prompts": (
        {"rollout.max_new_tokens": 254},
        "train.jsonl: line 1: the prompt has 11 tokens, allowed are 1 to 2",
        "--data.prompt_dataset train.jsonl: line 1: the prompt has 11 tokens, allowed are 2 (--data.max_len minus",
    ),
    "rollouts": (
        {"rollout.batch_size": 3, "train.batch_size": 24},
        "train.jsonl gives 4 prompts (--data.max_samples 100000000), allowed in the single-process loop is a multiple",
        None,
    ),
    "key": (
        {"data.input_key": "question"},
        "train.jsonl: line 1: KeyError: 'question'",
        "--data.input_key is question, but --data.prompt_dataset train.jsonl has the columns input, label",
    ),
    "dropout": (
        {"actor.model_name_or_path": "dropout"},
        "--actor.model_name_or_path dropout has dropout, which the single-process loop does not apply",
        None,
    ),
    "unknown model": (
        {"actor.model_name_or_path": "broken"},
        "--actor.model_name_or_path broken: ValueError: The checkpoint you are trying to load has model type `of nothing`",
        "--actor.model_name_or_path broken: ",
    ),
    "no language model": (
        {"actor.model_name_or_path": "vit"},
        "--actor.model_name_or_path vit: ValueError: Unrecognized configuration class",
        "--actor.model_name_or_path vit: ",
    ),
    "no tokenizer": (
        {"actor.model_name_or_path": "no_tokenizer"},
        "--actor.model_name_or_path no_tokenizer: ",
        "--actor.model_name_or_path no_tokenizer: the tokenizer cannot be loaded: ",
    ),
    "template": (
        {"data.input_template": "{} {}"},
        "train.jsonl: line 1: IndexError: ",
        "--data.input_template is '{} {}': it has more than one {}",
    ),
    "no JSON": (
        {"eval.dataset": "notes.jsonl"},
        "notes.jsonl: line 1: JSONDecodeError: Expecting value",
        "notes.jsonl: line 1: not JSON",
    ),
    "no text": ({"eval.dataset": "bytes.jsonl"}, "bytes.jsonl: UnicodeDecodeError: ", "bytes.jsonl: line 1: not UTF-8"),
    "reward file that ends": (
        {"reward.remote_url": "exit.py"},
        "--reward.remote_url exit.py cannot be loaded: SystemExit: 0",
        "--reward.remote_url exit.py: line 1: SystemExit: 0",
    ),
    "reward file": (
        {"reward.remote_url": "no_reward.py"},
        "--reward.remote_url no_reward.py cannot be loaded: ValueError: it has no function",
        "--reward.remote_url no_reward.py: it has no function reward_func",
    ),
    "broken reward file": (
        {"reward.remote_url": "broken.py"},
        "--reward.remote_url broken.py cannot be loaded: SyntaxError",
        "--reward.remote_url broken.py: line 1: SyntaxError",
    ),
    "files": (
        {"data.prompt_dataset": "none.jsonl"},
        "--data.prompt_dataset is none.jsonl",
        "--data.prompt_dataset: not there: none.jsonl",
    ),
    "sgd and megatron": (
        {"deltal.sgd": True, "backend": "megatron"},
        None,
        "--backend is megatron, allowed with --deltal.sgd is deepspeed",
    ),
    "sgd and muon": (
        {"deltal.sgd": True, "actor.optim": "muon"},
        None,
        "--actor.optim is muon, allowed with --deltal.sgd is adam",
    ),
    "sgd and decay": (
        {"deltal.sgd": True, "actor.adam.weight_decay": 0.1},
        *("--actor.adam.weight_decay is 0.1, allowed with --deltal.sgd is 0",) * 2,
    ),
    "sgd and critic": (
        {"deltal.sgd": True, "algo.advantage.estimator": "gae"},
        None,
        "--algo.advantage.estimator is gae, allowed with --deltal.sgd is any",
    ),
}
BOTH = """
import contextlib, io, json, sys
from deltal_openrlhf.comparison import checks
cases, found = sys.stdin.read(), []
for engine in ("loop", "pipeline"):
    sys.stdin, out = io.StringIO(cases), io.StringIO()
    with contextlib.redirect_stdout(out):
        checks.main(engine)
    found.append(json.loads(out.getvalue().splitlines()[-1]))
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def messages(tmp_path_factory) -> dict[str, tuple[str | None, str | None]]:
    """What the check says, with both engines: the real parser of the host, in one process."""
    folder = tmp_path_factory.mktemp("checks")
    row = {"input": "1 2 make [ 3 ]", "label": json.dumps({"numbers": [1, 2], "target": 3})}
    (folder / "train.jsonl").write_text((json.dumps(row) + "\n") * 4)
    words = ["<pad>", "<eos>", "<unk>", "1", "2", "3", "make", "[", "]", " "]
    split = pre_tokenizers.Split(Regex(r"\s|\S+"), "isolated")  # the reward asks for the prompt as it was
    for name, dropout in (("start", 0.0), ("dropout", 0.1)):
        write_tiny_model(folder / name, words, split, attention_dropout=dropout)
    for name, kind in (("broken", "of nothing"), ("vit", "vit"), ("no_tokenizer", "llama")):
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(json.dumps({"model_type": kind}))
    (folder / "notes.jsonl").write_text("notes\n")
    (folder / "bytes.jsonl").write_bytes(b"\xff\n")
    (folder / "exit.py").write_text("raise SystemExit(0)\n")
    (folder / "no_reward.py").write_text("x = 1\n")
    (folder / "broken.py").write_text("def reward_func(:\n")
    done = commands.run(
        [sys.executable, "-c", BOTH],
        input=json.dumps([FLAGS | flags for flags, *_ in CASES.values()]),
        capture_output=True,
        text=True,
        timeout=110,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(CASES, zip(*json.loads(done.stdout.splitlines()[-1]), strict=True), strict=True))


@pytest.mark.parametrize("engine", [0, 1], ids=["loop", "pipeline"])
@pytest.mark.parametrize("case", CASES)
def test_flags_are_checked_as_a_real_start_does(messages, case, engine):
    said, wanted = messages[case][engine], CASES[case][1 + engine]
    if wanted is None and case.startswith("sgd and") and engine == 0:
        assert said is not None  # the loop has its own words for what it does not follow
    elif wanted is None:
        assert said is None
    else:
        assert wanted in said and "\n" not in said and not re.search(r"set in line|^line \d|\.yaml", said)


def test_a_refusal_names_arm_and_method(monkeypatch):
    arm = Arm("SGD", {}, {"∆L 1": {}}, {"f": ("∆L 1",)}, None, ("start",), (0,))
    job = Job("x", arm, "f", "∆L 1", "start", 0, None)
    monkeypatch.setattr("sys.executable", "/bin/echo")  # whatever it is asked, it is not a list of messages
    monkeypatch.setattr("deltal_openrlhf.comparison.checks.json.loads", lambda text: ["--a is 1, allowed is 2"])
    with pytest.raises(ValueError, match="^arm 'SGD', method '∆L 1', start start: --a is 1, allowed is 2$"):
        check_flags("loop", [job])


def test_every_arm_method_and_start_is_checked_once(tmp_path):
    for name in ("s0", "s1", "s2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").touch()
    file = tmp_path / "c.yaml"
    given = {
        "starts": [f"{tmp_path}/s0", f"{tmp_path}/s1"],
        "seeds": [0, 1],
        "methods": {"a": {}, "b": {}},
        "families": {"all": ["b", "a"]},
        "learning_rate": {"choices": [1, 2], "seeds": [8, 9], "starts": [f"{tmp_path}/s2"]},
        "arms": {"one": {}, "two": {"starts": [f"{tmp_path}/s1"], "learning_rate": None}},
    }
    file.write_text(yaml.safe_dump(given))
    spec = read_spec(str(file))
    found = [(job.arm.name, job.method, job.start[-2:]) for job in distinct_flags(spec, spec.arms)]
    # The family's first method chooses its rate, from a start that no run of the comparison has.
    wanted = [("one", m, s) for s in ("s0", "s1") for m in "ab"]
    wanted += [("one", "b", "s2"), ("two", "a", "s1"), ("two", "b", "s1")]
    assert sorted(found) == sorted(wanted)
