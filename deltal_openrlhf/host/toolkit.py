"""The tools with which DeepSpeed compiles its fused Adam at its first use: ninja from PATH, and nvcc from CUDA_HOME.

The environment has both. torch's packages bring a CUDA toolkit that torch does not look for, and ninja is found only if the environment is
activated.
"""

import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

SYSTEM = Path("/usr/local/cuda")
"""Where torch looks last."""


def packages() -> Path | None:
    """The folder in which torch is installed. Does not import torch."""
    spec = find_spec("torch")
    return Path(spec.origin).parents[1] if spec and spec.origin else None


def packaged(folder: Path) -> Path | None:
    """The CUDA toolkit among the packages in this folder."""
    found = sorted(path.parents[1] for path in folder.glob("nvidia/cu*/bin/nvcc"))
    return found[-1] if found else None


def prepare() -> None:
    """Let this process and its children find ninja, and nvcc if the machine has none. The user's own settings stay as they are.

    The toolkit of the packages is used only once it can link: they have libcudart.so.13 and no libcudart.so. setup.sh makes these names,
    and `deltal doctor` says how.
    """
    own = Path(sys.executable).parent
    if shutil.which("ninja") is None and (own / "ninja").exists():
        os.environ["PATH"] = os.pathsep.join(filter(None, [str(own), os.environ.get("PATH")]))
    given = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    if given or shutil.which("nvcc") or (SYSTEM / "bin" / "nvcc").exists():
        return
    folder = packages()
    toolkit = packaged(folder) if folder else None
    if toolkit and (toolkit / "lib64" / "libcudart.so").exists():
        os.environ["CUDA_HOME"] = str(toolkit)
