"""The real trainer's update against brute force: ActorPPOTrainer and DeepSpeed engine as in a run, without Ray and vLLM.

A case fixes a batch of responses (one of them empty), cuts it into ranks, micro batches or dynamic batches, trains it with plain SGD
(learning rate 1, no clipping, fp32), and compares the change of the parameters with a reference that takes one response at a time and
writes every formula out in loops. Adam and clipping would hide a constant factor, the classic mistake here, so neither is used.

scripts/check_gradients.py runs the whole matrix, tests/test_gradients.py a covering part of it.
"""

import json
import os
import socket
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import torch
import torch.multiprocessing as mp

from deltal_openrlhf import cpu

NUM_RESPONSES, GROUP_SIZE, LONGEST, VOCABULARY = 16, 4, 24, 64
EMPTY, TRUNCATED = 5, (2, 9, 10)
BIG_M = 3.0  # small, so that the largest change of a parameter is well above rounding
NUM_SHORT = 12  # responses of a rollout that fell short


@dataclass(frozen=True)
class Case:
    """One way to train on the batch."""

    mode: str = "deltal"
    scope: str | None = None
    alpha: float | None = None
    world: int = 1
    micro: int = 4
    zero: int = 2
    dynamic: bool = False  # with packing, as the host does
    packing: bool = False
    steps: int = 1  # optimizer steps per rollout
    epochs: int = 1
    filtering: bool = False
    kl: bool = False
    entropy: bool = False
    dual_clip: float | None = None
    correction: str = "off"
    lora: bool = False
    ema: bool = False
    holes: bool = False
    short: bool = False
    adamw: bool = False  # AdamW at 1e-3 instead of SGD at 1
    wrong: str | None = None  # negative controls: "micro-batch" weights, or "scale": the loss times 2

    def __str__(self) -> str:
        default = Case()
        shown = {k: v for k, v in vars(self).items() if k == "mode" or v != getattr(default, k)}
        return " ".join(f"{k}={v}" for k, v in shown.items())


@dataclass
class Result:
    """relative_error: ||change - reference|| / ||reference||; largest: biggest change of one parameter; difference: biggest gap."""

    case: Case
    relative_error: float
    largest: float
    difference: float
    loss_steps: int
    ema_error: float = 0.0


def run_cases(cases: Sequence[Case], timeout: float = 600) -> list[Result]:
    """Train every case and compare. All cases of one world size share their processes. Raises RuntimeError past the time limit."""
    results: dict[Case, Result] = {}
    for world in sorted({case.world for case in cases}):
        chosen = [case for case in cases if case.world == world]
        with tempfile.TemporaryDirectory() as folder:
            context = mp.spawn(_train_cases, (world, _free_port(), chosen, folder), nprocs=world, join=False)
            if not _joined(context, timeout):
                raise RuntimeError(f"{len(chosen)} cases on {world} ranks took longer than {timeout:.0f} s")
            for number, case in enumerate(chosen):
                with open(os.path.join(folder, f"{number}.json"), encoding="utf-8") as file:
                    results[case] = Result(case, **json.load(file))
    return [results[case] for case in cases]


def _joined(context, timeout: float) -> bool:
    end = time.monotonic() + timeout
    try:
        while time.monotonic() < end:
            if context.join(timeout=1.0):
                return True
        return False
    finally:
        for process in context.processes:
            if process.is_alive():
                process.kill()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def learning_rate(case: Case) -> float:
    """Of SGD. Several steps in a row multiply rounding by curvature, so they are shorter."""
    return 1.0 if case.steps * case.epochs == 1 else 0.25


# ── The batch ──


def make_batch(holes: bool) -> list[dict]:
    """NUM_RESPONSES responses of length 1 to LONGEST to NUM_RESPONSES / GROUP_SIZE prompts, the same in every process."""
    generator = torch.Generator().manual_seed(0)

    def integers(low: int, high: int, *size: int) -> torch.Tensor:
        return torch.randint(low, high, size or (1,), generator=generator)

    rows = []
    for i in range(NUM_RESPONSES):
        prompt, length = 3 + int(integers(0, 4)), int(integers(1, LONGEST + 1))
        tokens = prompt + length
        mask = torch.zeros(tokens - 1, dtype=torch.bool)
        if i != EMPTY:
            mask[prompt - 1 :] = True
            if holes and length > 3:
                mask[prompt : prompt + 2] = False
        noise = 0.1 * torch.randn(3, tokens - 1, generator=generator)
        rows.append(
            {
                "ids": integers(4, VOCABULARY, tokens),
                "mask": mask,
                "advantage": float(torch.randn(1, generator=generator)),
                "old": -4.2 + noise[0] * mask,
                "base": -4.2 + noise[1] * mask,
                "rollout": -4.2 + 3 * noise[2] * mask,
                "truncated": i in TRUNCATED,
            }
        )
    return rows


