"""Runs that join a Ray cluster from a machine without a GPU. Files that only the workers read may be missing on this machine.

Workers hold GPUs. They read weights, critic and reward models, and the user's reward or agent file. The driver needs the data and the
policy's configuration and tokenizer. So does the host's controller, which holds no GPU: Ray may place it on any node.
"""

from deltal_openrlhf.arguments import Arguments
from deltal_openrlhf.train.data_files import missing_files, missing_models
from deltal_openrlhf.train.user_files import check_user_files

NEEDED = "this machine needs the model's configuration and tokenizer (not its weights), and so does every node of the cluster"
NOT_CHECKED = "on this machine, which has no GPU; not checked, every node with GPUs needs it"


def notes(args: Arguments) -> list[str]:
    """One line for each thing that a start would refuse if its workers ran here."""
    files = set(missing_files(args)) - set(missing_files(args, of_workers=False))
    found = missing_models(args) + sorted(files)
    try:
        check_user_files(args)
    except ValueError as error:
        found.append(str(error))
    return [f"{line}, {NOT_CHECKED}" for line in found]
