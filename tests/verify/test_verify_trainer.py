"""`deltal verify --trainer`: a trainer whose update depends on how a step is cut fails, one that is right passes, with its mode too."""

import json
import re

import pytest
import torch

from deltal_openrlhf.cli import main as command
from deltal_openrlhf.cli import verify as cli
from deltal_openrlhf.verify import trainer

# A trainer: what its loss function makes of a micro batch, and whether it divides by the number of micro batches.
TRAINERS = '''
import torch

CALLS = []

def token_losses(part):
    ratio = (part.log_probs - part.old_log_probs).exp()
    return -torch.min(ratio * part.advantages, ratio.clamp(0.8, 1.2) * part.advantages) * part.mask

def trainer(loss):
    """loss(part, batch, micro_batches) of each micro batch is added up."""
    def gradient(batch, micro_batches):
        for rows in micro_batches:
            loss(batch.rows(rows), batch, micro_batches).backward()
        return batch.log_probs.grad
    return gradient

def mean_of_each(part, batch, micro_batches):  # TRL#3021
    return token_losses(part).sum() / part.mask.sum() / len(micro_batches)

def padded_width(part, batch, micro_batches):  # verl's seq-mean-token-sum-norm without loss_scale_factor
    return token_losses(part).sum() / part.mask.shape[1] / len(batch.mask)

def mean_of_all(part, batch, micro_batches):
    return token_losses(part).sum() / batch.mask.sum()

def wrong_by_a_factor(part, batch, micro_batches):
    return 2 * mean_of_all(part, batch, micro_batches)

def deltal(part, batch, micro_batches):
    powers = batch.mask.sum(1).double() ** -0.5
    ours = part.mask.sum(1).double() ** -0.5 / powers.sum() / 100
    return (token_losses(part).sum(1) * ours).sum()

def balanced(part, batch, micro_batches):
    total = 0
    for row in range(len(part.mask)):
        prompt = [i for i in range(len(batch.mask)) if batch.groups[i] == part.groups[row]]
        same = [i for i in prompt if (batch.advantages[i, 0] > 0) == (part.advantages[row, 0] > 0)]
        x = len(same) / len(prompt) / sum(int(batch.mask[i].sum()) for i in same) / len(set(batch.groups.tolist()))
        total = total + x * token_losses(part)[row].sum()
    return total

each, width, right, twice = map(trainer, (mean_of_each, padded_width, mean_of_all, wrong_by_a_factor))
of_deltal, of_balanced = trainer(deltal), trainer(balanced)

def of_a_model(batch, micro_batches):
    weight = torch.linspace(-1, 1, batch.mask.shape[1]).requires_grad_()
    for rows in micro_batches:
        part = batch.rows(rows)
        new = part.log_probs.detach() * weight[: part.mask.shape[1]]
        ((new * part.advantages * part.mask).sum() / batch.mask.sum()).backward()
    return {"layers": [weight.grad, torch.zeros(3)]}

def nothing(batch, micro_batches):
    return batch.log_probs.grad

def zero(batch, micro_batches):
    return torch.zeros(4)

def raises(batch, micro_batches):
    raise RuntimeError("the loss needs token ids\\nand more")

def text(batch, micro_batches):
    return "a gradient"

def empty(batch, micro_batches):
    return {}

def other_size(batch, micro_batches):
    return torch.ones(len(micro_batches))

A_NUMBER = 3
'''
RAISED = next(n for n, line in enumerate(TRAINERS.splitlines(), 1) if "raise RuntimeError" in line)


@pytest.fixture(autouse=True)
def trainers(tmp_path, monkeypatch):
    (tmp_path / "trainers_under_test.py").write_text(TRAINERS)
    (tmp_path / "broken_trainer.py").write_text("import a_package_that_is_nowhere\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", ["elsewhere"] + __import__("sys").path)


def verify(name: str, *words: str) -> int:
    return command.main(["verify", "--trainer", f"trainers_under_test:{name}", *words])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("right", ["--loss_agg", "token-mean"]),
        ("of_deltal", ["--loss_agg", "deltal", "--alpha", "0.5", "--max_length", "100"]),
        ("of_balanced", ["--loss_agg", "balanced"]),
        ("of_a_model", []),
    ],
)
def test_a_right_trainer_passes(name, words, capsys):
    assert verify(name, *words) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == f"{5 + bool(words)} case(s) passed, 0 failed"
    assert {line.split()[0] for line in said[:-1]} == {"trainer"}


