"""Gives wandb the key through the environment of its process, and a config in which the key is hidden.

The host's logger passes the key to wandb.login, which writes it to ~/.netrc. It also sends all arguments as the run's config. Here the key
and the addresses of reward services are hidden in that config (runs/redaction.py).
"""

import os

from openrlhf.utils.logging_utils import WandbLogger

from deltal_openrlhf.arguments import Arguments

KEY_VARIABLE = "WANDB_API_KEY"


class DeltaLWandbLogger(WandbLogger):
    """The logger of the controller's process. args.logger.wandb.key: a Key, checked by the driver."""

    def __init__(self, args: Arguments) -> None:
        assert args.logger.wandb.key is not None  # the host makes no logger without it
        os.environ[KEY_VARIABLE] = str(args.logger.wandb.key)
        super().__init__(args)
