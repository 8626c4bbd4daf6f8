"""The installed packages and their versions."""

import importlib.metadata
from importlib.util import find_spec

REPORT_PACKAGES = ("matplotlib", "scipy", "markupsafe")
"""What `deltal diagnose` and `deltal compare` make their reports with."""


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
    missing = [name for name in REPORT_PACKAGES if find_spec(name) is None]
    if missing:
        raise ValueError(f"{missing[0]} is not installed, the report needs it: pip install 'deltal-openrlhf[plots]'")
