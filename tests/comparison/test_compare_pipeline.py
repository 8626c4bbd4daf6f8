"""The engine that runs `deltal train`, and the check of flags before anything starts."""

import json
import re
import sys
from pathlib import Path

import pytest
import yaml
from support import commands
from tokenizers import pre_tokenizers

from deltal_openrlhf.comparison import pipeline
from deltal_openrlhf.comparison.checks import check_flags
from deltal_openrlhf.comparison.grid import Job
from deltal_openrlhf.comparison.run import distinct_flags
from deltal_openrlhf.comparison.schedule import Schedule
from deltal_openrlhf.comparison.spec import read_spec
from deltal_openrlhf.models.tiny import write_tiny_model

ROOT = Path(__file__).parents[2]
REWARD = "deltal_openrlhf/rewards/countdown_reward.py"


def test_the_command_line(tmp_path):
    _, *words = pipeline.command(tmp_path)
    at = {name: words[words.index(name) + 1] for name in ("--config", "--ckpt.output_dir", "--ckpt.path")}
    assert words[:2] == ["-m", "deltal_openrlhf.train_ppo_ray"]
    assert at == {
        "--config": str(tmp_path / "flags.yaml"),
        "--ckpt.output_dir": str(tmp_path),
        "--ckpt.path": str(tmp_path / "ckpt"),
    }
    assert words[-3:] == ["--ckpt.best_metric_key", "none", "--ckpt.load_enable"]


def engine_run(monkeypatch, folder: Path, script: str, flags: dict) -> dict:
    """pipeline.run with a small script as the command, its console in console.txt as a worker has it."""
    whole = f"import sys; sys.stdout = sys.stderr = open({str(folder / 'console.txt')!r}, 'a')\nfolder = {str(folder)!r}\n{script}"
    monkeypatch.setattr(pipeline, "command", lambda folder: [sys.executable, "-c", whole])
    return pipeline.run(flags, folder)


STEPS = """
import json
with open(folder + "/metrics.jsonl", "w") as file:
    for step in range(1, 7):
        print(json.dumps({"step": step}), file=file)
with open(folder + "/evals.jsonl", "w") as file:
    for step in EVALS:
        print(json.dumps({"step": step}), file=file)
"""


def test_a_run_ends_with_its_steps_and_what_all_its_processes_took(tmp_path, monkeypatch):
    (tmp_path / "ckpt").mkdir()
    busy = """
import subprocess, sys
subprocess.run([sys.executable, "-c", '''
import time
begun = time.process_time()
while time.process_time() - begun < 1.5:
    pass
time.sleep(0.6)
'''])
"""
    flags = {"actor.adam.lr": 1e-6, "eval.dataset": "e.jsonl", "eval.steps": 3, "vllm.enforce_eager": True}
    found = engine_run(monkeypatch, tmp_path, busy + STEPS.replace("EVALS", "(3, 6)"), flags)
    assert found["steps"] == 6 and found["cpu_seconds"] >= 1.5
    assert yaml.safe_load((tmp_path / "flags.yaml").read_text()) == flags
    assert not (tmp_path / "ckpt").exists()


def test_a_run_that_fails_says_why(tmp_path, monkeypatch):
    script = "print('deltal train: stopped: the loss is nan; log: x', 'noise', sep='\\n'); sys.exit(1)"
    with pytest.raises(RuntimeError, match="^deltal train: stopped: the loss is nan; log: x$"):
        engine_run(monkeypatch, tmp_path, script, {})
    # What the part before an interruption said is not the reason.
    with pytest.raises(RuntimeError, match="^deltal train ended with exit code 3$"):
        engine_run(monkeypatch, tmp_path, "sys.exit(3)", {})


def test_a_run_without_a_step_is_a_failure(tmp_path, monkeypatch):
    with pytest.raises(RuntimeError, match="without a training step"):
        engine_run(monkeypatch, tmp_path, "", {})


def test_a_missing_evaluation_is_a_failure(tmp_path, monkeypatch):
    flags = {"eval.dataset": "e.jsonl", "eval.steps": 3}
    with pytest.raises(RuntimeError, match="evals.jsonl has no evaluation after step 3"):
        engine_run(monkeypatch, tmp_path, STEPS.replace("EVALS", "(6,)"), flags)
    assert engine_run(monkeypatch, tmp_path, STEPS.replace("EVALS", "()"), {})["steps"] == 6


