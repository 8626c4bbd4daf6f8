"""The parser of our commands."""

import argparse
from importlib.util import find_spec
from typing import Any, NoReturn

REPORT_PACKAGES = ("matplotlib", "scipy", "markupsafe")


def check_report_packages() -> None:
    """Raises ValueError if what the reports are made with is not installed: before the work, not after it."""
    missing = [name for name in REPORT_PACKAGES if find_spec(name) is None]
    if missing:
        raise ValueError(f"{missing[0]} is not installed, the report needs it: pip install -e '.[plots]' in the clone")


class OneLineParser(argparse.ArgumentParser):
    """Bad flags end with exit code 2 and one line; no flag may be abbreviated."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")
