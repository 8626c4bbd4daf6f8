"""A run that was saved, and continued by fresh workers, is the uninterrupted run: weights, their average, moments, rates."""

import contextlib

import pytest

from deltal_openrlhf.host import saved_average
from deltal_openrlhf.host.rebind import rebound
from deltal_openrlhf.parity import Case
from deltal_openrlhf.parity.spawn import RankPool

TAG = "global_step1"
ADAM = {"lr": 1e-3, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}
SCHEDULE = {"lr_scheduler": "cosine_with_min_lr", "lr_warmup_ratio": 0.25, "min_lr_ratio": 0.1, "scheduler_steps": 8}
CHANGED = {"lr": 5e-4, "betas": (0.5, 0.6), "eps": 1e-6, "weight_decay": 0.0}
ENGINES = {
    "ZeRO 0, fp32": Case(micro=2, steps=2, zero=0, ema=True, adamw=True),
    "ZeRO 0, bf16": Case(micro=2, steps=2, zero=0, ema=True, adamw=True, bf16=True),
    "ZeRO 2, dynamic": Case(steps=2, zero=2, ema=True, adamw=True, dynamic=True),
    "ZeRO 1, bf16": Case(micro=2, steps=2, zero=1, ema=True, adamw=True, bf16=True, world=2),
    "ZeRO 3, fp32": Case(micro=2, steps=2, zero=3, ema=True, adamw=True, world=2),
}

CRITIC = Case(micro=2, steps=2, adamw=True)


def build(case, folder=None, adam=ADAM, max_norm=0.5):
    """A trainer of fresh workers. folder: of the checkpoint that is loaded where the host loads it, before the average is made."""
    from deltal_openrlhf.parity import host_update

    class Strategy(host_update.ParityStrategy):
        def prepare(self, given):
            if not isinstance(given, tuple):
                return super().prepare(given)
            model, config = given
            prepared = super().prepare((model, config | {"adam": adam} | SCHEDULE))
            if folder:
                self.args.deltal.resumed = TAG
                self.load_ckpt(prepared[0].model, folder)
            return prepared

        def get_ds_train_config(self, optim_dict=None, **kwargs):
            config = super().get_ds_train_config(optim_dict, **kwargs)
            return config | ({"optimizer": optim_dict} if optim_dict else {})

    return host_update.build_trainer(case, max_norm, strategy_class=Strategy)


def train(trainer, rank):
    from deltal_openrlhf.parity import host_update

    trainer.replay_buffer.clear()
    for sample in host_update.experiences(trainer.strategy.case)[rank :: trainer.strategy.case.world]:
        trainer.replay_buffer.append(sample)
    trainer.ppo_train(0.0)


def state(trainer):
    from deltal_openrlhf.parity.host_update import parameters

    trainer.strategy.average.fill()
    return {"weights": parameters(trainer.actor), "average": parameters(trainer.ema_model)}


def apart(one, other):
    return max((one[name].float() - other[name].float()).abs().max().item() for name in one)


def settings(trainer):
    """What the next update takes."""
    engine = trainer.actor.model
    group = engine.basic_optimizer.param_groups[0]
    found = {name: group[name] for name in ("lr", "eps", "weight_decay")} | {"betas": list(group["betas"])}
    clipping = getattr(engine.optimizer, "clip_grad", engine.gradient_clipping())
    return found | {"clip": clipping, "last_lr": trainer.actor_scheduler.get_last_lr()[0]}


def seeds_of_a_critic(rank, folder):
    """What torch's generator is seeded with: before a step, after steps that the strategy takes for a critic's, and after a load."""
    import torch

    trainer = build(CRITIC)
    strategy, engine, found = trainer.strategy, trainer.actor.model, [torch.initial_seed()]
    step = strategy.optimizer_step
    with rebound(strategy, "optimizer_step", lambda *given, name: step(*given, name="critic")):
        train(trainer, rank)
    found.append(torch.initial_seed())
    strategy.save_ckpt(engine, folder, TAG)
    torch.manual_seed(1)
    strategy.args.deltal.resumed = TAG
    strategy.load_ckpt(engine, folder)
    return [*found, torch.initial_seed()]


