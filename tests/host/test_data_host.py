"""OpenRLHF's own code reads the files, by the very flags that `deltal data` prints: flags, loader, prompt data set, evaluation."""

import json
from contextlib import nullcontext
from datetime import date, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace

import numpy
import pyarrow
import pyarrow.parquet
import pytest
import torch
from datasets import Dataset
from openrlhf.trainer import ppo_trainer
from openrlhf.trainer.ppo_trainer import compute_eval_metrics, prepare_datasets
from openrlhf.utils.deepspeed import DeepspeedStrategy
from openrlhf.utils.utils import get_tokenizer
from support import controllers
from support.host_arguments import host_arguments
from support.run_data import arguments, save_processor, save_tokenizer

from deltal_openrlhf.cli.main import main
from deltal_openrlhf.data.templates import MATH
from deltal_openrlhf.host import eval_metrics
from deltal_openrlhf.host.data_fingerprint import Digest
from deltal_openrlhf.host.data_sets import data_sets_bound
from deltal_openrlhf.train import run_data

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


# ── What a run changes of it ──


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def rows_of(*prompts, **columns):
    return [{"input": prompt, "label": f"label of {prompt}", **columns} for prompt in prompts]


@pytest.fixture
def prepared(tmp_path):
    """prepared(*flags, ours=True, ...) -> the train and eval loaders and the number of steps that a run has."""
    text = save_tokenizer(tmp_path / "model")

    def prepare(*flags, ours=True, check=True, model=text):
        args = arguments(model, *flags)
        if check:
            args.deltal.data = run_data.read(args).fingerprint()
        strategy = SimpleNamespace(args=args, print=lambda *_: None, is_rank_0=lambda: False)
        strategy.setup_dataloader = lambda *a, **k: DeepspeedStrategy.setup_dataloader(strategy, *a, **k)
        tokenizer = get_tokenizer(str(model), None)
        with data_sets_bound(ppo_trainer) if ours else nullcontext():
            found = ppo_trainer.prepare_datasets(strategy, tokenizer)
        assert args.data.max_samples == host_arguments(*flags, "--reward.remote_url", "r.py").data.max_samples
        return found

    return prepare


def test_max_samples_cuts_training_sets_only(prepared, tmp_path):
    train, test = write(tmp_path / "a.jsonl", *rows_of(*"abcde")), write(tmp_path / "b.jsonl", *rows_of(*"vwxyz"))
    flags = ["--data.prompt_dataset", train, "--eval.dataset", test, "--data.max_samples", "3"]
    loader, evaluation, _ = prepared(*flags)
    assert sorted(prompt for _, prompt, _ in rows(loader)) == ["a", "b", "c"]
    assert [prompt for _, prompt, _ in rows(evaluation)] == ["v", "w", "x", "y", "z"]
    _, cut, _ = prepared(*flags, ours=False)
    assert len(rows(cut)) == 3  # the host


@pytest.mark.parametrize(
    "label", [b"\xff", Decimal("1.50"), datetime(2024, 1, 31, 12), timedelta(1), [date(2024, 1, 31)], {"a": b"x"}]
)
def test_the_rows_are_the_same_whatever_type_the_labels_have(label, prepared, tmp_path):
    """The controller reads them again, as the host does, and compares them."""
    path = str(tmp_path / "a.parquet")
    pyarrow.parquet.write_table(pyarrow.table({"input": ["a", "b"], "label": [label, label]}), path)
    assert [label for _, _, label in rows(prepared("--data.prompt_dataset", path)[0])] == [label, label]


def test_a_data_set_that_was_saved_as_arrays_has_the_same_rows(prepared, tmp_path):
    def fingerprint(middle):
        arrays = [[0] * 1000 + [middle] + [0] * 1000, [1]]
        saved = Dataset.from_dict({"input": ["a", "b"], "label": arrays}).with_format("numpy")
        saved.save_to_disk(str(tmp_path / str(middle)))
        loader = prepared("--data.prompt_dataset", str(tmp_path / str(middle)))[0]
        digest = Digest()
        digest.add(zip(loader.dataset.datasources, loader.dataset.prompts, loader.dataset.labels, strict=True))
        assert isinstance(loader.dataset.labels[0], numpy.ndarray)
        return digest.hexdigest()

    assert fingerprint(0) != fingerprint(2)


def test_max_samples_is_of_all_training_sets_together(prepared, tmp_path):
    one, two = write(tmp_path / "a.jsonl", *rows_of(*"abc")), write(tmp_path / "b.jsonl", *rows_of(*"xyz"))
    loader, _, _ = prepared("--data.prompt_dataset", f"{one},{two}", "--data.max_samples", "4")
    assert sorted(prompt for _, prompt, _ in rows(loader)) == ["a", "b", "c", "x"]


def test_long_prompts_are_left_out_of_every_set(prepared, tmp_path):
    prompts = "12345678", "123456789", "a", "x" * 30, "b"  # a token is a byte, and a prompt may have 8
    path = write(tmp_path / "a.jsonl", *rows_of(*prompts))
    flags = ["--data.prompt_dataset", path, "--eval.dataset", path]
    loader, evaluation, steps = prepared(*flags, "--deltal.skip_long_prompts")
    assert sorted(prompt for _, prompt, _ in rows(loader)) == ["12345678", "a", "b"]
    assert [prompt for _, prompt, _ in rows(evaluation)] == ["12345678", "a", "b"]
    assert steps == 3  # 3 prompts x 4 samples / 4 of a step
    assert len(prepared(*flags)[0]) == 5


