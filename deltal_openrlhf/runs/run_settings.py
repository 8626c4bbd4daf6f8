"""run_settings.json in the run folder (--ckpt.output_dir): what was trained and how, for whoever reads the metrics next to it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deltal_openrlhf.modes import MODES, SCOPES, check_alpha, check_max_length

NAME = "run_settings.json"


@dataclass(frozen=True)
class RunSettings:
    version: str
    """The version of this package."""
    loss: dict[str, Any]
    """The fields of host.settings.LossSettings."""
    flags: dict[str, Any]
    """Values of the flags that tell one run from another, such as {"actor.model_name_or_path": "runs/base"}."""


def read(folder: Path) -> RunSettings | None:
    """None where there is no file. Raises ValueError, in one line, for a broken one."""
    path = folder / NAME
    try:
        settings = RunSettings(**json.loads(path.read_text(encoding="utf-8")))
        check_loss(settings.loss)
        if not isinstance(settings.flags, dict):
            raise ValueError(f"flags is {settings.flags!r}, allowed is a JSON object")
        return settings
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is broken; move it away: {error}") from error


def check_loss(loss: Any) -> None:
    """Raise ValueError unless these are the fields of host.settings.LossSettings, as a file of the run holds them."""
    if not isinstance(loss, dict):
        raise ValueError(f"loss is {loss!r}, allowed is a JSON object")
    missing = [name for name in ("mode", "alpha", "scope", "max_length") if name not in loss]
    if missing:
        raise ValueError(f"loss lacks {missing[0]!r}")
    mode, alpha, scope = loss["mode"], loss["alpha"], loss["scope"]
    if mode not in MODES:
        raise ValueError(f"mode is {mode!r}, allowed are {', '.join(MODES)}")
    check_max_length(loss["max_length"])
    if mode != "deltal":
        if (alpha, scope) != (None, None):
            raise ValueError(f"alpha is {alpha!r}, scope is {scope!r}; mode {mode} has neither")
        return
    check_alpha(alpha)
    if scope not in SCOPES:
        raise ValueError(f"scope is {scope!r}, allowed are {', '.join(SCOPES)}")
