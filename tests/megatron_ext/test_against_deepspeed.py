"""∆L through Megatron against ∆L through DeepSpeed: same model, batch, loss and AdamW, three steps, clipping that binds."""

from pathlib import Path

import pytest
import torch

from deltal_openrlhf.parity import Case, run_on_ranks
from megatron_ext.layout import ParallelLayout as Layout
from megatron_ext.parity.cases import ShardedCase, build_model

pytestmark = pytest.mark.timeout(300)

STEPS, MAX_NORM = 3, 0.3
EPS = 1e-6  # with the usual 1e-8 an element whose gradient is rounding takes steps of up to lr in a random direction
# One optimizer step an epoch, over all responses: their order does not matter.
LOSS = Case(micro=4, epochs=STEPS, kl=True, entropy=True, dual_clip=3.0, correction="token", adamw=True)
LAYOUTS = {
    "tp2": ShardedCase(Layout(tensor=2, sequence_parallel=True), model="llama", packed=True, loss=LOSS),
    "pp2": ShardedCase(Layout(pipeline=2), model="llama", loss=LOSS),
    "dp2": ShardedCase(data_parallel=2, model="llama", packed=True, max_tokens=50, loss=LOSS),
}


def through_deepspeed(rank: int, folder: str, alpha: float) -> dict:
    from transformers import AutoModelForCausalLM

    from deltal_openrlhf.parity.host_update import build_trainer, experiences, parameters

    case = Case(**{**vars(LOSS), "alpha": alpha})
    trainer = build_trainer(case, MAX_NORM, AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), EPS)
    for sample in experiences(case):
        trainer.replay_buffer.append(sample)
    status = trainer.ppo_train(trainer.args.algo.kl.init_coef)
    torch.save(parameters(trainer.actor), Path(folder, f"deepspeed-{alpha}.pt"))
    return {"steps": status["deltal/optimizer_steps"], "clipped": status["deltal/clip_share"]}


def through_megatron(rank: int, folder: str) -> dict:
    from megatron_ext.engine import OptimizerSettings
    from megatron_ext.parity.sharded import build_trainer
    from megatron_ext.strategy import MegatronStrategy

    optimizer = OptimizerSettings(lr=1e-3, betas=(0.9, 0.95), eps=EPS, weight_decay=0.0, max_norm=MAX_NORM)
    statuses = {}
    for name, case in LAYOUTS.items():
        trainer = build_trainer(case, folder, optimizer)
        trainer.strategy.__class__ = MegatronStrategy  # without what the parity command records of a step
        status = trainer.ppo_train(trainer.args.algo.kl.init_coef)
        after = {key: tensor.cpu().clone() for key, tensor in trainer.engine.model.export()}
        if rank == 0:
            torch.save(after, Path(folder, f"{name}.pt"))
        statuses[name] = {"steps": status["deltal/optimizer_steps"], "clipped": status["deltal/clip_share"]}
    return statuses


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("model")
    build_model(LAYOUTS["tp2"]).save_pretrained(folder)
    statuses = {"deepspeed": run_on_ranks(1, through_deepspeed, str(folder), 0.75, timeout=120)[0]}
    run_on_ranks(1, through_deepspeed, str(folder), 0.5, timeout=120)
    return folder, statuses | run_on_ranks(2, through_megatron, str(folder), timeout=200)[0]


def largest_difference(folder: Path, one: str, other: str) -> float:
    a, b = (torch.load(folder / f"{name}.pt", weights_only=True) for name in (one, other))
    assert a.keys() == b.keys()
    return max((a[name] - b[name]).abs().max().item() for name in a)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_parameters_after_three_steps(outcomes, layout):
    folder, statuses = outcomes
    assert statuses["deepspeed"] == statuses[layout] == {"steps": STEPS, "clipped": 1.0}
    assert largest_difference(folder, layout, "deepspeed-0.75") <= 1e-5


def test_another_alpha_would_be_seen(outcomes):
    folder, _ = outcomes
    assert largest_difference(folder, "tp2", "deepspeed-0.5") > 1e-4
