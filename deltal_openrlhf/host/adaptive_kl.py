"""The coefficient of an adaptive KL penalty (--algo.kl.target). The host resets it in every resumed run."""

from typing import Any

from deltal_openrlhf.arguments import Arguments

_KEY = "adaptive_kl"


def remember(states: dict[str, Any], controller: Any, args: Arguments) -> None:
    """Add the coefficient to the states that a checkpoint saves. controller: the host's KL controller."""
    if args.algo.kl.target:
        states[_KEY] = {"coefficient": float(controller.value), "began_with": args.algo.kl.init_coef}


def restore(states: dict[str, Any], controller: Any, args: Arguments) -> None:
    """Set the coefficient to the checkpoint's, unless --algo.kl.init_coef has changed. In that case it starts from the new value.

    A checkpoint of a run without --algo.kl.target, or of an earlier version, has no coefficient.
    """
    saved = states.get(_KEY)
    if args.algo.kl.target and saved and saved["began_with"] == args.algo.kl.init_coef:
        controller.value = saved["coefficient"]