def make_model(lora: bool) -> torch.nn.Module:
    """A tiny Llama in fp32, the same in every process."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=128,
        initializer_range=0.2,
        attn_implementation="sdpa",
        use_cache=False,
    )
    model = LlamaForCausalLM(config)
    if lora:
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(
            model, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False)
        )
    return model


# ── The real trainer ──


def _arguments(case: Case) -> SimpleNamespace:
    """The host's hierarchical arguments, as far as trainer and strategy read them."""
    space = SimpleNamespace
    num = NUM_RESPONSES
    return space(
        local_rank=-1,
        deltal=space(
            alpha=case.alpha,
            scope=case.scope,
            max_length=BIG_M if case.mode in ("deltal", "seq-mean-token-sum-norm") else None,
            overlong_filtering=case.filtering,
            allow_changed_loss=False,
        ),
        train=space(
            seed=1,
            full_determinism_enable=False,
            micro_batch_size=case.micro,
            batch_size=num // case.steps,
            dynamic_batch_enable=case.dynamic,
            max_tokens_per_gpu=80,
            max_epochs=case.epochs,
            colocate_all=False,
            async_enable=False,
        ),
        rollout=space(
            batch_size=num // GROUP_SIZE, n_samples_per_prompt=GROUP_SIZE, temperature=1.0, max_new_tokens=LONGEST
        ),
        data=space(max_len=2 * LONGEST),
        ds=space(
            param_dtype="fp32",
            zero_stage=case.zero,
            packing_samples=case.packing or case.dynamic,
            ring_attn_size=1,
            tensor_parallel_size=1,
            adam_offload=False,
        ),
        vllm=space(sync_backend="gloo"),
        algo=space(
            advantage=space(
                is_correction_level=case.correction,
                is_correction_mode="mask",
                is_correction_gating="ratio",
                is_correction_threshold=[0.8, 1.25],
            ),
            kl=space(use_loss=case.kl, init_coef=0.1 if case.kl else 0.0, estimator="k3", unbiased_gradient=False),
        ),
        actor=space(
            eps_clip_low_high=(0.2, 0.2),
            dual_clip=case.dual_clip,
            loss_agg_mode=case.mode,
            policy_loss_type="ppo",
            aux_loss_coef=0,
            entropy_coef=0.05 if case.entropy else None,
        ),
    )


def _train_cases(rank: int, world: int, port: int, cases: Sequence[Case], folder: str) -> None:
    os.environ.update(
        RANK=str(rank),
        WORLD_SIZE=str(world),
        LOCAL_RANK="0",
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        **cpu.environment(),
    )
    cpu.install()
    torch.set_num_threads(1)
    for number, case in enumerate(cases):
        outcome = _train(case, rank, world)
        if rank == 0:
            with open(os.path.join(folder, f"{number}.json"), "w", encoding="utf-8") as file:
                json.dump(_compare(case, outcome), file)


