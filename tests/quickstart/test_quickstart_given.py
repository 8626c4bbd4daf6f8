"""The quick start with a model of the user's, and on a GPU: what it asks, what it refuses, the command that it runs."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import datasets
import pytest
import torch
from support.host_arguments import host_arguments
from tokenizers import Regex, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, T5Config

from deltal_openrlhf.cli import quickstart as command_line
from deltal_openrlhf.data.countdown import Problem, label
from deltal_openrlhf.data.prompt_tokens import as_text
from deltal_openrlhf.host.deepspeed_backend import BACKEND
from deltal_openrlhf.models.sampling import Response
from deltal_openrlhf.models.tiny import write_tiny_model
from deltal_openrlhf.quickstart import evaluate, given, model, sizes, stages, task, training
from deltal_openrlhf.quickstart.kinds import KINDS
from deltal_openrlhf.train import checks, gpus, numbers, run_data
from deltal_openrlhf.train.data_files import missing_files

TASK = sizes.CPU.task
TEMPLATE = "{% for m in messages %}({{ m['role'] }}) {{ m['content'] }}\n{% endfor %}{% if add_generation_prompt %}(assistant) {% endif %}"
CHARACTERS = ["<pad>", "<eos>", "<unk>", *map(chr, range(32, 127)), "\n"]


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """words/, chat/ and base/: random models. words has the task's words for tokens, the others have characters."""
    folder = tmp_path_factory.mktemp("models")
    tokenizer = model.build_tokenizer()
    torch.manual_seed(0)
    model.save(model.build_model(tokenizer), tokenizer, folder / "words")
    for name in ("chat", "base", "short", "lossy"):
        characters = [c for c in CHARACTERS if name != "lossy" or c != ","]
        write_tiny_model(folder / name, characters, pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated"))
        if name != "short":
            change(folder / name / "config.json", max_position_embeddings=2048)
    change(folder / "chat" / "tokenizer_config.json", chat_template=TEMPLATE)
    return folder


def change(path: Path, **values) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


# ── What is asked ──


def test_a_model_is_asked_in_a_language_that_it_has(models):
    found = {name: given.find(str(models / name)) for name in ("words", "chat", "base")}
    assert {name: model.kind for name, model in found.items()} == {name: name for name in found}
    assert found["words"][:3] == (str(models / "words"), "words", TASK.longest_prompt)
    for name in ("chat", "base"):
        tokenizer = AutoTokenizer.from_pretrained(models / name)
        texts = [as_text(KINDS[name].prompt(*problem), tokenizer) for problem in task.held_out(TASK.draw, 64)]
        assert all("<answer>" in text for text in texts)
        # Every character is a token.
        assert max(map(len, texts)) == found[name].longest_prompt
    text = as_text(KINDS["chat"].prompt((3, 4, 5), 35), AutoTokenizer.from_pretrained(models / "chat"))
    assert text.startswith("(system) ") and "the numbers 3, 4, 5, write an equation that equals 35" in text
    assert text.endswith("\n(assistant) ")


def test_other_weights_have_another_identity(models, tmp_path):
    def identity():
        return given.find(str(tmp_path / "base")).identity

    subprocess.run(["cp", "-r", models / "base", tmp_path], check=True)
    before = identity()
    assert identity() == before
    changed = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    changed.save_pretrained(tmp_path / "base")
    assert identity() != before


@pytest.mark.parametrize("kind", ["words", "chat", "base"])
def test_evaluation_asks_and_grades_as_training_does(kind, models, monkeypatch):
    """The model's answers are put in: the right one for the first problem, none for the second. Ends by generation_config count, too."""
    problems = task.held_out(TASK.draw, 2)
    tokenizer = AutoTokenizer.from_pretrained(models / kind)
    answers = {
        0: f"<answer> {TASK.attempts(problems[0].numbers)[problems[0].target][0].expression} </answer>",
        1: "<answer> 1 </answer>",
    }
    seen = []

    def sample(net, prompt_ids, *, eos, generator, max_new_tokens, progress):
        seen.extend(tokenizer.batch_decode(prompt_ids))
        assert eos == {tokenizer.eos_token_id}
        responses = [
            tokenizer(f" {answers[i // 3]}", add_special_tokens=False)["input_ids"] for i in range(len(prompt_ids))
        ]
        return [Response([*response, tokenizer.eos_token_id], True, 0.0, 1.0) for response in responses]

    monkeypatch.setattr("deltal_openrlhf.models.sampling.sample", sample)
    result = evaluate.evaluate(models / kind, problems, replace(KINDS[kind], evaluated=3, max_new_tokens=9))
    assert result["correct"] == [[1, 1, 1], [0, 0, 0]]
    assert seen[::3] == [as_text(KINDS[kind].prompt(*problem), tokenizer) for problem in problems]


# ── What is refused ──


def translator(folder: Path) -> None:
    write_tiny_model(folder, CHARACTERS, pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated"))
    T5Config().save_pretrained(folder)


def without_tokenizer(folder: Path) -> None:
    write_tiny_model(folder, CHARACTERS, pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated"))
    for path in folder.glob("tokenizer*"):
        path.unlink()


def without_weights(folder: Path) -> None:
    write_tiny_model(folder, CHARACTERS, pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated"))
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda folder: None, "no such folder"),
        (without_tokenizer, "tokenizer"),
        (without_weights, "no weights"),
        (translator, "is a t5, allowed are causal language models"),
    ],
)
def test_a_folder_that_is_no_model_is_one_line(make, says, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    make(tmp_path / "model")
    with pytest.raises(ValueError) as refused:
        given.find(str(tmp_path / "model"))
    assert says in str(refused.value) and str(tmp_path / "model") in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_model_that_cannot_do_the_task_is_one_line(models, tmp_path):
    for name, says in (("short", "has 256 positions, the task needs"), ("lossy", "its tokenizer turns the prompt")):
        with pytest.raises(ValueError) as refused:
            given.find(str(models / name))
        assert says in str(refused.value) and "\n" not in str(refused.value)


def test_the_command_refuses_before_it_does_anything(tmp_path):
    command = [
        sys.executable,
        "-m",
        "deltal_openrlhf.cli.main",
        "quickstart",
        "--out",
        tmp_path / "out",
        "--model",
        "no/such-model",
    ]
    variables = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")}
    process = subprocess.run(command, capture_output=True, text=True, timeout=100, env=variables)
    assert process.returncode == 2
    (line,) = process.stderr.splitlines()
    assert line.startswith("deltal quickstart: error: ") and "no/such-model" in line
    assert not (tmp_path / "out").exists()


def test_a_torch_for_gpus_without_one_is_refused(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(command_line.cpu, "is_needed", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert command_line.main(["--out", str(tmp_path / "out")]) == 2
    assert "sees none" in capsys.readouterr().err and not (tmp_path / "out").exists()


# ── The stages with a model of the user's ──


def test_a_given_model_goes_through_all_stages(models, tmp_path, monkeypatch, capsys):
    """The training is a copy of the model. Done again with the same weights nothing is repeated; with others everything is."""
    trainings = []

    def copy_model(arguments):
        trainings.append(arguments)
        checkpoint = tmp_path / "out" / "checkpoint"
        subprocess.run(
            ["cp", "-r", arguments[arguments.index("--actor.model_name_or_path") + 1], checkpoint], check=True
        )
        keys = ["deltal/grad_norm", "deltal/ess", "rollout/reward_mean", "deltal/response_length_mean"]
        (checkpoint / "metrics.jsonl").write_text(json.dumps({"step": 1, **dict.fromkeys(keys, 1.0)}) + "\n")

    monkeypatch.setattr(training, "train", copy_model)
    # In this process: the other test of the whole command shows the stages in their own.
    monkeypatch.setattr(stages, "in_child", lambda function, *arguments: function(*arguments))
    monkeypatch.setitem(KINDS, "words", replace(KINDS["words"], max_new_tokens=20))
    monkeypatch.setattr(task, "HELD_OUT", 4)
    subprocess.run(["cp", "-r", models / "words", tmp_path / "mine"], check=True)
    arguments = ["--out", str(tmp_path / "out"), "--steps", "2", "--model", str(tmp_path / "mine")]
    assert command_line.main(arguments) == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["model"] == str(tmp_path / "mine") and summary["accuracy_difference"] == 0
    assert not (tmp_path / "out" / "start").exists() and not (tmp_path / "out" / "start.json").exists()
    rows = [json.loads(line) for line in (tmp_path / "out" / "train.jsonl").read_text().splitlines()]
    assert len(rows) == 2 * KINDS["words"].prompts and rows[0]["input"].endswith("] :")
    assert "its tokens are the task's words" in capsys.readouterr().out

    assert command_line.main(arguments) == 0 and len(trainings) == 1
    torch.manual_seed(1)
    tokenizer = model.build_tokenizer()
    model.save(model.build_model(tokenizer), tokenizer, tmp_path / "mine")
    assert command_line.main(arguments) == 0 and len(trainings) == 2


# ── The command on a GPU ──


def command(models: Path, out: Path, name: str | None, device: str) -> list[str]:
    """Arguments of the training that the quick start would run."""
    found = given.find(str(models / name)) if name else None
    loss = ["--loss_agg", "deltal", "--alpha", "1"]
    how = {"kind": KINDS[found.kind], "longest_prompt": found.longest_prompt} if found else {}
    of = training.Training(
        models / (name or "words"), out, out / "train.jsonl", loss, steps=2, seed=0, device=device, **how
    )
    training.write_prompts(of)
    return training.command(of)[3:]


@pytest.mark.parametrize("name", [None, "words", "chat", "base"])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_hosts_parser_and_our_checks_take_the_command(device, name, models, tmp_path, monkeypatch):
    args = host_arguments(*command(models, tmp_path, name, device))
    numbers.check_numbers(args)
    numbers.check_positions(args)
    checks.check_placement(args)
    assert not missing_files(args)
    BACKEND.check(args, {}, on_cpu=device == "cpu")
    checks.check_batch_sizes(args, BACKEND)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    assert run_data.read(args).sets["data.prompt_dataset"].long == 0
    assert args.data.apply_chat_template == (name == "chat")
    assert gpus.total(args) == (1 if device == "cuda" else 2)
    gpus.check(args, 1 if device == "cuda" else 2, "this machine")
    responses = args.rollout.batch_size * args.rollout.n_samples_per_prompt
    assert args.train.batch_size == responses and responses % args.train.micro_batch_size == 0


def test_on_one_gpu_trainer_and_engine_take_turns(models, tmp_path):
    args = host_arguments(*command(models, tmp_path, None, "cuda"))
    assert args.train.colocate_all and args.vllm.enable_sleep and args.ds.enable_sleep
    # ppo_actor: weights go by CUDA IPC with nccl and colocate_all; gloo would need a second rank.
    assert args.vllm.sync_backend == "nccl" and args.ds.param_dtype == "bf16"
    assert args.vllm.gpu_memory_utilization < 0.9
    on_cpu = host_arguments(*command(models, tmp_path, None, "cpu"))
    assert not on_cpu.train.colocate_all and on_cpu.vllm.sync_backend == "gloo"


def test_a_prompt_of_the_training_is_the_one_that_is_evaluated(models, tmp_path):
    """Through the host's own data set."""
    from openrlhf.datasets.prompts_dataset import preprocess_data

    for name in ("words", "chat", "base"):
        command(models, tmp_path, name, "cpu")
        tokenizer = AutoTokenizer.from_pretrained(models / name)
        template = tokenizer.apply_chat_template if name == "chat" else None
        for row in map(json.loads, (tmp_path / "train.jsonl").read_text().splitlines()):
            problem = json.loads(row["label"])
            problem = Problem(tuple(problem["numbers"]), problem["target"])
            text, graded = preprocess_data(row, None, "input", "label", template)
            assert text == as_text(KINDS[name].prompt(*problem), tokenizer) and graded == label(*problem)


def test_settings_of_runs_on_a_gpu_are_others(tmp_path, monkeypatch):
    """A start that a CPU made is not taken on a GPU, and without a GPU the settings name no device."""
    seen = []

    def stop(stage, work):
        seen.append(stage.settings)
        raise KeyboardInterrupt

    monkeypatch.setattr("deltal_openrlhf.quickstart.stages.Stage.run", stop)
    for device in ("cpu", "cuda"):
        monkeypatch.setattr(command_line, "_device", lambda device=device: device)
        assert command_line.main(["--out", str(tmp_path), "--seed", "3"]) == 130
    assert seen == [
        {"format": 4, "seed": 3, "supervised_steps": 1200},
        {"format": 4, "seed": 3, "supervised_steps": 1200, "device": "cuda"},
    ]
