"""How many optimizer steps a run will take, which its learning-rate schedule is made for.

The host divides all responses of an episode by the batch size and rounds down. A run takes its steps rollout by rollout, and completes the
last one of a short rollout: with 5 prompts in rollouts of 2, of one step each, the host plans 2 steps and takes 3.
With --algo.dynamic_filtering_enable a run takes fewer: how many prompts will be left out is not known.
"""

from collections.abc import Callable

from deltal_openrlhf.arguments import Arguments


def planned_steps(args: Arguments, num_prompts: int, steps_of: Callable[[int], int]) -> int:
    """Of the whole run. num_prompts: of an episode. steps_of: those of one pass over a rollout with this many responses."""
    size, samples = rollout_prompts(args), args.rollout.n_samples_per_prompt
    whole, rest = divmod(num_prompts, size)
    steps = whole * steps_of(size * samples) + (steps_of(rest * samples) if rest else 0)
    return steps * args.train.max_epochs * args.train.num_episodes


def rollout_prompts(args: Arguments) -> int:
    """Prompts of a rollout that is not the last one: the host fills none up when it generates fewer at a time."""
    generated = args.rollout.vllm_generate_batch_size or args.rollout.batch_size
    return min(args.rollout.batch_size, generated)


def steps_without_the_actor(args: Arguments, steps_of: Callable[[int], int]) -> int:
    """Of planned_steps, those in which only the critic is trained (--critic.freezing_steps). With a critic every rollout is whole."""
    if args.algo.advantage.estimator != "gae" or args.critic.freezing_steps < 0:
        return 0
    rollout = rollout_prompts(args) * args.rollout.n_samples_per_prompt
    return (args.critic.freezing_steps + 1) * steps_of(rollout) * args.train.max_epochs


def data_parallel_ranks(args: Arguments) -> int:
    """Ranks of the policy, or groups of them, that train on responses of their own."""
    return args.actor.num_nodes * args.actor.num_gpus_per_node // args.ds.ring_attn_size // args.ds.tensor_parallel_size


def largest_share(args: Arguments, num_responses: int) -> int:
    """Responses of the first rank, which has the most: the host hands out batches of --rollout.micro_batch_size, in equal numbers."""
    batch = args.rollout.micro_batch_size
    batches = -(-num_responses // batch)
    return min(-(-batches // data_parallel_ranks(args)) * batch, num_responses)


def steps_in_micro_batches(args: Arguments, num_responses: int) -> int:
    """With DeepSpeed: of whole micro batches. What does not fill one is left out; what does not fill a step is completed (trainer.py)."""
    micro_batches = largest_share(args, num_responses) // args.train.micro_batch_size
    return -(-micro_batches // (args.train.batch_size // data_parallel_ranks(args) // args.train.micro_batch_size))


def steps_in_dynamic_batches(args: Arguments, num_responses: int) -> int:
    """With --train.dynamic_batch_enable: of whole steps. What does not fill one on every rank is left out."""
    ranks = data_parallel_ranks(args)
    return num_responses // ranks // (args.train.batch_size // ranks)
