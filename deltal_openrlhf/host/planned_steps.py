"""The number of optimizer steps of a run, for which its learning-rate schedule is made.

The host divides all responses of an episode by the batch size and rounds down. A run takes its steps rollout by rollout and completes the
last one of a short rollout. With 5 prompts in rollouts of 2, of one step each, the host plans 2 steps and takes 3. With
--algo.dynamic_filtering_enable a run takes fewer steps, because it is not known how many prompts will be left out.
"""

from collections.abc import Callable

from deltal_openrlhf.arguments import Arguments


def planned_steps(args: Arguments, num_prompts: int, steps_of: Callable[[int], int]) -> int:
    """The steps of the whole run.

    num_prompts: those of an episode. steps_of: gives the steps of one pass over a rollout with this many responses.
    """
    size, samples = rollout_prompts(args), args.rollout.n_samples_per_prompt
    whole, rest = divmod(num_prompts, size)
    steps = whole * steps_of(size * samples) + (steps_of(rest * samples) if rest else 0)
    return steps * args.train.max_epochs * args.train.num_episodes


def rollout_prompts(args: Arguments) -> int:
    """The prompts of a rollout that is not the last one. The host does not fill a rollout up when it generates fewer at a time."""
    generated = args.rollout.vllm_generate_batch_size or args.rollout.batch_size
    return min(args.rollout.batch_size, generated)


def steps_without_the_actor(args: Arguments, steps_of: Callable[[int], int]) -> int:
    """The planned steps in which only the critic is trained (--critic.freezing_steps). With a critic every rollout is whole."""
    if args.algo.advantage.estimator != "gae" or args.critic.freezing_steps < 0:
        return 0
    rollout = rollout_prompts(args) * args.rollout.n_samples_per_prompt
    return (args.critic.freezing_steps + 1) * steps_of(rollout) * args.train.max_epochs


def data_parallel_ranks(args: Arguments) -> int:
    """The number of policy ranks, or groups of them, that train on different responses."""
    return args.actor.num_nodes * args.actor.num_gpus_per_node // args.ds.ring_attn_size // args.ds.tensor_parallel_size


def largest_share(args: Arguments, num_responses: int) -> int:
    """The responses of the first rank, which has the most. The host deals out batches of --rollout.micro_batch_size, in equal numbers."""
    batch = args.rollout.micro_batch_size
    batches = -(-num_responses // batch)
    return min(-(-batches // data_parallel_ranks(args)) * batch, num_responses)


def steps_in_micro_batches(args: Arguments, num_responses: int) -> int:
    """The steps in whole micro batches, with DeepSpeed. An incomplete micro batch is left out, and an incomplete step is completed
    (trainer.py).
    """
    micro_batches = largest_share(args, num_responses) // args.train.micro_batch_size
    return -(-micro_batches // (args.train.batch_size // data_parallel_ranks(args) // args.train.micro_batch_size))


def steps_in_dynamic_batches(args: Arguments, num_responses: int) -> int:
    """The whole steps with --train.dynamic_batch_enable. What does not fill a step on every rank is left out."""
    ranks = data_parallel_ranks(args)
    return num_responses // ranks // (args.train.batch_size // ranks)