@pytest.mark.parametrize("name", ["each", "width"])
def test_an_update_that_depends_on_the_cut_fails(name, capsys, tmp_path):
    assert verify(name, "--json", "found.jsonl") == 1
    rows = [json.loads(line) for line in (tmp_path / "found.jsonl").read_text().splitlines()]
    failed = [row for row in rows if row["ok"] is False]
    assert len(failed) >= 4  # of 5: two halves may have equally long responses
    assert all(row["relative_difference"] > 1e-3 for row in failed)
    assert re.search(r"FAILED .* micro batches of 1: differs by \d", capsys.readouterr().out)


def test_a_factor_is_named(capsys):
    assert verify("twice", "--loss_agg", "token-mean") == 1
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == "5 case(s) passed, 1 failed"
    assert said[-2].endswith("it is 2 times what it should be, and right but for that factor")


def test_another_mode_is_noticed_without_a_factor(capsys):
    assert verify("right", "--loss_agg", "seq-mean-token-mean") == 1
    assert "factor" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "ValueError: the function gave a NoneType, allowed are tensors"),
        ("zero", "ValueError: the gradient has the norm 0.0, allowed is a finite one above 0"),
        ("raises", f"TrainerError: trainers_under_test.py:{RAISED}: RuntimeError: the loss needs token ids and more"),
        ("text", "ValueError: the function gave a str, allowed are tensors"),
        ("empty", "ValueError: the function gave a dict, allowed are tensors"),
    ],
)
def test_what_is_no_gradient_fails_at_once(name, message, capsys):
    assert verify(name) == 1
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 2 and said[0].startswith("trainer      FAILED") and said[0].endswith(message)


def test_gradients_of_other_sizes_and_of_other_things_fail(capsys):
    assert verify("other_size") == 1
    assert "the gradient has 2 values, with one micro batch 1" in capsys.readouterr().out
    assert verify("of_a_model", "--loss_agg", "token-mean") == 1
    assert (
        "brute force is the gradient of batch.log_probs, and the function gave another; then leave out --loss_agg"
        in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--trainer", "trainers_under_test"], "--trainer is trainers_under_test, allowed is MODULE:FUNCTION"),
        (["--trainer", "mine.py:gradient"], "allowed is MODULE:FUNCTION, such as mytrainer:gradient for mytrainer.py"),
        (["--trainer", "trainers_under_test:absent"], "cannot be loaded: AttributeError: module"),
        (
            ["--trainer", "broken_trainer:f"],
            "cannot be loaded: ModuleNotFoundError: No module named 'a_package_that_is",
        ),
        (
            ["--trainer", "trainers_under_test:A_NUMBER"],
            "is of type int, allowed is a function of (batch, micro_batches)",
        ),
        (["--trainer", "x:y", "--only", "machine"], "--trainer is given with --only or --seconds"),
        (["--trainer", "x:y", "--seconds", "9"], "--trainer is given with --only or --seconds"),
        (["--loss_agg", "token-mean"], "--loss_agg is given without --trainer"),
        (["--max_length", "3"], "--max_length is given without --trainer"),
        (["--trainer", "x:y", "--alpha", "1"], "--alpha and --max_length are given without --loss_agg"),
        (["--trainer", "x:y", "--loss_agg", "deltal"], "--alpha is None, allowed is a number from 0 to 1"),
        (
            ["--trainer", "x:y", "--loss_agg", "deltal", "--alpha", "0.5"],
            "--max_length (M) is None, allowed is a finite number above 0",
        ),
        (["--trainer", "x:y", "--loss_agg", "token-mean", "--alpha", "1"], "--alpha is 1.0, but mode is token-mean"),
        (["--trainer", "x:y", "--loss_agg", "grpo"], "grpo is called seq-mean-token-mean here"),
        (["--trainer", "x:y", "--json", "/nowhere/found.jsonl"], "there is no folder /nowhere"),
    ],
)
def test_bad_flags_end_in_one_line(words, message, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(words)
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_the_batch_is_equal_at_every_call_and_every_cut_takes_each_response_once():
    first, second = trainer.make_batch(), trainer.make_batch()
    assert all(torch.equal(getattr(first, name), getattr(second, name)) for name in vars(first))
    assert first.mask.any(1).all() and first.log_probs.requires_grad and not first.old_log_probs.requires_grad
    assert len(set(first.mask.sum(1).tolist())) > 8
    for micro_batches in trainer.cuts(first).values():
        assert sorted(row for rows in micro_batches for row in rows) == list(range(len(first.mask)))


def test_rows_are_as_wide_as_their_longest_response():
    batch = trainer.make_batch()
    part = batch.rows([0, 1])
    assert part.log_probs.shape == part.mask.shape == (2, 4)
    part.log_probs.sum().backward()
    assert batch.log_probs.grad.sum() == 8
