"""Our flags on the host's parser."""

import argparse
import sys
import uuid
from typing import NoReturn

from deltal_openrlhf import backends
from deltal_openrlhf.aggregation import MODES, SCOPES
from deltal_openrlhf.grading.reading.extract import FALLBACK_HELP, FALLBACKS
from deltal_openrlhf.host.settings import DEFAULT_ALPHA
from deltal_openrlhf.runs.command import flags_of, with_nearest_flag
from deltal_openrlhf.runs.redaction import redacted
from deltal_openrlhf.train import credentials

MODE_FLAG = "actor.loss_agg_mode"


def add_flags(parser: argparse.ArgumentParser, prog: str) -> None:
    """Add ∆L's flags, widen the host's --actor.loss_agg_mode, and let a bad flag end in one line."""
    parser.prog = prog
    parser.usage = "%(prog)s [any flag of openrlhf.cli.train_ppo_ray] --loss_agg deltal --alpha 0.75"
    parser.error = lambda message: fail(with_nearest_flag(message, flags_of(parser)), prog)  # type: ignore[method-assign]
    host_mode = next(action for action in parser._actions if action.dest == MODE_FLAG)
    host_mode.choices = MODES
    credentials.hide(parser)
    _add_recipe_flags(parser)
    _add_loss_flags(parser)
    _add_data_flags(parser)
    _add_reward_flags(parser)
    _add_stopping_flags(parser)
    _add_measurement_flags(parser)
    _add_backend_flags(parser)
    # No flag: names this start of the command in the checkpoints that it saves.
    parser.set_defaults(**{"deltal.start": uuid.uuid4().hex})


def _add_recipe_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("recipes", "settings from files, and what they come to")
    group.add_argument(
        "--config",
        action="append",
        metavar="NAME_OR_FILE",
        help="flags from a YAML file, without the dashes: `actor.adam.lr: 1e-6`, or nested; or a shipped recipe by its name, such as "
        "math-deltal or overlays/8gpu (`deltal recipes` lists them). Several --config merge from left to right; flags of the command "
        "line win",
    )
    group.add_argument(
        "--deltal.trust_remote_code",
        action="store_true",
        help="run the Python files that the folder or hub repository of a model brings along (auto_map in its config.json or "
        "tokenizer_config.json), in this process, in every worker and in vLLM, with your rights; default: none of it runs, and a model "
        "that needs it is refused",
    )
    group.add_argument(
        "--dry_run",
        action="store_true",
        help="check all flags as a real start does, print what they come to and what differs from the authors' settings, and end before "
        "Ray starts",
    )


def _add_loss_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("∆L normalization", "how the policy loss weights responses of different length")
    group.add_argument(
        "--loss_agg",
        dest=MODE_FLAG,
        choices=MODES,
        default=argparse.SUPPRESS,
        help="short for --actor.loss_agg_mode. token-mean (DAPO norm; the host's default) and seq-mean-token-mean (GRPO norm) are the "
        "host's own; seq-mean-token-sum-norm (Dr. GRPO norm) divides by the number of responses and M; deltal weights response i by "
        "(1/M) L_i^-alpha / sum_j L_j^-alpha",
    )
    group.add_argument(
        "--alpha",
        "--deltal.alpha",
        dest="deltal.alpha",
        type=float,
        help=f"exponent of deltal, from 0 (Dr. GRPO norm) to 1 (least variance, GRPO norm's direction); default {DEFAULT_ALPHA}",
    )
    group.add_argument(
        "--deltal.scope",
        choices=SCOPES,
        help="over what deltal's weights are normalised: step (default: the responses of one optimizer step, the paper's formula), "
        "rollout (the whole rollout batch, the authors' code) or group (the responses to one prompt)",
    )
    group.add_argument(
        "--deltal.max_length",
        type=float,
        help="M in tokens, the constant by which deltal and seq-mean-token-sum-norm divide; default: the longest response the rollout "
        "may produce (--rollout.max_new_tokens, else --data.max_len; --data.max_len for agents)",
    )
    group.add_argument(
        "--deltal.overlong_filtering",
        action="store_true",
        help="responses cut off by the length limit (finish reason, not length) take no part in the policy loss and its counts; they "
        "stay in advantages, KL and entropy",
    )
    group.add_argument(
        "--deltal.sgd",
        action="store_true",
        help="plain SGD at --actor.adam.lr, without momentum or weight decay, in place of --actor.optim; for comparisons: Adam hides "
        "the scale of the gradient",
    )
    group.add_argument(
        "--deltal.allow_changed_loss",
        action="store_true",
        help="resume from a checkpoint although it was trained with another mode, alpha, scope, M, filtering or --deltal.sgd",
    )
    group.add_argument(
        "--deltal.allow_changed_optimizer",
        action="store_true",
        help="resume from a checkpoint although it was trained with another learning rate, schedule, weight decay, betas, eps or clipping; "
        "those of the command line hold from there on",
    )


