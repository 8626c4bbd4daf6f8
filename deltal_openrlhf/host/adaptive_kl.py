"""The coefficient of an adaptive KL penalty (--algo.kl.target), which the host begins anew with every resumed run."""

from typing import Any

from deltal_openrlhf.arguments import Arguments

_KEY = "adaptive_kl"


def remember(states: dict[str, Any], controller: Any, args: Arguments) -> None:
    """Put the coefficient into the states that go with a checkpoint. controller: the host's KL controller."""
    if args.algo.kl.target:
        states[_KEY] = {"coefficient": float(controller.value), "began_with": args.algo.kl.init_coef}


def restore(states: dict[str, Any], controller: Any, args: Arguments) -> None:
    """Set the coefficient to that of the checkpoint, unless --algo.kl.init_coef is another now, which is where it then begins.

    A checkpoint of a run without --algo.kl.target, or of an earlier version, has none.
    """
    saved = states.get(_KEY)
    if args.algo.kl.target and saved and saved["began_with"] == args.algo.kl.init_coef:
        controller.value = saved["coefficient"]
