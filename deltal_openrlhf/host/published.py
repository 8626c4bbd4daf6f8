"""Whether the host is the one that the tests check, byte for byte. Its symbols are known then, and need not be imported to be looked at."""

import base64
import hashlib
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from deltal_openrlhf.host.bindings import CHECKED_AGAINST, check_host
from deltal_openrlhf.runs.packages import installed_version

CHECKED = {"openrlhf": CHECKED_AGAINST, "deepspeed": "0.19.6", "ray": "2.55.0", "transformers": "5.15.0"}
"""The packages of bindings.SIGNATURES, in the versions of the tests. OpenRLHF pins the others."""


def is_unchanged() -> bool:
    """Whether these versions are installed, and OpenRLHF's files are as pip installed them.

    False wherever that cannot be told, as for a checkout: bindings.check_host then looks at the symbols.
    """
    if any(installed_version(name) != version for name, version in CHECKED.items()):
        return False
    files = [file for file in metadata.files("openrlhf") or [] if file.suffix == ".py"]
    package = find_spec("openrlhf")  # another one may come first on the path
    is_found = package is not None and package.origin in [str(file.locate()) for file in files]
    return is_found and all(map(_is_as_installed, files))


def _is_as_installed(file: metadata.PackagePath) -> bool:
    if file.hash is None or file.hash.mode != "sha256":
        return False
    try:
        digest = hashlib.sha256(Path(file.locate()).read_bytes()).digest()
    except OSError:
        return False
    return base64.urlsafe_b64encode(digest).decode().rstrip("=") == file.hash.value


def problems_of_host() -> list[str]:
    """What of the host is missing or changed, one line each; empty when this package can run on it."""
    return [] if is_unchanged() else check_host()
