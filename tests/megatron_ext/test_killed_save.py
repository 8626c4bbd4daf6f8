"""kill -9 in the middle of a save, and a flipped bit: the last whole checkpoint is used, and the run goes on as if nothing had happened."""

import os
import signal
from pathlib import Path

import pytest
import torch
from support.damage import flip_a_bit

from deltal_openrlhf.parity import Case, run_on_ranks
from megatron_ext.layout import ParallelLayout as Layout
from megatron_ext.parity.cases import ShardedCase, build_model

pytestmark = pytest.mark.timeout(400)

MOMENTS = ("half", "written")
LOSS = Case(micro=4, adamw=True)
TP2 = ShardedCase(Layout(tensor=2), model="llama", packed=True, loss=LOSS)
PP2 = ShardedCase(Layout(pipeline=2), model="llama", loss=LOSS)


def trainer_of(case: ShardedCase, folder: str):
    from megatron_ext.engine import OptimizerSettings
    from megatron_ext.parity.sharded import build_trainer
    from megatron_ext.strategy import MegatronStrategy

    trainer = build_trainer(case, folder, OptimizerSettings(lr=1e-3, eps=1e-6, max_norm=0.3))
    trainer.strategy.__class__ = MegatronStrategy  # without what the parity command records of a step
    return trainer


def export(trainer, path: Path, rank: int) -> None:
    tensors = {name: tensor.cpu().clone() for name, tensor in trainer.engine.model.export()}
    if rank == 0:
        torch.save(tensors, path)


def client_states(step: int) -> dict:
    """As the host's controller has them: a tensor in the data position, and no metric yet."""
    position = {"_sampler_iter_state": {"generator": torch.arange(3, dtype=torch.uint8)}}
    return {"global_step": step, "data_loader_state_dict": position, "best_eval_metric_value": float("-inf")}


def uninterrupted(rank: int, folder: str) -> None:
    trainer = trainer_of(TP2, folder)
    for step in (1, 2):
        trainer.ppo_train(0.0)
        export(trainer, Path(folder, f"after-{step}.pt"), rank)


def killed(rank: int, folder: str, moment: str) -> None:
    """Step 1 saved; killed while step 2 is."""
    trainer = trainer_of(TP2, folder)
    checkpoints = os.path.join(folder, moment)
    os.makedirs(checkpoints, exist_ok=True)
    trainer.ppo_train(0.0)
    trainer.strategy.save_ckpt(None, checkpoints, "global_step1", client_state=client_states(1))
    trainer.ppo_train(0.0)

    def kill(*args, **kwargs):
        os.kill(os.getpid(), signal.SIGKILL)

    from deltal_openrlhf.host import checkpoint_files
    from megatron_ext import checkpoint

    if moment == "written":  # but not yet in its place
        checkpoint_files.sync = kill
    elif rank == 1:  # dies before its part is written
        checkpoint._write = kill
    trainer.strategy.save_ckpt(None, checkpoints, "global_step2", client_state=client_states(2))


def resumed(rank: int, folder: str) -> dict:
    outcomes = {}
    for moment in MOMENTS:
        trainer = trainer_of(PP2, folder)
        path, states = trainer.strategy.load_ckpt(None, os.path.join(folder, moment))
        trainer.ppo_train(0.0)
        export(trainer, Path(folder, f"{moment}.pt"), rank)
        position = states["data_loader_state_dict"]["_sampler_iter_state"]["generator"].tolist()
        updates = trainer.actor_scheduler.last_epoch
        outcomes[moment] = {"path": path, "step": states["global_step"], "position": position, "updates": updates}
    checkpoints = os.path.join(folder, MOMENTS[0])
    trainer.strategy.save_ckpt(None, checkpoints, "global_step2", client_state=client_states(2))
    outcomes["whole"] = trainer.strategy.load_ckpt(None, checkpoints)[1]["global_step"]
    if rank == 0:
        flip_a_bit(max(Path(checkpoints, "global_step2").glob("*.distcp"), key=os.path.getsize))
    torch.distributed.barrier()
    outcomes["flipped"] = trainer.strategy.load_ckpt(None, checkpoints)[1]["global_step"]
    return outcomes


def difference(one: Path, other: Path) -> float:
    a, b = (torch.load(path, weights_only=True) for path in (one, other))
    assert a.keys() == b.keys()
    return max((a[name] - b[name]).abs().max().item() for name in a)


def test_last_complete_checkpoint_goes_on_in_another_layout(tmp_path):
    build_model(TP2).save_pretrained(tmp_path)
    run_on_ranks(2, uninterrupted, str(tmp_path), timeout=120)
    for moment in MOMENTS:
        with pytest.raises(RuntimeError, match="SIGKILL"):
            run_on_ranks(2, killed, str(tmp_path), moment, timeout=120)
        checkpoints = tmp_path / moment
        if moment == "written":  # after a lost rank, the first one may live long enough to give the space back
            assert (checkpoints / ".saving" / "global_step2").is_dir()
        assert not (checkpoints / "global_step2").exists()
        assert (checkpoints / "latest").read_text() == "global_step1"

    outcomes, others = run_on_ranks(2, resumed, str(tmp_path), timeout=120)
    assert outcomes == others
    assert (outcomes["whole"], outcomes["flipped"]) == (2, 1)  # falls back to the one before, on both ranks
    for moment in MOMENTS:
        path = str(tmp_path / moment / "global_step1")
        assert outcomes[moment] == {"path": path, "step": 1, "position": [0, 1, 2], "updates": 2}
        assert difference(tmp_path / f"{moment}.pt", tmp_path / "after-2.pt") <= 1e-6
    assert difference(tmp_path / "after-1.pt", tmp_path / "after-2.pt") > 1e-4  # the step moved the parameters