def test_an_interrupted_run_goes_on_from_its_checkpoint_and_a_crashed_one_begins_anew(tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s/config.json").touch()
    file = tmp_path / "c.yaml"
    file.write_text(f"{{engine: pipeline, starts: [{tmp_path}/s], seeds: [0, 1, 2, 3], methods: {{a: {{}}}}}}")
    spec = read_spec(str(file))
    out = tmp_path / "out"

    def next_folders(**arguments) -> dict[str, bool]:
        """Folder of each run that begins -> whether what was there is there still."""
        schedule, found = Schedule(spec, spec.arms, out, **arguments), {}
        while job := schedule.next_job():
            found[job.name[-1]] = (out / job.name / "left").exists()
        return found

    assert next_folders() == {"0": False, "1": False, "2": False, "3": False}
    for seed in "0123":
        (out / f"runs/main/s/a/seed{seed}/left").touch()
    for seed in "123":
        saved = out / f"runs/main/s/a/seed{seed}/ckpt/_actor"
        saved.mkdir(parents=True)
        (saved / "global_step3").mkdir()
        (saved / "latest").write_text("global_step3\n")
    (out / "runs/main/s/a/seed2/result.json").write_text('{"crashed": "x", "seconds": 1.0, "cpu_seconds": 1.0}')
    # Killed while the folder was removed: of which run the rest is, nobody knows.
    (out / "runs/main/s/a/seed3/settings.json").unlink()
    assert next_folders() == {"0": False, "1": True, "3": False}
    (out / "runs/main/s/a/seed3/left").touch()
    assert next_folders(retry_crashed=True) == {"0": False, "1": True, "2": False, "3": False}


@pytest.mark.parametrize(("evaluated", "tag"), [((2, 4), 4), ((2,), 3), ((), None)])
def test_a_run_goes_on_from_a_checkpoint_whose_evaluation_is_there(tmp_path, evaluated, tag):
    saved = tmp_path / "ckpt/_actor"
    for step in (2, 3, 4):
        (saved / f"global_step{step}").mkdir(parents=True)
    (saved / "latest").write_text("global_step4\n")
    (tmp_path / "evals.jsonl").write_text("".join(json.dumps({"step": step}) + "\n" for step in evaluated))
    flags = {"eval.dataset": "e.jsonl", "eval.steps": 2}
    assert pipeline.can_go_on(tmp_path, flags) == (tag is not None)
    if tag:
        assert (saved / "latest").read_text() == f"global_step{tag}"
    assert pipeline.can_go_on(tmp_path, {})


FLAGS = {
    "actor.model_name_or_path": "start",
    "train.seed": 0,
    "data.prompt_dataset": "train.jsonl",
    "data.max_len": 300,
    "rollout.max_new_tokens": 256,
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
    "reward.remote_url": str(ROOT / REWARD),
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
    "pipeline only": ({"train.micro_batch_size": 5}, None, "is no multiple of ranks x --train.micro_batch_size, 5"),
    "prompts": ({"data.max_len": 258}, "train.jsonl: line 1: the prompt has 6 tokens, allowed are 1 to 2", None),
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
        None,
    ),
    "no language model": (
        {"actor.model_name_or_path": "vit"},
        "--actor.model_name_or_path vit: ValueError: Unrecognized configuration class",
        None,
    ),
    "no tokenizer": (
        {"actor.model_name_or_path": "no_tokenizer"},
        "--actor.model_name_or_path no_tokenizer: ",
        None,
    ),
    "template": ({"data.input_template": "{} {}"}, "train.jsonl: line 1: IndexError: ", None),
    "no JSON": (
        {"eval.dataset": "notes.jsonl"},
        "notes.jsonl: line 1: JSONDecodeError: Expecting value",
        "notes.jsonl: line 1: not JSON",
    ),
    "no text": ({"eval.dataset": "bytes.jsonl"}, "bytes.jsonl: UnicodeDecodeError: ", "bytes.jsonl: line 1: not JSON"),
    "reward file that ends": ({"reward.remote_url": "exit.py"}, "--reward.remote_url exit.py: SystemExit: 0", None),
    "reward file": ({"reward.remote_url": "no_reward.py"}, "--reward.remote_url no_reward.py: has no function", None),
    "broken reward file": ({"reward.remote_url": "broken.py"}, "--reward.remote_url broken.py: SyntaxError", None),
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
    (folder / "train.jsonl").write_text('{"input": "1 2 make [ 3 ]", "label": "3"}\n' * 4)
    words = ["<pad>", "<eos>", "<unk>", "1", "2", "3", "make", "[", "]"]
    for name, dropout in (("start", 0.0), ("dropout", 0.1)):
        write_tiny_model(folder / name, words, pre_tokenizers.Whitespace(), attention_dropout=dropout)
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
    job = Job("x", "SGD", "f", "∆L 1", "start", 0, None, {"a": 1})
    monkeypatch.setattr("sys.executable", "/bin/echo")  # whatever it is asked, it is no list of messages
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
    found = [(job.arm, job.method, job.start[-2:]) for job in distinct_flags(spec, spec.arms)]
    # The family's first method chooses its rate, from a start that no run of the comparison has.
    wanted = [("one", m, s) for s in ("s0", "s1") for m in "ab"] + [
        ("one", "b", "s2"),
        ("two", "a", "s1"),
        ("two", "b", "s1"),
    ]
    assert sorted(found) == sorted(wanted)
