"""The sharded update is the update of one process, and the command that says so.

Cases of one number of ranks share their processes: an import of Megatron-Core in each costs more than a case.
"""

import sys

import pytest
from support import commands

from megatron_ext.layout import ParallelLayout
from megatron_ext.modules import MODULES
from megatron_ext.parity import Result, ShardedCase, cases_for, run_cases
from megatron_ext.parity.matrix import MATRIX

pytestmark = pytest.mark.timeout(400)


BF16 = [ShardedCase(dtype="bf16", packed=True, seed=seed) for seed in (0, 1, 2)]
BF16 += [ShardedCase(dtype="bf16", packed=True, model="qwen3_moe", seed=3)]
BF16 += [ShardedCase(dtype="bf16", wrong=wrong) for wrong in ("micro-batch", "scale")]


@pytest.fixture(scope="module")
def results() -> dict[ShardedCase, Result]:
    return {result.case: result for result in run_cases([*MATRIX, *BF16], timeout=300)}


@pytest.mark.parametrize("case", BF16, ids=str)
def test_bf16_tells_right_from_wrong(results, case):
    """As on GPUs, where packed rows and context parallelism need it."""
    result = results[case]
    assert result.fits() == (case.wrong is None)
    assert result.gradient > 0.3 if case.wrong else result.gradient <= 0.05


@pytest.mark.parametrize("case", [case for case in MATRIX if case.wrong is None], ids=str)
def test_sharded_update_is_the_update_of_one_process(results, case):
    result = results[case]
    assert result.norm > 0.5  # above the clip of the AdamW step, which has to bind
    assert result.gradient <= 1e-5
    assert result.loss <= 1e-6
    assert max(result.sgd, result.adam) <= 3e-6


@pytest.mark.parametrize("case", [case for case in MATRIX if case.wrong], ids=str)
def test_negative_controls_are_far_off(results, case):
    result = results[case]
    assert result.gradient > 0.1
    assert result.sgd > 1e-3
    assert not result.fits()
    if case.wrong == "scale":  # what a test of parameters after a clipped Adam step would not see
        assert result.adam <= 3e-6


