"""The parser of our commands."""

import argparse
from typing import Any, NoReturn


class OneLineParser(argparse.ArgumentParser):
    """Bad flags end with exit code 2 and one line; no flag may be abbreviated."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")