def _train(case: Case, rank: int, world: int) -> dict:
    """Parameters before and after, and which responses each optimizer step trained on."""
    import torch.distributed as dist
    from openrlhf.models import Actor

    from deltal_openrlhf.host.controller import attach_scope_means
    from deltal_openrlhf.host.settings import LossSettings

    args = _arguments(case)
    strategy = _strategy_class(case)(
        seed=1,
        max_norm=0.0,
        micro_train_batch_size=case.micro,
        train_batch_size=args.train.batch_size,
        zero_stage=case.zero,
        args=args,
    )
    strategy.setup_distributed()
    actor, ema = Actor(make_model(case.lora)), None
    actor.packing_samples, actor.temperature, actor.is_vlm = args.ds.packing_samples, 1.0, False
    adam = {"lr": 1e-3, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.0}
    config = {"optim": "adam", "muon": {}, "adam": adam, "lr_scheduler": "constant", "lr_warmup_ratio": 0.0}
    config |= {"min_lr_ratio": 0.1, "max_norm": 0.0, "scheduler_steps": 10}
    actor, optimizer, scheduler = strategy.prepare((actor, config))
    if case.ema:
        ema = strategy.prepare(Actor(make_model(case.lora)))
    trainer = _trainer_class(case)(
        strategy,
        actor,
        ema,
        optimizer,
        scheduler,
        ema_beta=0.5,
        micro_train_batch_size=case.micro,
        dataloader_pin_memory=False,
    )
    samples = [_experience(i, row, case) for i, row in enumerate(make_batch(case.holes))]
    attach_scope_means(samples, LossSettings.from_args(args), GROUP_SIZE)
    for sample in samples[: NUM_SHORT if case.short else None][rank::world]:
        trainer.replay_buffer.append(sample)
    trainer.ppo_train(args.algo.kl.init_coef)

    steps: list = [None] * world
    dist.all_gather_object(steps, trainer.trained_on)
    outcome = {"after": _parameters(actor), "steps": [sum(parts, []) for parts in zip(*steps, strict=True)]}
    if ema is not None:
        outcome["ema"] = _parameters(ema)
    return outcome


def _strategy_class(case: Case):
    from deltal_openrlhf.host.strategy import DeltaLStrategy

    class ParityStrategy(DeltaLStrategy):
        def get_ds_train_config(self, *args, **kwargs):
            config = super().get_ds_train_config(*args, **kwargs)
            if "optimizer" in config and not case.adamw:
                config["optimizer"] = {"type": "SGD", "params": {"lr": learning_rate(case)}}
            return config | {"zero_allow_untested_optimizer": True}

        def backward(self, loss, model, optimizer, **kwargs):
            super().backward(loss * 2 if case.wrong == "scale" else loss, model, optimizer, **kwargs)

    return ParityStrategy


def _trainer_class(case: Case):
    from deltal_openrlhf.host.trainer import DeltaLPPOTrainer

    class ParityTrainer(DeltaLPPOTrainer):
        trained_on: list[list[int]] = []

        def ppo_train(self, kl_ctl):
            self.trained_on = [[]]
            status = super().ppo_train(kl_ctl)
            self.trained_on.pop()
            return status

        def training_step(self, experience, kl_ctl, step, loss_batch_info=None):
            self.trained_on[-1] += [int(prompt) for prompt in experience.prompts]
            status = super().training_step(experience, kl_ctl, step, loss_batch_info)
            whole = (step + 1) % self.loss_divisor == 0
            if self.replay_buffer.dynamic_optimizer_step[step] if case.dynamic else whole:
                self.trained_on.append([])
            return status

        def _set_weights(self, lengths, scope_means):
            if case.wrong != "micro-batch":
                return super()._set_weights(lengths, scope_means)
            for rows, means in zip(lengths, scope_means, strict=True):  # each micro batch normalised by itself
                super()._set_weights([rows], [means])
            for weights in self._weights:
                weights /= self.loss_divisor

    return ParityTrainer


def _experience(number: int, row: dict, case: Case):
    from openrlhf.trainer.ppo_utils.experience import Experience

    ids, mask = row["ids"][None], row["mask"][None]
    return Experience(
        sequences=ids,
        attention_mask=torch.ones_like(ids),
        action_mask=mask,
        action_log_probs=row["old"][None],
        base_action_log_probs=row["base"][None] if case.kl else None,
        rollout_log_probs=row["rollout"][None] if case.correction != "off" else None,
        advantages=row["advantage"] * mask.float(),
        response_length=mask.sum(-1).float(),
        total_length=torch.tensor([float(ids.shape[1])]),
        truncated=torch.tensor([row["truncated"]]),
        prompts=[str(number)],
        labels=[""],
        info={"reward": torch.tensor([row["advantage"]])},
    )


def _parameters(actor) -> dict[str, torch.Tensor]:
    import deepspeed

    module = actor.model.module
    with deepspeed.zero.GatheredParameters(list(module.parameters())):
        return {name: p.detach().cpu().clone() for name, p in module.named_parameters() if p.requires_grad}


# ── The reference ──


