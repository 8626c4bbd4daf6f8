"""The loss settings of a run. They are read from the host's arguments, checked before anything starts, and compared across ranks and
checkpoints.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from deltal_openrlhf import __version__
from deltal_openrlhf.arguments import Arguments
from deltal_openrlhf.modes import AUTO, MODES, MODES_WITH_M, SCOPES, check_alpha, check_max_length

if TYPE_CHECKING:
    from deltal_openrlhf.aggregation import Aggregation

HOST_MODES = ("token-mean", "seq-mean-token-mean")
BASELINES = {"opo": ("dr_grpo", "group_norm"), "otb": ("dr_grpo",)}
"""Each with the host's estimators whose mean over the prompt's responses it may replace."""
ADDED_LATER = {"sgd": False, "baseline": None, "alpha_window": None}
"""Fields that older checkpoints do not have, with what those were trained with."""
DEFAULT_ALPHA = 0.75
DEFAULT_WINDOW = 10


class OtherMode(ValueError):
    """Flags are set that belong to another --loss_agg; one line."""


@dataclass(frozen=True)
class LossSettings:
    """How the policy loss of this run is aggregated, and whether plain SGD follows it.

    mode: one of modes.MODES.
    alpha: exponent of `deltal`, None in the other modes.
    scope: over what `deltal` normalises (modes.SCOPES), None in the other modes.
    max_length: M in tokens. Modes other than modes.MODES_WITH_M do not use it; it scales the logged sum of weights there.
    overlong_filtering: responses cut off by the length limit take no part in the policy loss.
    sgd: plain SGD in place of the host's optimizer.
    baseline: one of BASELINES, what is subtracted from the rewards in place of the host's mean; None is the host's.
    alpha_window: rollouts after which an alpha that adapts may move; alpha is where it starts. None for an alpha that stays.
    """

    mode: str
    alpha: float | None
    scope: str | None
    max_length: float
    overlong_filtering: bool
    sgd: bool = False
    baseline: str | None = None
    alpha_window: int | None = None

    @classmethod
    def from_args(cls, args: Arguments) -> "LossSettings":
        """Read the settings from the host's hierarchical arguments. Raises ValueError with the flag, the value and what is allowed."""
        mode, given = args.actor.loss_agg_mode, args.deltal
        if mode not in MODES:
            raise ValueError(f"--loss_agg is {mode!r}, allowed are {', '.join(MODES)}")
        if args.actor.policy_loss_type == "gspo" and mode in HOST_MODES:
            mode = "seq-mean-token-mean"  # which the host takes there, whatever the flag says
        _check_flags_fit(args, mode)
        if mode == "balanced":
            _check_one_advantage(args, "--loss_agg balanced")
        if given.baseline is not None:
            _check_baseline(args, given.baseline)
        scope = alpha = None
        if mode == "deltal":
            scope = given.scope or "step"
            if scope not in SCOPES:
                raise ValueError(f"--deltal.scope is {scope!r}, allowed are {', '.join(SCOPES)}")
            number = DEFAULT_ALPHA if given.alpha is None or isinstance(given.alpha, str) else given.alpha
            alpha = _flag("--alpha", check_alpha, number)
            if scope == "group" and args.rollout.n_samples_per_prompt < 2:
                raise ValueError(
                    f"--deltal.scope group needs groups, but --rollout.n_samples_per_prompt is {args.rollout.n_samples_per_prompt}; "
                    "allowed is 2 or more, or --deltal.scope step or rollout"
                )
        longest = given.max_length if given.max_length is not None else longest_response(args)
        return cls(
            mode=mode,
            alpha=alpha,
            scope=scope,
            max_length=_flag("--deltal.max_length", check_max_length, longest),
            overlong_filtering=bool(given.overlong_filtering),
            sgd=_sgd(args),
            baseline=given.baseline,
            alpha_window=_alpha_window(args),
        )

    @property
    def aggregation(self) -> "Aggregation":
        """What gives the responses their weights."""
        from deltal_openrlhf.aggregation import Aggregation  # needs torch, which the command line does without

        return Aggregation(self.mode, alpha=self.alpha, scope=self.scope, max_length=self.max_length)

    @property
    def needs_energies(self) -> bool:
        """Whether the policy's workers have to report token_energies.py's numbers."""
        return self.baseline == "otb" or self.alpha_window is not None

    @property
    def weighted(self) -> bool:
        """Whether this package's weights make the loss. Otherwise the host's own aggregation runs untouched."""
        return self.mode not in HOST_MODES or self.overlong_filtering

    def describe(self) -> str:
        """One line for logs: "∆L is active: alpha 0.75, scope step, M 1024"."""
        if self.mode == "deltal":
            alpha = f"{self.alpha:g}"
            if self.alpha_window is not None:
                alpha = f"{AUTO} (from {self.alpha:g}, every {self.alpha_window} rollouts)"
            line = f"∆L is active: alpha {alpha}, scope {self.scope}, M {self.max_length:g}"
        elif self.mode in MODES_WITH_M:
            line = f"loss aggregation {self.mode}, M {self.max_length:g}"
        else:
            line = f"loss aggregation {self.mode}" + ("" if self.weighted else ", OpenRLHF's own")
        line += ", responses cut off by the length limit are filtered" if self.overlong_filtering else ""
        line += f", baseline {self.baseline}" if self.baseline else ""
        return line + (", plain SGD" if self.sgd else "")

    def to_dict(self) -> dict:
        """For a checkpoint."""
        return asdict(self)

    def signature(self) -> str:
        """A value that has to be equal on all ranks, or the run stops: the settings and this package's version."""
        return f"deltal-openrlhf {__version__}: {self.to_dict()}"

    def differences(self, saved: dict | None) -> list[str]:
        """What differs from the settings in a checkpoint, such as "alpha: saved 0.75, now 1". None if the checkpoint has no settings."""
        if saved is None:
            # Saved without this package, so with one of the host's own modes, but not known which.
            return [] if not self.weighted else ["mode: not saved with the checkpoint, now " + self.mode]
        now, saved = self.to_dict(), ADDED_LATER | saved
        keys = [k for k in now if k != "max_length" or self.mode in MODES_WITH_M]
        return [f"{k}: saved {saved.get(k)}, now {now[k]}" for k in keys if saved.get(k) != now[k]]


