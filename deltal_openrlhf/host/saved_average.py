"""Checks that a checkpoint has a moving average of the weights if the resumed run wants one. ema.py makes and saves it."""

from pathlib import Path

from deltal_openrlhf.arguments import Arguments

FILE = "ema.safetensors"
"""Within a checkpoint: every averaged parameter, whole, in float32. Any ZeRO stage and number of ranks can read it."""


def check_resumed_average(args: Arguments, folder: Path) -> None:
    """Raise ValueError if the run wants an average and the checkpoint in the folder has none, or the other way round."""
    is_saved, wanted = (folder / FILE).exists(), args.train.enable_ema
    if wanted and args.ds.use_universal_ckpt:
        raise ValueError(
            "--train.enable_ema with --ds.use_universal_ckpt: a universal checkpoint has no average of the weights; leave out one"
        )
    if wanted and not is_saved:
        raise ValueError(
            f"--train.enable_ema, but checkpoint {folder} has no average of the weights, which would begin anew; leave it out, or start "
            "from the exported model with another --ckpt.path"
        )
    if is_saved and not wanted:
        raise ValueError(
            f"checkpoint {folder} has an average of the weights, which would be lost; give --train.enable_ema as before, or start from "
            "the exported model with another --ckpt.path"
        )
