"""The updates of a whole small run on one rank, with every rollout handed out to the ranks by the host's own code."""

from types import SimpleNamespace

from deltal_openrlhf.host.rebind import rebound

GROUP = 4  # responses to a prompt
ROLLOUT = 4  # prompts
SCHEDULE = {"lr_scheduler": "cosine_with_min_lr", "lr_warmup_ratio": 0.25, "min_lr_ratio": 0.1}


def set_up(args, world, *, rollout_micro, episodes=2):
    """The flags that a run has and the parity checks do not read."""
    args.actor.num_nodes, args.actor.num_gpus_per_node = 1, world
    args.rollout.micro_batch_size, args.rollout.max_tokens_per_gpu = rollout_micro, 80
    args.rollout.vllm_generate_batch_size = None
    args.train.num_episodes = episodes


def share(args, samples, rank):
    """What the host hands to this rank of a rollout batch, in the batches in which it does so."""
    from openrlhf.trainer.ppo_utils.experience import balance_experiences
    from openrlhf.trainer.ppo_utils.experience_maker import RemoteExperienceMaker
    from openrlhf.trainer.ray import launcher

    maker = SimpleNamespace(args=args, tokenizer=SimpleNamespace(pad_token_id=0))
    batches = RemoteExperienceMaker.split_rollout_samples(maker, samples)
    if args.train.dynamic_batch_enable:
        batches = balance_experiences(batches, args)
    handed = []

    def worker(number):
        def execute_batch(method, chunk, start, end):
            if number == rank:
                handed.extend(chunk["experience"][start:end])

        return SimpleNamespace(execute_batch=SimpleNamespace(remote=execute_batch))

    workers = [worker(number) for number in range(args.actor.num_gpus_per_node)]
    group = SimpleNamespace(_actor_handlers=workers, duplicate_actors=args.ds.tensor_parallel_size)
    with rebound(launcher.ray, "put", lambda value: value):
        launcher.RayActorGroup.async_run_method_batch(group, "append", experience=batches)
    return handed


def run(trainer, case, prompts, rank):
    """{taken, rates}: optimizer steps of all episodes, and the rate after each rollout."""
    from deltal_openrlhf.parity.host_update import experiences

    args, rates = trainer.args, []
    for _ in range(args.train.num_episodes):
        for first in range(0, prompts, ROLLOUT):
            samples = experiences(case)[: min(ROLLOUT, prompts - first) * GROUP]
            trainer.replay_buffer.clear()
            for batch in share(args, samples, rank):
                trainer.replay_buffer.append(batch)
            trainer.ppo_train(0.0)
            rates.append(trainer.actor_scheduler.get_last_lr()[0])
    return {"taken": trainer.actor_scheduler.last_epoch, "rates": rates}
