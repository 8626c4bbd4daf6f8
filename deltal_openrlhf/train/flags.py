"""Our flags on the host's parser."""

import argparse
import sys
import uuid
from typing import NoReturn

from deltal_openrlhf import backends
from deltal_openrlhf.grading.reading.extract import FALLBACK_HELP, FALLBACKS
from deltal_openrlhf.host.settings import BASELINES, DEFAULT_ALPHA, DEFAULT_WINDOW
from deltal_openrlhf.modes import MODES, SCOPES, alpha, mode
from deltal_openrlhf.runs.command import Paragraphs, flags_of, with_nearest_flag
from deltal_openrlhf.runs.redaction import redacted
from deltal_openrlhf.train import credentials

MODE_FLAG = "actor.loss_agg_mode"
HELP_END = (
    "A flag may have hyphens for underscores. `deltal train --dry_run` checks a command line without starting anything."
)


def add_flags(parser: argparse.ArgumentParser, prog: str) -> None:
    """Add this package's flags, extend the choices of the host's --actor.loss_agg_mode, and make a bad flag end in one line.

    An abbreviation is a bad flag, of the host's as of ours: with the next flag that is added it could mean another.
    """
    parser.prog = prog
    parser.usage = "%(prog)s --config NAME_OR_FILE [any flag of openrlhf.cli.train_ppo_ray]"
    parser.description = "Train with OpenRLHF's PPO and ∆L normalization."
    parser.epilog = f"{HELP_END}\n\n  {prog} --config math-deltal --config overlays/8gpu --dry_run"
    parser.formatter_class = Paragraphs
    parser.allow_abbrev = False
    hosts = len(parser._action_groups)
    parser.error = lambda message: fail(with_nearest_flag(message, flags_of(parser)), prog=prog)  # type: ignore[method-assign]
    host_mode = next(action for action in parser._actions if action.dest == MODE_FLAG)
    host_mode.choices, host_mode.type = MODES, mode
    credentials.hide(parser)
    _add_recipe_flags(parser)
    _add_loss_flags(parser)
    _add_data_flags(parser)
    _add_reward_flags(parser)
    _add_stopping_flags(parser)
    _add_measurement_flags(parser)
    _add_backend_flags(parser)
    # Ours come first in the help: the host has two hundred.
    parser._action_groups = parser._action_groups[hosts:] + parser._action_groups[:hosts]
    # No flag: names this start of the command in the checkpoints that it saves.
    parser.set_defaults(**{"deltal.start": uuid.uuid4().hex})


def _add_recipe_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("recipes", "settings from files")
    group.add_argument(
        "--config",
        action="append",
        metavar="NAME_OR_FILE",
        help="read flags from a shipped recipe, such as math-deltal or overlays/8gpu, or from a YAML file. `deltal recipes` lists the "
        "recipes. A file has flags without dashes: `actor.adam.lr: 1e-6`, or nested. Several --config merge from left to right. Flags "
        "of the command line win",
    )
    group.add_argument(
        "--deltal.trust_remote_code",
        action="store_true",
        help="run the Python files in a model's folder or hub repository (auto_map in its config.json or tokenizer_config.json). They run "
        "in this process, in every worker and in vLLM, with your rights. By default none of them runs, and a model that needs them is "
        "refused",
    )
    group.add_argument(
        "--dry_run",
        action="store_true",
        help="check all flags as a real start does, print every setting and what differs from the authors' settings, and end before Ray "
        "starts",
    )


def _add_loss_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("∆L normalization", "how the policy loss weights responses of different length")
    group.add_argument(
        "--loss_agg",
        dest=MODE_FLAG,
        type=mode,
        choices=MODES,
        default=argparse.SUPPRESS,
        help="short for --actor.loss_agg_mode. token-mean (DAPO norm, OpenRLHF's default) and seq-mean-token-mean (GRPO norm) are "
        "OpenRLHF's own. seq-mean-token-sum-norm (Dr. GRPO norm) divides by the number of responses and M. deltal weights response i "
        "by (1/M) L_i^-alpha / sum_j L_j^-alpha. prompt-mean (ScaleRL) is the token mean of each prompt, averaged over prompts. balanced "
        "(Balanced Aggregation) takes it over responses of positive and over those of negative advantage, by their numbers",
    )
    group.add_argument(
        "--alpha",
        "--deltal.alpha",
        dest="deltal.alpha",
        type=alpha,
        metavar="X",
        help=f"exponent of deltal, from 0 (Dr. GRPO norm) to 1 (GRPO norm's direction; the least variance if that of a response's gradient "
        f"grows in proportion to its length); default {DEFAULT_ALPHA}. With auto it follows the responses, an experiment",
    )
    group.add_argument(
        "--deltal.alpha_window",
        type=int,
        metavar="ROLLOUTS",
        help=f"with --alpha auto: how many rollouts decide about the alpha of the following ones (default {DEFAULT_WINDOW})",
    )
    group.add_argument(
        "--deltal.scope",
        choices=SCOPES,
        help="responses over which deltal normalises its weights. step, the default, takes those of one optimizer step, the paper's "
        "formula. rollout takes the whole rollout batch, as the authors' code does. group takes the responses to one prompt",
    )
    group.add_argument(
        "--deltal.max_length",
        type=float,
        metavar="TOKENS",
        help="M in tokens, the constant by which deltal and seq-mean-token-sum-norm divide. The default is the longest possible response: "
        "--rollout.max_new_tokens, else --data.max_len; for agents --data.max_len",
    )
    group.add_argument(
        "--deltal.overlong_filtering",
        action="store_true",
        help="leave responses that the length limit cuts off out of the policy loss and its counts. The finish reason decides, not the "
        "length. They stay in advantages, KL and entropy",
    )
    group.add_argument(
        "--deltal.sgd",
        action="store_true",
        help="train with plain SGD at --actor.adam.lr, without momentum or weight decay, in place of --actor.optim. It is meant for "
        "comparisons, because Adam hides the scale of the gradient",
    )
    group.add_argument(
        "--deltal.baseline",
        choices=BASELINES,
        help="what is subtracted from the reward in place of the mean over the prompt's responses. opo takes their mean weighted by length "
        "(arXiv 2505.23585); --algo.advantage.estimator has to be dr_grpo, the paper's, or group_norm. otb takes for each token the mean "
        "weighted by the squared logit gradients up to there (arXiv 2602.07078); the estimator has to be dr_grpo",
    )
    group.add_argument(
        "--deltal.allow_changed_loss",
        action="store_true",
        help="resume from a checkpoint that was trained with another mode, alpha, scope, M, filtering or --deltal.sgd",
    )
    group.add_argument(
        "--deltal.allow_changed_optimizer",
        action="store_true",
        help="resume from a checkpoint that was trained with another learning rate, schedule, weight decay, betas, eps or clipping. The "
        "values of the command line hold from the next step on",
    )


