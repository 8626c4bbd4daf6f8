"""The guards on every optimizer that DeepSpeed can wrap around Adam, GPUs' among them: inf, empty steps, advantages of 0, and the norm.

Simulated of a GPU: FusedAdam, DeepSpeed's choice there, is torch's AdamW under that name, because its kernel needs CUDA. The engine's
choice of a wrapper, the wrapper and its gradients are the real ones. Offloading is real, with torch's AdamW in place of DeepSpeedCPUAdam.
"""

import math
from types import SimpleNamespace

import pytest
import torch

from deltal_openrlhf.parity import Case, run_on_ranks

FUSED, IN_FP32, OFFLOAD = "FusedAdam", "accumulated in fp32", "offload"
SITUATIONS = [
    # ZeRO, bf16, dynamic batches, what differs from the CPU, the optimizer that follows.
    (0, True, False, (FUSED,), "FP16_Optimizer"),
    (0, False, False, (FUSED,), "FusedAdam"),
    (1, True, False, (FUSED, IN_FP32), "BF16_Optimizer"),
    (1, True, True, (FUSED, IN_FP32), "BF16_Optimizer"),
    (1, True, False, (OFFLOAD, IN_FP32), "DeepSpeedZeroOptimizer"),
    (2, True, True, (OFFLOAD,), "DeepSpeedZeroOptimizer"),
    (3, True, False, (FUSED, IN_FP32), "DeepSpeedZeroOptimizer_Stage3"),
    (3, True, False, (OFFLOAD,), "DeepSpeedZeroOptimizer_Stage3"),
    (3, True, True, (OFFLOAD,), "DeepSpeedZeroOptimizer_Stage3"),
]
IDS = [
    f"ZeRO-{zero} {'bf16' if bf16 else 'fp32'}{' dynamic' * dynamic} {' '.join(differs)}".strip()
    for zero, bf16, dynamic, differs, _ in SITUATIONS
]
CLIP = 0.02  # below every norm here


class SimulatedFusedAdam(torch.optim.AdamW):
    def __init__(self, params, adam_w_mode=True, **settings):
        super().__init__(params, **settings)


SimulatedFusedAdam.__name__ = "FusedAdam"


def _simulated(differs, base):
    """A strategy with which DeepSpeed chooses as it does in this situation. base: ours or the host's."""
    import deepspeed.ops.adam
    import deepspeed.runtime.engine

    deepspeed.ops.adam.FusedAdam = deepspeed.runtime.engine.FusedAdam = SimulatedFusedAdam

    class Strategy(base):
        def get_ds_train_config(self, *args, **kwargs):
            config = super().get_ds_train_config(*args, **kwargs)
            if FUSED in differs:
                del config["optimizer"]["params"]["torch_adam"]
            if IN_FP32 in differs:
                config["data_types"]["grad_accum_dtype"] = "fp32"
            if OFFLOAD in differs:
                config["zero_optimization"]["offload_optimizer"]["device"] = "cpu"
            return config | {"zero_allow_untested_optimizer": True}

        def guard_gradient_norm(self, model):
            if hasattr(base, "guard_gradient_norm"):
                super().guard_gradient_norm(model)

    return Strategy


def _trainer(situation, base, max_norm=0.0):
    zero, bf16, dynamic, differs, _ = situation
    from deltal_openrlhf.parity.host_update import build_trainer

    case = Case(zero=zero, bf16=bf16, dynamic=dynamic, adamw=True, decay=True, filtering=True)
    trainer = build_trainer(case, max_norm, strategy_class=_simulated(differs, base))
    return trainer, lambda change=lambda sample: None: _rollout(trainer, case, change)


def _rollout(trainer, case, change):
    """A rollout whose samples are changed, and one optimizer step on it."""
    from deltal_openrlhf.parity.host_update import experiences

    trainer.replay_buffer.clear()
    for sample in experiences(case):
        change(sample)
        trainer.replay_buffer.append(sample)
    return trainer.ppo_train(0.0)


def _flat(trainer):
    from deltal_openrlhf.parity.host_update import parameters

    return torch.cat([p.float().flatten() for p in parameters(trainer.actor).values()])


