"""`deltal COMMAND`: hands the arguments to the command's own module."""

import importlib
import sys
from collections.abc import Sequence

# command -> (module with main(argv) -> exit status, one line for the help)
COMMANDS = {
    "data": ("deltal_openrlhf.cli.data", "train and eval files: countdown, math or gsm8k problems"),
    "train": (
        "deltal_openrlhf.train.launch",
        "openrlhf.cli.train_ppo_ray with ∆L: all its flags, and --config, --loss_agg, --alpha, --deltal.*",
    ),
    "eval": (
        "deltal_openrlhf.cli.eval",
        "accuracy of a checkpoint on eval files with vLLM, and the comparison of two results",
    ),
    "diagnose": (
        "deltal_openrlhf.cli.diagnose",
        "bias and variance of the aggregation methods on the gradients of a model, with a report",
    ),
    "compare": (
        "deltal_openrlhf.cli.compare",
        "training runs of several methods side by side: equal starts, prompts and seeds; paired differences with intervals",
    ),
    "grade": ("deltal_openrlhf.cli.grade", "grade a file of answers against gold answers"),
    "serve-rewards": (
        "deltal_openrlhf.cli.serve_rewards",
        "math and countdown rewards over HTTP, for --reward.remote_url",
    ),
    "verify": (
        "deltal_openrlhf.cli.verify",
        "whether this machine computes the right update: gradients, guards, Megatron, log-probabilities, overhead",
    ),
    "enable": (
        "deltal_openrlhf.cli.enable",
        "let python -m openrlhf.cli.train_ppo_ray take ∆L's flags in this environment",
    ),
    "disable": ("deltal_openrlhf.cli.disable", "undo enable"),
    "doctor": (
        "deltal_openrlhf.cli.doctor",
        "what this machine and environment lack for a run, and what to do about it",
    ),
}


def help_text() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(["usage: deltal COMMAND [arguments]", "", *lines, "", "deltal COMMAND --help says more"])


def main(argv: Sequence[str] | None = None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] in ("-h", "--help"):
        print(help_text())
        return 0 if argv else 2
    if argv[0] not in COMMANDS:
        print(f"deltal: unknown command {argv[0]!r}, allowed are {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    if argv[0] == "train":
        from deltal_openrlhf.train import early

        if early.refused(argv[1:]):
            return 2
    # Imported here: doctor has to run where train cannot.
    module = importlib.import_module(COMMANDS[argv[0]][0])
    return module.main(argv[1:]) or 0


if __name__ == "__main__":
    sys.exit(main())