def interrupted(rank, name, folder):
    import os

    from deltal_openrlhf.host import strategy

    case = ENGINES[name]
    trainer = build(case)
    first = state(trainer)
    train(trainer, rank)
    saved = state(trainer)
    trainer.strategy.save_ckpt(trainer.actor.model, folder, TAG, client_state={"global_step": 1})
    train(trainer, rank)
    end = state(trainer)

    resumed = build(case, folder)
    loaded = state(resumed)
    train(resumed, rank)
    again = state(resumed)

    # The command line's settings are those of the checkpoint, as the host has it, and others.
    with rebound(strategy, "command_line_kept", lambda *given: contextlib.nullcontext()):
        as_the_host = settings(build(case, folder, CHANGED))
    return {
        "moved": [apart(end[key], first[key]) for key in end],
        "behind": apart(end["average"], end["weights"]),
        "loaded": [apart(loaded[key], saved[key]) for key in saved],
        "end": [apart(again[key], end[key]) for key in end],
        "settings": [settings(trainer), settings(resumed)],
        "changed": settings(build(case, folder, CHANGED, max_norm=0.25)),
        "as the host": as_the_host,
        "files": sorted(os.listdir(f"{folder}/{TAG}")),
    }


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    found = {}
    for world in (1, 2):
        with RankPool(world) as pool:
            for name in (name for name, case in ENGINES.items() if case.world == world):
                folder = str(tmp_path_factory.mktemp("ckpt"))
                found[name] = pool.call(interrupted, name, folder, timeout=280)[0]
            if world == 1:
                found["host"] = pool.call(averages, folder, timeout=280)[0]
                found["critic"] = pool.call(seeds_of_a_critic, f"{folder}/critic", timeout=280)[0]
    return found


@pytest.mark.parametrize("name", ENGINES)
def test_a_continued_run_is_the_uninterrupted_one(outcomes, name):
    found = outcomes[name]
    assert min(found["moved"]) > 1e-4 and found["behind"] > 1e-4
    assert found["loaded"] == [0, 0]
    assert found["end"] == [0, 0]
    assert found["settings"][0] == found["settings"][1]
    assert saved_average.FILE in found["files"]


@pytest.mark.parametrize("name", ENGINES)
def test_the_settings_of_the_command_line_hold_after_a_load(outcomes, name):
    """After two steps the rate's warm-up has ended: it is --actor.adam.lr."""
    wanted = {name: value for name, value in CHANGED.items() if name != "betas"} | {"betas": list(CHANGED["betas"])}
    assert outcomes[name]["changed"] == wanted | {"clip": 0.25, "last_lr": CHANGED["lr"]}
    kept = outcomes[name]["as the host"]
    assert (kept["lr"], kept["betas"], kept["weight_decay"]) == (ADAM["lr"], list(ADAM["betas"]), ADAM["weight_decay"])


def test_a_critic_shuffles_after_a_load_as_after_its_last_step(outcomes):
    before, after, loaded = outcomes["critic"]
    assert before != after == loaded


def averages(rank, folder):
    """{engine: [largest error of ours, of the host's, what is exported]} after one update towards other weights.

    Errors are parts of the right change. What is exported: its largest distance from the saved average in the model's dtype.
    """
    from pathlib import Path
    from types import SimpleNamespace

    from openrlhf.utils.deepspeed import DeepspeedStrategy
    from safetensors.torch import load_file

    from deltal_openrlhf.parity.host_update import build_trainer, parameters

    found = {}
    for name, case in {
        "bf16": Case(ema=True, bf16=True, adamw=True),
        "ZeRO 3": Case(ema=True, zero=3, adamw=True),
    }.items():
        trainer = build_trainer(case)
        strategy, second = trainer.strategy, trainer.ema_model
        before = {key: value.float() for key, value in parameters(second).items()}
        train(trainer, rank)
        moved = {key: value.float() - before[key] for key, value in parameters(trainer.actor).items()}
        key = max(moved, key=lambda key: moved[key].abs().max())
        right = 0.01 * moved[key]

        def error(now, right=right, key=key, before=before):
            return ((now.float() - before[key] - right).abs().max() / right.abs().max()).item()

        strategy.start_average(second)
        strategy.average.update(trainer.actor, 0.99)
        path = Path(folder, "average")
        strategy.average.save(path)
        saved = load_file(path)
        ours = error(saved[key])
        DeepspeedStrategy.moving_average(strategy, trainer.actor, second, 0.99, "cpu")
        the_hosts = error(parameters(second)[key])
        strategy.save_model(second, SimpleNamespace(save_pretrained=lambda folder: None), str(Path(folder, name)))
        exported = load_file(Path(folder, name, "model.safetensors"))
        assert exported.keys() == saved.keys()
        distance = apart(exported, {name: value.to(exported[name].dtype) for name, value in saved.items()})
        found[name] = [ours, the_hosts, distance]
    return found


@pytest.mark.parametrize("engine", ["bf16", "ZeRO 3"])
def test_the_average_takes_in_small_changes_which_the_hosts_own_loses_and_is_exported(outcomes, engine):
    ours, the_hosts, exported = outcomes["host"][engine]
    assert exported == 0
    assert ours < 0.02  # of changes of 1e-5 to weights of about 1
    assert the_hosts > 0.5
