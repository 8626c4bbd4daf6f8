"""The stock command, without `deltal enable`, in an environment without a GPU.

The host cannot even be imported there (flash-attn), so a wrong flag would end in a ModuleNotFoundError instead of the host's own
message. scripts/setup.sh writes one .pth file (`python -m deltal_openrlhf.cpu.stock`) into the CPU environment it makes: when
`python -m openrlhf.cli.train_ppo_ray` is being started, and only then, the host gets what it needs to be imported, and is stopped with
one line where it would wait for GPUs for ever.
"""

import os
import sys
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from deltal_openrlhf.cpu import environment, install
from deltal_openrlhf.runs.files import write_atomically
from deltal_openrlhf.standins.on_import import on_import
from deltal_openrlhf.standins.redirect import HOST_MODULE, pth_line, redirected

LINE = pth_line("deltal_openrlhf.cpu.stock", "load")


def load() -> None:
    """Prepare the stock command if it is being started. Called while Python starts."""
    if redirected(sys.orig_argv, sys.argv) is None:
        return
    os.environ.update(environment())
    install()
    on_import("ray", _stop_at_init)


def _stop_at_init(ray: ModuleType) -> None:
    def init(*args: Any, **kwargs: Any) -> NoReturn:
        sys.exit(
            f"{HOST_MODULE} by itself needs GPUs and there are none; `deltal train`, or this command after `deltal enable`, runs here"
        )

    ray.init = init  # type: ignore[attr-defined]


def main() -> None:
    """Write the .pth file."""
    write_atomically(Path(sysconfig.get_path("purelib")) / "deltal_openrlhf_cpu.pth", LINE)


if __name__ == "__main__":
    main()
