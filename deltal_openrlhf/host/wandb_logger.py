"""wandb gets the key from the environment of its process, and a config in which it is hidden.

The host's logger hands the key to wandb.login, which writes it to ~/.netrc, and sends all arguments as the run's config. In ours the key
and the addresses of reward services hide themselves (runs/redaction.py) in that config.
"""

import os

from openrlhf.utils.logging_utils import WandbLogger

from deltal_openrlhf.arguments import Arguments

KEY_VARIABLE = "WANDB_API_KEY"


class DeltaLWandbLogger(WandbLogger):
    """For the process of the controller. args.logger.wandb.key: a Key, checked by the driver."""

    def __init__(self, args: Arguments) -> None:
        assert args.logger.wandb.key is not None  # the host makes no logger without it
        os.environ[KEY_VARIABLE] = str(args.logger.wandb.key)
        super().__init__(args)