def _compare(case: Case, outcome: dict) -> dict[str, float]:
    """The fields of Result."""
    model = make_model(case.lora)
    before = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    ema = _reference_update(case, model, outcome["steps"])
    names = list(before)
    wanted = torch.cat([(dict(model.named_parameters())[n].detach() - before[n]).flatten() for n in names]).double()
    got = torch.cat([(outcome["after"][n] - before[n]).flatten() for n in names]).double()
    ema_error = max(((outcome["ema"][n] - ema[n]).abs().max().item() for n in names), default=0.0) if case.ema else 0.0
    return {
        "relative_error": ((got - wanted).norm() / wanted.norm()).item(),
        "largest": wanted.abs().max().item(),
        "difference": (got - wanted).abs().max().item(),
        "loss_steps": len(outcome["steps"]),
        "ema_error": ema_error,
    }


def _reference_update(case: Case, model: torch.nn.Module, steps: list[list[int]]) -> dict[str, torch.Tensor]:
    """Replay the optimizer steps one response at a time. Returns the moving average of the parameters (beta 0.5)."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    average = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
    make = torch.optim.AdamW if case.adamw else torch.optim.SGD
    keywords = {"lr": 1e-3, "betas": (0.9, 0.95), "weight_decay": 0.0} if case.adamw else {"lr": learning_rate(case)}
    optimizer = make(parameters, **keywords)
    batch = make_batch(case.holes)
    for members in steps:
        x = _reference_weights(case, batch, members)
        tokens = sum(int(batch[i]["mask"].sum()) for i in members)
        optimizer.zero_grad()
        for i in members:
            if batch[i]["mask"].any():
                loss = _reference_loss(case, model, batch[i], x[i], tokens)
                if loss.requires_grad:
                    loss.backward()
        optimizer.step()
        for n, p in model.named_parameters():
            if p.requires_grad:
                average[n] = 0.5 * average[n] + 0.5 * p.detach()
    return average


def _reference_weights(case: Case, batch: list[dict], members: list[int]) -> dict[int, float]:
    """x_i by the definitions, in Python floats. A short rollout's scopes hold all that was sampled, as in _train."""

    def length(i: int) -> int:
        return 0 if case.filtering and batch[i]["truncated"] else int(batch[i]["mask"].sum())

    valid = [i for i in members if length(i) > 0]
    weights = dict.fromkeys(members, 0.0)
    alpha = 0.75 if case.alpha is None else case.alpha
    for i in valid:
        if case.mode == "token-mean":
            weights[i] = 1 / sum(length(j) for j in valid)
        elif case.mode == "seq-mean-token-mean":
            weights[i] = 1 / (len(valid) * length(i))
        elif case.mode == "seq-mean-token-sum-norm":
            weights[i] = 1 / (len(valid) * BIG_M)
        else:
            scope = {
                "step": members,
                "rollout": range(len(batch)),
                "group": [j for j in range(len(batch)) if j // GROUP_SIZE == i // GROUP_SIZE],
            }[case.scope or "step"]
            powers = [length(j) ** -alpha for j in scope if length(j) > 0]
            weights[i] = length(i) ** -alpha / (sum(powers) / len(powers)) / (BIG_M * len(valid))
    return weights


def _reference_loss(case: Case, model: torch.nn.Module, row: dict, x: float, tokens: int) -> torch.Tensor:
    """What one response adds to the loss of its optimizer step. The host averages KL and entropy over all tokens of the step."""
    logits = model(row["ids"][None]).logits[0, :-1]
    taken = row["mask"]
    log_probs = logits.log_softmax(-1)[taken]
    chosen = log_probs.gather(-1, row["ids"][1:][taken, None]).squeeze(-1)
    old, base, rollout, advantage = row["old"][taken], row["base"][taken], row["rollout"][taken], row["advantage"]

    ratio = (chosen - old).exp()
    gain = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
    if case.dual_clip is not None and advantage < 0:
        gain = gain.clamp(min=case.dual_clip * advantage)
    if case.correction != "off":
        mismatch = (old - rollout).exp()
        gate = (old - rollout).mean().exp() if case.correction == "seq" else mismatch
        gain = gain * mismatch * ((gate >= 0.8) & (gate <= 1.25))
    total = -x * gain.sum()
    if case.kl:
        difference = chosen - base
        total = total + 0.1 * ((-difference).exp() - 1 + difference).clamp(max=10).sum() / tokens  # the host's cap
    if case.entropy:
        total = total + 0.05 * (log_probs.exp() * log_probs).sum() / tokens
    return total
