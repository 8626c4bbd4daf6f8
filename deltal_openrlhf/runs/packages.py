"""The installed packages and their versions."""

import importlib.metadata
from collections.abc import Sequence
from importlib.util import find_spec

REPORT_PACKAGES = ("matplotlib", "scipy", "markupsafe")
"""What `deltal diagnose` and `deltal compare` make their reports with."""
BASE = {name: name for name in ("numpy", "packaging", "psutil", "rich", "shtab", "tqdm")} | {"yaml": "pyyaml"}
"""What the package itself depends on: module -> package. `pip install --no-deps` leaves them out."""
EXTRAS = {
    "rewards": (
        *(
            "math_verify",
            "latex2sympy2_extended",
            "sympy",
            "mpmath",
            "pint",
            "fastapi",
            "uvicorn",
            "prometheus_client",
            "aiohttp",
        ),
        *("datasets", "pyarrow"),
    ),
    "plots": REPORT_PACKAGES,
    "megatron": ("megatron", "mbridge", "einops"),
    "models": ("gguf",),
    "tasks": ("reasoning_gym",),
}
"""Extra of this package -> the modules that it brings. pip can install these."""
PIPELINE = ("torch", "openrlhf", "vllm", "ray", "deepspeed", "transformers")
"""The modules that scripts/setup.sh installs as one environment."""
SETUP = "bash scripts/setup.sh in a clone makes the environment that this machine needs"


def remedy(module: str) -> str | None:
    """How to install what a command cannot import. None for a module that neither this package nor an extra of it brings."""
    package = module.partition(".")[0]
    if package in BASE:
        return f"pip install {BASE[package]}"
    if package in PIPELINE:
        return SETUP
    extra = next((extra for extra, modules in EXTRAS.items() if package in modules), None)
    return extra and f"pip install 'deltal-openrlhf[{extra}]'"


def installed_version(package: str) -> str | None:
    """The version of a distribution, such as "math-verify"; None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def installed_versions(*packages: str) -> dict[str, str]:
    """The versions of those distributions that are installed, by name."""
    return {package: found for package in packages if (found := installed_version(package))}


def check_report_packages() -> None:
    """Raises ValueError, before the work and not after it, if something of REPORT_PACKAGES is not installed."""
    check_packages("the report", REPORT_PACKAGES)


def check_packages(what: str, modules: Sequence[str]) -> None:
    """Raises ValueError if one of the modules is not installed. what: needs them, for the message."""
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise ValueError(f"{missing[0]} is not installed, {what} needs it: {remedy(missing[0])}")