def _add_data_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("data", "rows of prompts and labels: docs/reference/data.md")
    group.add_argument(
        "--deltal.skip_long_prompts",
        action="store_true",
        help="leave out prompts of more than --data.max_len minus --rollout.max_new_tokens tokens, in training and evaluation sets. By "
        "default OpenRLHF cuts off their beginning. The start counts them in both cases",
    )
    # No flags: set once the rows and the checkpoint are checked.
    parser.set_defaults(**{"deltal.data": None, "deltal.resumed": None})


def _add_reward_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("rewards", "reward files and services: docs/reference/rewards.md")
    group.add_argument(
        "--deltal.unmarked",
        choices=FALLBACKS,
        default="none",
        help=f"what deltal:math grades where a response marks no answer: {FALLBACK_HELP}; default none. A service has its own flag for "
        "this",
    )
    group.add_argument(
        "--deltal.reward_wait",
        type=float,
        metavar="SECONDS",
        help="seconds that the reward of one response may take: a call of reward_func, or a request to a service with all its tries. After "
        "that the run ends and names the file or the address. The default is 120. The import of a reward file may take as long, and at "
        "least 120",
    )


def _add_stopping_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "stopping", "runs that are told to stop, and runs that stall: docs/reference/stopping.md"
    )
    group.add_argument(
        "--deltal.grace",
        type=float,
        default=300.0,
        metavar="SECONDS",
        help="seconds that a run has to end its step and save to --ckpt.path after SIGTERM or SIGUSR1. After that, or at a second signal, "
        "it ends at once. The default is 300",
    )
    group.add_argument(
        "--deltal.stall_timeout",
        type=float,
        default=1800.0,
        metavar="SECONDS",
        help="seconds without progress after which the run ends, with the stacks of all workers in the log. Progress is a response, a "
        "micro batch, a part of a save, or a part of the start. The default is 1800, and 0 means never",
    )


def _add_measurement_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("measurement", "for deltal diagnose: docs/reference/diagnose.md")
    group.add_argument(
        "--deltal.save_rollouts",
        type=int,
        default=0,
        metavar="N",
        help="save the responses of PPO steps 1, N + 1, 2 N + 1, ... as JSON lines in rollouts/ of --ckpt.output_dir. --ckpt.save_steps N "
        "with --ckpt.save_hf saves the weights that sampled them. The default 0 saves none",
    )


def _add_backend_flags(parser: argparse.ArgumentParser) -> None:
    """Add --backend and the flags of every installed backend."""
    installed = list(backends.installed())
    group = parser.add_argument_group("training backend", "the flags of a backend start with its name")
    group.add_argument(
        "--backend",
        type=_installed_backend,
        choices=backends.REGISTRY,
        default=backends.DEFAULT,
        help=f"library that trains the policy and runs the reference model; default {backends.DEFAULT}. "
        + "; ".join(f"{backend.name}: {backend.summary}" for backend in installed),
    )
    for backend in installed:
        backend.add_flags(parser)


def _installed_backend(name: str) -> str:
    """The value of --backend. It is refused here if its package is missing, because the backend's own flags are then unknown."""
    if name in backends.REGISTRY:
        try:
            backends.load(name)
        except backends.NotInstalled as error:
            raise argparse.ArgumentTypeError(str(error)) from error
    return name


def fail(*messages: str, prog: str = "deltal train") -> NoReturn:
    """One line on stderr for each message, exit code 2."""
    for message in messages:
        print(f"{prog}: error: {redacted(' '.join(str(message).split()))}", file=sys.stderr, flush=True)
    sys.exit(2)
