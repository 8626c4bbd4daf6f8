"""run_settings.json in the run folder (--ckpt.output_dir): what was trained and how, for whoever reads the metrics next to it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAME = "run_settings.json"


@dataclass(frozen=True)
class RunSettings:
    version: str
    """Of this package."""
    loss: dict[str, Any]
    """host.settings.LossSettings."""
    flags: dict[str, Any]
    """Values of the flags that tell one run from another, such as {"actor.model_name_or_path": "runs/base"}."""


def read(folder: Path) -> RunSettings | None:
    """None where there is no file. Raises ValueError, in one line, for a broken one."""
    path = folder / NAME
    try:
        return RunSettings(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is broken; move it away: {error}") from error