def _held(trainer):
    """This rank's own part of the parameters. A step that broke off may leave collectives in flight, which gathering would read."""
    module = trainer.actor.model.module
    return torch.cat([getattr(p, "ds_tensor", p).detach().float().flatten().clone() for p in module.parameters()])


def _truncate(sample):
    sample.truncated = torch.ones_like(sample.truncated)


def _silence(sample):
    sample.advantages = torch.zeros_like(sample.advantages)


def _observe(rank, situations):
    from deltal_openrlhf.host import guards
    from deltal_openrlhf.host.strategy import DeltaLStrategy

    rows = []
    for situation in situations:
        trainer, rollout = _trainer(situation, DeltaLStrategy, CLIP)
        engine = trainer.actor.model
        # The norm once more: gradients as autograd hands them out, summed over micro batches.
        seen: dict[int, torch.Tensor] = {}

        def add(number, gradient, seen=seen):
            seen[number] = seen.get(number, 0.0) + gradient.double()

        hooks = [
            p.register_hook(lambda gradient, number=number, add=add: add(number, gradient))
            for number, p in enumerate(engine.module.parameters())
        ]
        status = rollout()
        for hook in hooks:
            hook.remove()
        row = {"optimizer": type(engine.optimizer).__name__, "norm": status["deltal/grad_norm"]}
        row |= {"clipped": status["deltal/clip_share"]}
        row["autograd_norm"] = math.sqrt(sum(float(gradient.square().sum()) for gradient in seen.values()))

        before, rate = _flat(trainer), trainer.actor_scheduler.get_last_lr()[0]
        status = rollout(_truncate)
        row["moved_when_empty"] = (_flat(trainer) - before).abs().max().item()
        row["skipped"] = status["deltal/skipped_steps"]
        row["rate_moved"] = rate - trainer.actor_scheduler.get_last_lr()[0]
        row["norm_when_silent"] = rollout(_silence)["deltal/grad_norm"]
        row["moved_by_momentum"] = (_flat(trainer) - before).abs().max().item()

        before, passes = _flat(trainer), []

        def poison(gradient, passes=passes):
            passes.append(None)
            return gradient * math.inf if len(passes) == 1 else gradient

        next(iter(engine.module.parameters())).register_hook(poison)
        looked = []

        def look(engine, original=guards.gradient_norm, looked=looked):
            last = [p.grad for p in engine.module.parameters() if p.grad is not None]
            looked.append(bool(torch.nn.utils.get_total_norm(last).isfinite()))
            return original(engine)

        guards.gradient_norm, original = look, guards.gradient_norm
        try:
            rollout()
            row["message"] = "trained"
        except RuntimeError as error:
            row["message"] = str(error)
        finally:
            guards.gradient_norm = original
        row["moved_by_inf"] = (_flat(trainer) - before).abs().max().item()
        row["passes"], row["param_grads_finite"] = len(passes), looked
        rows.append(row)
    return rows


@pytest.fixture(scope="module")
def observed():
    return dict(zip(IDS, run_on_ranks(1, _observe, SITUATIONS, timeout=110)[0], strict=True))


@pytest.mark.parametrize(("name", "situation"), [*zip(IDS, SITUATIONS, strict=True)], ids=IDS)
def test_guards_hold(observed, name, situation):
    row = observed[name]
    assert row["optimizer"] == situation[-1]
    assert row["norm"] == pytest.approx(row["autograd_norm"], rel=2e-2 if situation[1] else 1e-5) and row["norm"] > CLIP
    assert row["clipped"] == 1.0
    # Nothing left to train on: the schedule moves, the weights do not. Advantages of 0: momentum moves them, as in torch.
    assert row["moved_when_empty"] == 0.0 < row["rate_moved"] and row["skipped"] == 1.0
    assert row["norm_when_silent"] == pytest.approx(0.0, abs=1e-30) and row["moved_by_momentum"] > 0.0
    assert "the gradient norm is inf or nan on rank 0 in optimizer step 4" in row["message"]
    assert row["moved_by_inf"] == 0.0 and row["passes"] > 1


