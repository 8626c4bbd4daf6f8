"""OpenRLHF's own code reads the files, by the very flags that `deltal data` prints: flags, loader, prompt data set, evaluation."""

import json
from types import SimpleNamespace

import pytest
import torch
from openrlhf.trainer.ppo_trainer import compute_eval_metrics, prepare_datasets
from openrlhf.utils.deepspeed import DeepspeedStrategy
from support.host_arguments import host_arguments

from deltal_openrlhf.cli.main import main
from deltal_openrlhf.data.templates import MATH

SIZES = (
    "--actor.num_gpus_per_node 2 --rollout.batch_size 8 --rollout.n_samples_per_prompt 4 --rollout.micro_batch_size 4 "
    "--train.batch_size 4 --train.micro_batch_size 4 --reward.remote_url reward.py"
).split()


def rendered(messages, tokenize, add_generation_prompt):
    """A tokenizer's chat template."""
    assert not tokenize and add_generation_prompt
    return "".join(f"<{m['role']}>{m['content']}" for m in messages) + "<assistant>"


def loaders(flags):
    """The host's train and eval loaders for these flags."""
    args = host_arguments(*SIZES, *flags)
    strategy = SimpleNamespace(args=args, print=lambda *_: None, is_rank_0=lambda: False)
    strategy.setup_dataloader = lambda *a, **k: DeepspeedStrategy.setup_dataloader(strategy, *a, **k)
    train, evaluation, _ = prepare_datasets(strategy, SimpleNamespace(apply_chat_template=rendered))
    return train, evaluation


def rows(loader):
    return [(source, prompt, label) for batch in loader for source, prompt, label, _ in zip(*batch, strict=True)]


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    """The loader keeps an Arrow copy of every file that it has read."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
@pytest.mark.parametrize("template", ["base", "chat"])
def test_train_and_several_eval_files(template, format, tmp_path, capsys):
    def source(name, items):
        path = tmp_path / name
        path.write_text(json.dumps([{"problem": problem, "answer": answer} for problem, answer in items]))
        return str(path)

    train = {f"Compute ${i}+{i}$ “now”.": str(2 * i) for i in range(8)}
    # Labels that a reader might take for numbers, dates or lists.
    sets = {
        "aime": {"Which integer?": "073", "Which date?": "2024-01-31"},
        "minerva": {"Which list?": ["1/2", "0.5"], "Which float?": 142.0, "Line\u2028break?": "\\frac{1}{2}"},
    }
    labels = {"073": "073", "2024-01-31": "2024-01-31", 142.0: "142", "\\frac{1}{2}": "\\frac{1}{2}"}
    words = ["--train", source("t.json", train.items()), "--template", template, "--format", format]
    words += ["--eval", *(f"{name}={source(f'{name}.json', items.items())}" for name, items in sets.items())]
    assert main(["data", "math", *words, "--out", str(tmp_path / "out")]) == 0
    flags = capsys.readouterr().out.splitlines()[-1].removeprefix("for deltal train: ").split()
    train_loader, eval_loader = loaders(flags)

    def prompt(problem):
        asked = MATH[template](problem)
        return asked if template == "base" else rendered(asked, tokenize=False, add_generation_prompt=True)

    assert sorted(rows(train_loader)) == sorted(("math", prompt(problem), label) for problem, label in train.items())
    assert rows(eval_loader) == [
        (name, prompt(problem), json.dumps(answer) if isinstance(answer, list) else labels[answer])
        for name, items in sets.items()
        for problem, answer in items.items()
    ]

    # The host's metrics keep the sets apart by datasource: two samples each, all of aime right, half of minerva's.
    samples = [
        SimpleNamespace(prompts=[text], rewards=reward, response_length=torch.tensor(5), truncated=torch.tensor(False))
        for name, text, _ in rows(eval_loader)
        for reward in ((1.0, 1.0) if name == "aime" else (0.0, 1.0))
    ]
    metrics = compute_eval_metrics(eval_loader, samples, 2)
    assert (metrics["eval_aime_pass1"], metrics["eval_minerva_pass1"]) == (1.0, 0.5)


def test_countdown(tmp_path, capsys):
    assert main(["data", "countdown", "--train", "6", "--test", "3", "--out", str(tmp_path)]) == 0
    train_loader, eval_loader = loaders(
        capsys.readouterr().out.splitlines()[-1].removeprefix("for deltal train: ").split()
    )
    for loader, name in ((train_loader, "train"), (eval_loader, "test")):
        written = [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
        assert sorted(rows(loader)) == sorted(("countdown", row["input"], row["label"]) for row in written)
