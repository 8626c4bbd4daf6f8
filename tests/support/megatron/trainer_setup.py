"""The real MegatronActorTrainer with tiny models, without Ray and vLLM, and the same updates by brute force."""

from deltal_openrlhf.parity import Case

SHORT = Case(micro=2, steps=2)
HELD = (range(5), range(5, 8))  # responses on either rank, of a batch size of 8
ADAM = {"lr": 1e-3, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.0}
SCHEDULE = {"lr_scheduler": "linear", "lr_warmup_ratio": 0.0, "min_lr_ratio": 0.1}
NUM_STEPS, MAX_NORM = 10, 0.5


def make_trainer(
    folder,
    layout,
    loss,
    *,
    eps=1e-8,
    max_tokens=None,
    packed=False,
    model="llama",
    seed=1,
    aux_loss_coef=0.0,
    dtype="float32",
    rate=ADAM["lr"],
):
    """The trainer of a run with an empty buffer. It notes what is in every micro batch of every optimizer step: `micro_batches`."""
    import torch

    from deltal_openrlhf.host.schedule import learning_rate_schedule
    from megatron_ext.engine import Engine, OptimizerSettings
    from megatron_ext.groups import another_layout
    from megatron_ext.layout import ParallelLayout
    from megatron_ext.model import MegatronModel, ModelSettings
    from megatron_ext.parity import ShardedCase, sharded
    from megatron_ext.strategy import MegatronStrategy
    from megatron_ext.trainer import MegatronActor, MegatronActorTrainer

    class Recording(MegatronActorTrainer):
        def _take_step(self, window, infos):
            self.micro_batches.append([[int(label) for label in e.labels if e.prompts] for e in window])
            self.rates.append(self.actor_scheduler.get_last_lr()[0])
            return super()._take_step(window, infos)

        @property
        def trained(self):
            """[[labels], ...] of every optimizer step."""
            return [sum(micro_batches, []) for micro_batches in self.micro_batches]

    sizes = ParallelLayout(**layout)
    case = ShardedCase(sizes, data_parallel=2 // sizes.replica, loss=loss, packed=packed, max_tokens=max_tokens)
    args = sharded._arguments(case)
    for name, value in (SCHEDULE | {"aux_loss_coef": aux_loss_coef}).items():
        setattr(args.actor, name, value)
    adam = ADAM | {"eps": eps, "lr": rate}
    args.actor.adam = type(args)(**adam)
    strategy = MegatronStrategy(
        seed=seed,
        max_norm=MAX_NORM,
        micro_train_batch_size=loss.micro,
        train_batch_size=args.train.batch_size,
        args=args,
    )
    with another_layout():
        strategy.setup_distributed()
    settings = ModelSettings(f"{folder}/{model}", getattr(torch, dtype), chunk_size=7, aux_loss_coef=aux_loss_coef)
    engine = Engine(
        MegatronModel(settings, sizes),
        packed=packed,
        optimizer=OptimizerSettings(**adam, max_norm=MAX_NORM),
    )
    strategy.engine, strategy.schedule = engine, learning_rate_schedule(args.actor, NUM_STEPS)
    trainer = Recording(
        strategy,
        MegatronActor(engine),
        ema_model=None,
        actor_optim=None,
        actor_scheduler=strategy.schedule,
        micro_train_batch_size=loss.micro,
        dataloader_pin_memory=False,
    )
    trainer.micro_batches, trainer.rates = [], []
    return trainer


def fill(trainer, case, numbers=None, change=None):
    """A rollout for this rank's replica: the responses of these numbers, or its share of all."""
    import torch.distributed as dist

    from deltal_openrlhf.host.scope_means import attach_scope_means
    from deltal_openrlhf.parity.cases import GROUP_SIZE
    from deltal_openrlhf.parity.host_update import experiences

    group = trainer.strategy.ds_device_mesh["dp"].get_group()
    samples = experiences(case)
    attach_scope_means(samples, trainer.settings, GROUP_SIZE)
    trainer.replay_buffer.clear()
    for number in (
        numbers if numbers is not None else range(dist.get_rank(group), len(samples), dist.get_world_size(group))
    ):
        if change:
            change(samples[number])
        trainer.replay_buffer.append(samples[number])


def train(trainer, case, **kwargs):
    fill(trainer, case, **kwargs)
    return trainer.ppo_train(trainer.args.algo.kl.init_coef)


def parameters(trainer):
    return {name: tensor.clone() for name, tensor in trainer.engine.model.export()}


def difference(trainer, before):
    return max((tensor - before[name]).abs().max().item() for name, tensor in trainer.engine.model.export())


def everyone_trained_on(trainer):
    """[[labels of all replicas], ...] of every optimizer step."""
    import torch.distributed as dist

    group = trainer.strategy.ds_device_mesh["dp"].get_group()
    parts = [None] * dist.get_world_size(group)
    dist.all_gather_object(parts, trainer.trained, group=group)
    return [sum(step, []) for step in zip(*parts, strict=True)]


def by_brute_force(folder, case, steps, rates, eps):
    """Parameters after AdamW steps on these responses: transformers and autograd, one response at a time."""
    import torch
    from transformers import AutoModelForCausalLM

    from deltal_openrlhf.parity.cases import make_batch
    from deltal_openrlhf.parity.reference import reference_loss, reference_weights

    model = AutoModelForCausalLM.from_pretrained(f"{folder}/llama", dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), **ADAM | {"eps": eps})
    batch = make_batch(case.holes)
    for members, rate in zip(steps, rates, strict=True):
        weights, tokens = reference_weights(case, batch, members), sum(int(batch[i]["mask"].sum()) for i in members)
        optimizer.zero_grad()
        for i in members:
            if batch[i]["mask"].any():
                reference_loss(case, model, batch[i], weights[i], tokens).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
    return {name: p.detach() for name, p in model.named_parameters()}
