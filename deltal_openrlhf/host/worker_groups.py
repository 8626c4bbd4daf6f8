"""The groups of training workers that the host starts, and the models that they load."""

from deltal_openrlhf.arguments import Arguments, WorkerGroup


def worker_groups(args: Arguments) -> dict[str, WorkerGroup]:
    """The groups in use by name: args.actor and others.

    It reads the flags that decide this, so it gives the same answer before and after the host fills in its own values (critic model, agent
    as reward).
    """
    in_use = {
        "actor": True,
        "ref": args.algo.kl.init_coef > 0,
        "critic": args.algo.advantage.estimator == "gae",
        "reward": not (args.reward.remote_url or args.train.agent_func_path),
    }
    return {name: getattr(args, name) for name, used in in_use.items() if used}


def models_of_run(args: Arguments) -> list[tuple[str, str]]:
    """(flag, name) of each model that a run loads. The reference model is the policy's. --reward.model_name_or_path may name several."""
    groups = worker_groups(args)
    models = [
        ("actor", args.actor.model_name_or_path),
        ("critic", args.critic.model_name_or_path),
        *(("reward", name) for name in (args.reward.model_name_or_path or "").split(",")),
    ]
    return [(f"{group}.model_name_or_path", name) for group, name in models if group in groups and name]
