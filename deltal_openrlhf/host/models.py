"""Which models a run loads, and the flags that name them."""

from deltal_openrlhf.arguments import Arguments


def models_of_run(args: Arguments) -> list[tuple[str, str]]:
    """(flag, name) of each. A critic needs gae; a reward model, that neither --reward.remote_url nor an agent gives the rewards."""
    models: list[tuple[str, str | None]] = [("actor.model_name_or_path", args.actor.model_name_or_path)]
    if args.algo.advantage.estimator == "gae":
        models.append(("critic.model_name_or_path", args.critic.model_name_or_path))
    if not (args.reward.remote_url or args.train.agent_func_path):
        models += [("reward.model_name_or_path", name) for name in (args.reward.model_name_or_path or "").split(",")]
    return [(flag, name) for flag, name in models if name]