def test_param_grad_does_not_tell(observed):
    """Negative control: what an earlier guard looked at is finite, or nothing, where these optimizers keep their gradients elsewhere."""
    for name in IDS:
        if "BF16_Optimizer" in observed[name]["optimizer"] or "Stage3" in observed[name]["optimizer"]:
            assert observed[name]["param_grads_finite"] == [True], name


def _unguarded(rank, situations):
    """The host's own strategy: inf in one micro batch, and what is then left of the parameters."""
    from openrlhf.utils.deepspeed import DeepspeedStrategy

    rows = []
    for situation in situations:
        trainer, rollout = _trainer(situation, DeepspeedStrategy)
        rollout()
        next(iter(trainer.actor.model.module.parameters())).register_hook(lambda gradient: gradient * math.inf)
        try:
            rollout()
        except AssertionError:  # of BF16_Optimizer, which does not say why
            rows.append("asserts")
        else:
            rows.append("left out" if bool(_flat(trainer).isfinite().all()) else "lost")
    return rows


def test_deepspeed_alone_does_not_say_that_there_is_inf():
    """Negative control: each of these optimizers needs the guard. In bf16 ZeRO-1/2 leave the update out without a word."""
    situations = [s for s in SITUATIONS if not s[2]]
    silent = {"BF16_Optimizer": "asserts", "DeepSpeedZeroOptimizer": "left out"}
    for situation, left in zip(situations, run_on_ranks(1, _unguarded, situations, timeout=100)[0], strict=True):
        assert left == silent.get(situation[-1], "lost"), situation


def _two_ranks(rank, situations):
    """inf on rank 1 only: both stop, before the update."""
    from deltal_openrlhf.host.strategy import DeltaLStrategy
    from deltal_openrlhf.parity.host_update import build_trainer, experiences

    rows = []
    for zero, bf16, dynamic, differs, _ in situations:
        case = Case(zero=zero, bf16=bf16, dynamic=dynamic, adamw=True, world=2, micro=2)
        trainer = build_trainer(case, strategy_class=_simulated(differs, DeltaLStrategy))
        for sample in experiences(case)[rank::2]:
            trainer.replay_buffer.append(sample)
        before = _held(trainer)
        if rank == 1:
            next(iter(trainer.actor.model.module.parameters())).register_hook(lambda gradient: gradient * math.inf)
        try:
            trainer.ppo_train(0.0)
            message = "trained"
        except RuntimeError as error:
            message = str(error)
        rows.append({"message": message, "moved": (_held(trainer) - before).abs().max().item()})
    return rows


def test_every_rank_stops():
    situations = [s for s in SITUATIONS if (s[-1], s[3]) in {
        ("FP16_Optimizer", (FUSED,)), ("BF16_Optimizer", (FUSED, IN_FP32)), ("DeepSpeedZeroOptimizer_Stage3", (OFFLOAD,)),
    }]  # fmt: skip
    for rank, rows in enumerate(run_on_ranks(2, _two_ranks, situations, timeout=110)):
        for situation, row in zip(situations, rows, strict=True):
            assert f"the gradient norm is inf or nan on rank {rank}" in row["message"], situation
            assert row["moved"] == 0.0, situation


def test_an_unknown_optimizer_is_refused():
    from deepspeed.runtime.fp16.fused_optimizer import FP16_Optimizer

    from deltal_openrlhf.host import guards

    class NewOptimizer(FP16_Optimizer):
        """Inherits, and may keep its gradients anywhere."""

        def __init__(self):
            pass

    engine = SimpleNamespace(optimizer=NewOptimizer(), basic_optimizer=object())
    with pytest.raises(RuntimeError, match="DeepSpeed made a NewOptimizer, .* known are FP16_Optimizer, "):
        guards.prepare(engine)
    changed = object.__new__(guards.BF16_Optimizer)
    with pytest.raises(RuntimeError, match="BF16_Optimizer has no fp32_groups_gradients_flat: DeepSpeed changed"):
        guards.prepare(SimpleNamespace(optimizer=changed, basic_optimizer=object()))