def _add_data_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("data", "rows of prompts and labels: docs/reference/data.md")
    group.add_argument(
        "--deltal.skip_long_prompts",
        action="store_true",
        help="leave out prompts of more than --data.max_len minus --rollout.max_new_tokens tokens, in training and evaluation sets; "
        "default: OpenRLHF cuts off their beginning. The start counts them either way",
    )
    # No flags: set once the rows and the checkpoint are checked.
    parser.set_defaults(**{"deltal.data": None, "deltal.resumed": None})


def _add_reward_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("rewards", "deltal_openrlhf/rewards/math_reward.py, and reward services")
    group.add_argument(
        "--deltal.unmarked",
        choices=FALLBACKS,
        default="none",
        help=f"what math_reward.py grades where a response marks no answer: {FALLBACK_HELP}; default none. A service has a flag of "
        "its own",
    )
    group.add_argument(
        "--deltal.reward_wait",
        type=float,
        metavar="SECONDS",
        help="seconds that the reward of one response may take (a call of reward_func, or a request to a service with all its tries); then "
        "the run ends and names the file or the address; default 120. The import of a reward file may take as long, and at least 120",
    )


def _add_stopping_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "stopping", "a run that is told to stop, and one that stands still: docs/reference/stopping.md"
    )
    group.add_argument(
        "--deltal.grace",
        type=float,
        default=300.0,
        metavar="SECONDS",
        help="seconds that a run has to end its step and save in --ckpt.path after SIGTERM or SIGUSR1; after that, or at a second signal, "
        "it ends at once; default 300",
    )
    group.add_argument(
        "--deltal.stall_timeout",
        type=float,
        default=1800.0,
        metavar="SECONDS",
        help="end the run, with the stacks of all workers in the log, after so many seconds without a response, a micro batch or a part of "
        "a save, the start included; default 1800; 0: never",
    )


def _add_measurement_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("measurement", "for deltal diagnose: docs/reference/diagnose.md")
    group.add_argument(
        "--deltal.save_rollouts",
        type=int,
        default=0,
        metavar="N",
        help="save the responses of PPO steps 1, N + 1, 2 N + 1, ... as JSON lines in rollouts/ of --ckpt.output_dir: with "
        "--ckpt.save_steps N and --ckpt.save_hf there are the weights that sampled them; default 0: none",
    )


def _add_backend_flags(parser: argparse.ArgumentParser) -> None:
    """Add --backend and the flags of every backend that is installed. An abbreviation of one of these is an unknown flag."""
    before = len(parser._actions)
    installed = list(backends.installed())
    group = parser.add_argument_group("training backend", "each has flags of its own, which start with its name")
    group.add_argument(
        "--backend",
        type=_installed_backend,
        choices=backends.REGISTRY,
        default=backends.DEFAULT,
        help=f"what trains the policy and reads the reference model; default {backends.DEFAULT}. "
        + "; ".join(f"{backend.name}: {backend.summary}" for backend in installed),
    )
    for backend in installed:
        backend.add_flags(parser)
    ours = parser._actions[before:]
    abbreviated = parser._get_option_tuples
    parser._get_option_tuples = lambda option_string: [  # type: ignore[method-assign]
        match for match in abbreviated(option_string) if match[0] not in ours
    ]


def _installed_backend(name: str) -> str:
    """The value of --backend. Refused while the flags are read: without its package, a backend's own flags are unknown."""
    if name in backends.REGISTRY:
        try:
            backends.load(name)
        except backends.NotInstalled as error:
            raise argparse.ArgumentTypeError(str(error)) from error
    return name


def fail(message: str, prog: str = "deltal train") -> NoReturn:
    """One line on stderr, exit code 2."""
    print(f"{prog}: error: {redacted(' '.join(str(message).split()))}", file=sys.stderr, flush=True)
    sys.exit(2)
