"""A run whose workers are on other machines: it joins a Ray cluster, from a machine without a GPU. What only they read may be there alone.

The driver reads and checks every row, so the data has to be here too. Workers, which hold GPUs, read the models and the user's reward or
agent file.
"""

from deltal_openrlhf.arguments import Arguments
from deltal_openrlhf.train.data_files import missing_files, missing_models
from deltal_openrlhf.train.user_files import check_user_files

NOT_CHECKED = "on this machine, which has no GPU; not checked, every node with GPUs needs it"


def notes(args: Arguments) -> list[str]:
    """One line for each thing that a start would refuse if its workers were here."""
    files = set(missing_files(args)) - set(missing_files(args, of_workers=False))
    found = missing_models(args) + sorted(files)
    try:
        check_user_files(args)
    except ValueError as error:
        found.append(str(error))
    return [f"{line}, {NOT_CHECKED}" for line in found]