def test_long_prompts_of_a_model_of_text_and_images_are_left_out(prepared, tmp_path):
    path = write(tmp_path / "a.jsonl", *rows_of("12345678", "123456789"))
    flags = ["--data.prompt_dataset", path, "--deltal.skip_long_prompts"]
    loader, _, _ = prepared(*flags, model=save_processor(tmp_path / "vision"))
    assert [prompt for _, prompt, _ in rows(loader)] == ["12345678"]


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--data.input_template", "<{}>"],
        ["--data.apply_chat_template", "--data.max_len", "64"],
        ["--data.prompt_probs", "0.25,0.75"],
        ["--data.max_samples", "4"],
        ["--data.max_samples", "3", "--deltal.skip_long_prompts"],
    ],
)
def test_the_driver_checks_the_rows_that_the_controller_reads(flags, prepared, tmp_path):
    one = write(tmp_path / "a.jsonl", *rows_of("a", "b", "123456789", datasource="one"))
    two = write(tmp_path / "b.jsonl", *rows_of("x", "y"))  # without a data source
    loader, _, _ = prepared("--data.prompt_dataset", f"{one},{two}", *flags)  # compares the fingerprints
    assert len(loader) >= 2


def test_rows_that_change_after_the_check_stop_the_run(prepared, tmp_path, monkeypatch):
    path = write(tmp_path / "a.jsonl", *rows_of("a", "b"))
    read = run_data.read

    def read_and_change(args):
        found = read(args)
        write(tmp_path / "a.jsonl", *rows_of("a", "c", "d"))
        return found

    monkeypatch.setattr(run_data, "read", read_and_change)
    with pytest.raises(RuntimeError, match=r"not those that were checked at the start \(2 rows then, 3 now\)"):
        prepared("--data.prompt_dataset", path)


def samples_of(*rewards_of_rows):
    """Responses to the rows of an evaluation, in their order: two to each row."""
    return [
        SimpleNamespace(
            prompts=[prompt],
            index=[place],
            rewards=reward,
            response_length=torch.tensor(5),
            truncated=torch.tensor(False),
        )
        for place, (prompt, rewards) in enumerate(rewards_of_rows)
        for reward in rewards
    ]


def test_a_prompt_in_two_evaluation_sets_counts_for_each(prepared, tmp_path):
    train = write(tmp_path / "t.jsonl", *rows_of("t"))
    one = write(tmp_path / "a.jsonl", *rows_of("shared", "own", datasource="one"))
    two = write(tmp_path / "b.jsonl", *rows_of("shared", datasource="two"))
    _, evaluation, _ = prepared("--data.prompt_dataset", train, "--eval.dataset", f"{one},{two}")
    samples = samples_of(("shared", (1.0, 0.0)), ("own", (1.0, 1.0)), ("shared", (0.0, 0.0)))
    ours = eval_metrics.compute_eval_metrics(evaluation, samples, 2)
    # one: a half and a whole; two: nothing.
    assert (ours["eval_one_pass1"], ours["eval_one_pass2"], ours["eval_two_pass1"]) == (0.75, 1.0, 0.0)
    assert ours["eval_num_samples"] == 6 and samples[0].prompts == ["shared"]
    hosts = compute_eval_metrics(evaluation, samples, 2)
    assert (hosts["eval_one_pass1"], hosts["eval_two_pass1"]) == (1.0, 0.25)  # both of `shared` for the last set
    alone = samples_of(("shared", (1.0, 0.0)), ("own", (1.0, 1.0)))
    _, only_one, _ = prepared("--data.prompt_dataset", train, "--eval.dataset", one)
    ours, hosts = eval_metrics.compute_eval_metrics(only_one, alone, 2), compute_eval_metrics(only_one, alone, 2)
    # The two rows' means are 0.5 and 1. A mean of two draws is 0.5 or 1 a quarter of the time each.
    assert ours == hosts | {"eval_one_pass1_low": 0.5, "eval_one_pass1_high": 1.0}


@pytest.mark.parametrize("mode", [(), ("--train.async_enable",)])
def test_both_controllers_read_whole_evaluation_sets_and_count_by_row(mode, monkeypatch):
    seen = []

    def host_metrics(rows, samples, n_samples):
        seen.append([sample.prompts[0] for sample in samples])
        return {}

    monkeypatch.setattr(eval_metrics, "host_metrics", host_metrics)
    flags = "--data.max_samples 4 --eval.dataset none --eval.steps 1 --eval.n_samples_per_prompt 2".split()
    disk = controllers.Disk()
    assert controllers.run(disk, *mode, *flags, prompts=8)
    assert list(disk.steps) == [1] and sorted(disk.steps[1]) == ["p0", "p1", "p2", "p3"]
    # The evaluation set has the same eight rows.
    assert [list(dict.fromkeys(prompts)) for prompts in seen] == [[str(row) for row in range(8)]]