def _check_flags_fit(args: Arguments, mode: str) -> None:
    """Raise OtherMode for all flags that only other modes have."""
    given = args.deltal
    flags = (
        ("--alpha", given.alpha, ["deltal"]),
        ("--deltal.scope", given.scope, ["deltal"]),
        ("--deltal.max_length", given.max_length, MODES_WITH_M),
    )
    unfit = [(flag, value, modes) for flag, value, modes in flags if value is not None and mode not in modes]
    if not unfit:
        return
    # GSPO has one mode, whatever --loss_agg says.
    why = f"--loss_agg is {mode}" if mode == args.actor.loss_agg_mode else f"--actor.policy_loss_type gspo is {mode}"
    message = f"{', '.join(f'{flag} is {value}' for flag, value, _ in unfit)}, but {why}; "
    if len(unfit) == 1:
        message += f"it is allowed with --loss_agg {' and '.join(unfit[0][2])} only"
    else:
        message += "; ".join(f"{flag} is allowed with {' and '.join(modes)} only" for flag, _, modes in unfit)
    raise OtherMode(message)


def _check_one_advantage(args: Arguments, asking: str) -> None:
    """Raise ValueError if the tokens of a response may have different advantages. asking: the flag that needs one for a response."""
    if args.algo.advantage.estimator == "gae":
        raise ValueError(
            f"--algo.advantage.estimator is gae, which gives each token an advantage; allowed with {asking} is any without a critic"
        )
    if args.algo.advantage.estimator == "reinforce" and args.algo.advantage.gamma != 1:
        raise ValueError(
            f"--algo.advantage.gamma is {args.algo.advantage.gamma:g}, which gives each token an advantage; allowed with {asking} is 1"
        )
    if args.algo.kl.init_coef and not args.algo.kl.use_loss:
        raise ValueError(
            f"--algo.kl.init_coef is {args.algo.kl.init_coef:g}, which changes the reward of each token; allowed with {asking} is 0, or "
            "--algo.kl.use_loss"
        )


def _check_baseline(args: Arguments, baseline: str) -> None:
    """Raise ValueError unless the host subtracts the mean of the prompt's rewards, and nothing else: the baseline takes its place."""
    flag, estimator = f"--deltal.baseline {baseline}", args.algo.advantage.estimator
    if estimator not in (allowed := BASELINES[baseline]):
        raise ValueError(
            f"--algo.advantage.estimator is {estimator}, allowed with {flag} is {' or '.join(allowed)}, whose mean it replaces"
        )
    _check_one_advantage(args, flag)
    if baseline == "otb" and args.actor.loss_agg_mode == "balanced":
        raise ValueError(
            "--deltal.baseline is otb, which gives each token an advantage; --loss_agg balanced needs one for a response"
        )


def _alpha_window(args: Arguments) -> int | None:
    """None unless --alpha is auto. Raises ValueError for a window without it."""
    window = args.deltal.alpha_window
    if args.deltal.alpha == AUTO:
        if args.deltal.scope == "group":
            raise ValueError(
                "--deltal.scope is group, allowed with --alpha auto is step or rollout: its rule has one sum of weights"
            )
        return DEFAULT_WINDOW if window is None else window
    if window is not None:
        raise ValueError(f"--deltal.alpha_window is {window}, but --alpha is not {AUTO}; it is allowed with that only")
    return None


def longest_response(args: Arguments) -> int:
    """The largest number of tokens of a response. For all turns of an agent's episode, only --data.max_len bounds it."""
    bound = None if args.train.agent_func_path else args.rollout.max_new_tokens
    return bound or args.data.max_len


def _sgd(args: Arguments) -> bool:
    """Whether --deltal.sgd is set. Raises ValueError if the host's DeepSpeed engine would not use plain SGD."""
    if not args.deltal.sgd:
        return False
    for flag, value, allowed in (
        ("backend", args.backend, "deepspeed"),
        ("actor.optim", args.actor.optim, "adam"),
        ("actor.adam.weight_decay", args.actor.adam.weight_decay, 0),
    ):
        if value != allowed:
            raise ValueError(f"--{flag} is {value}, allowed with --deltal.sgd is {allowed}")
    if args.algo.advantage.estimator == "gae":
        raise ValueError("--algo.advantage.estimator is gae, allowed with --deltal.sgd is any without a critic")
    return True


def _flag(flag: str, check: Callable[[float], float], value: float) -> float:
    try:
        return check(value)
    except ValueError as error:
        raise ValueError(f"{flag} is {value:g}, {str(error).partition(', ')[2]}") from None