def test_command_says_that_they_agree():
    flags = "--timeout 200 --tp 2 --sp --packed --alpha 0.5 --seed 3".split()
    command = [sys.executable, "-m", "deltal_openrlhf.cli.main", "parity", *flags]
    run = commands.run(command, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert (
        lines[0]
        == "tensor 2 (sequence parallel), pipeline 1, context 1; data 1; qwen2; mode=deltal alpha=0.5 micro=3; packed"
    )
    assert lines[1] == "2 processes, plain modules"
    assert lines[2].startswith("gradient before clipping, relative difference")
    assert lines[-1].endswith("the sharded update is the update of one process")
    assert len(lines) == 7


def test_command_notices_a_wrong_scale(capsys):
    from deltal_openrlhf.cli.parity import main

    assert main(["--timeout", "200", "--negative_control", "scale"]) == 1
    said = capsys.readouterr().out
    assert said.count("TOO LARGE") == 3
    assert "the sharded update is another one" in said


@pytest.mark.parametrize("modules", MODULES)
def test_both_kinds_of_modules_have_the_same_cases_in_a_dtype_they_compute_in(modules):
    cases = cases_for(modules)
    assert {case.dtype for case in cases} == {"fp32" if modules == "plain" else "bf16"}
    assert {case.modules for case in cases} == {modules}
    assert [(case.layout, case.loss, case.wrong) for case in cases] == [(c.layout, c.loss, c.wrong) for c in MATRIX]


def test_four_ranks_share_a_gpu_and_no_more(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    ShardedCase(ParallelLayout(tensor=8, sequence_parallel=True)).check()
    with pytest.raises(ValueError, match="has 9 ranks, allowed are up to 8 here: 4 a GPU of this machine"):
        ShardedCase(data_parallel=9).check()


def test_transformer_engine_is_not_compared_in_fp32(monkeypatch):
    monkeypatch.setattr("megatron_ext.parity.cases.chosen", lambda asked, on_cpu: "transformer-engine")
    with pytest.raises(
        ValueError, match="--dtype is fp32 with Transformer Engine, .* allowed is bf16, or --modules plain"
    ):
        ShardedCase().check()
    ShardedCase(dtype="bf16").check()


@pytest.mark.parametrize(
    "flags",
    [
        "--tp 8 --sp --packed --dtype bf16",
        "--tp 4 --pp 4 --cp 2 --sp --packed --recompute",
        "--tp 3 --pp 3 --vpp 2",
        "--tp 8 --cp 4 --sp --packed",
        "--model qwen3_moe --ep 8 --dp 8",
    ],
)
def test_the_tiny_model_can_be_cut_as_large_ones_are(flags, monkeypatch):
    from deltal_openrlhf.cli.parity import main
    from megatron_ext import parity

    asked = []
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    monkeypatch.setattr(
        parity, "run_cases", lambda cases, timeout: asked.extend(cases) or [Result(cases[0], 0, 0, 0, 0, 1)]
    )
    assert main(flags.split()) == 0
    case = asked[0]
    assert f"--tp {case.layout.tensor}" in flags or case.layout.tensor == 1


def test_command_on_a_gpu_takes_transformer_engine_unless_told_otherwise(monkeypatch, capsys):
    from deltal_openrlhf.cli.parity import main
    from megatron_ext import parity

    asked = []
    monkeypatch.setattr("deltal_openrlhf.cpu.is_needed", lambda: False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("importlib.util.find_spec", lambda name, package=None: None)
    monkeypatch.setattr(
        parity, "run_cases", lambda cases, timeout: asked.extend(cases) or [Result(cases[0], 0, 0, 0, 0, 1)]
    )
    with pytest.raises(SystemExit):
        main(["--packed"])
    says = "--modules is transformer-engine, but transformer-engine is not installed; allowed here is plain"
    assert says in capsys.readouterr().err
    assert main(["--packed", "--modules", "plain"]) == 0
    monkeypatch.setattr("importlib.util.find_spec", lambda name, package=None: object())
    assert main(["--packed"]) == 0
    assert [(case.modules, case.dtype) for case in asked] == [("plain", "fp32"), ("transformer-engine", "bf16")]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ("--tp 0", "--tp is 0, allowed is 1 or more"),
        ("--model qwen3_moe --tp 2", "--tp is 2 and the model has experts; Megatron-Core trains them with --sp only"),
        ("--sp", "--sp is set with --tp 1"),
        ("--vpp 2", "--vpp is 2 with --pp 1"),
        ("--ep 2 --dp 2", "--ep is 2, but the model (qwen2) has no experts"),
        ("--mode token-mean --alpha 0.5", "--alpha is 0.5 with --mode token-mean"),
        ("--alpha 2", "--alpha is 2, allowed is a number from 0 to 1"),
        ("--max_tokens 10", "--max_tokens is 10, allowed is "),
        ("--micro_batch_size 0", "--micro_batch_size is 0, allowed is 1 or more"),
        ("--dual_clip 0.5", "--dual_clip is 0.5, allowed is a number above 1"),
        ("--dp 0", "--dp is 0, allowed is 1 to 16, the responses of the batch"),
        ("--tp 8 --pp 8 --cp 8 --dp 16", "the layout has 8192 ranks, allowed are up to "),
        (
            "--modules transformer-engine",
            "--modules is transformer-engine, but torch was built without CUDA; allowed here is plain",
        ),
        ("--all --tp 2", "--tp is given with --all, which has cases of its own; only --modules, --dtype and --timeout"),
        ("--negative_control micro-batch --mode token-mean", "it is allowed with deltal only"),
        (
            "--negative_control micro-batch --micro_batch_size 16",
            "is one micro batch, which is no mistake; allowed is less than 16",
        ),
    ],
)
def test_bad_flags_are_one_line(flags, says, capsys):
    from deltal_openrlhf.cli.parity import main

    with pytest.raises(SystemExit) as stop:
        main(flags.split())
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
