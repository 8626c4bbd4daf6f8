r"""What stands in \text{}."""

import re

TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")


def in_one_line(text: str) -> str:
    r"""Without \text{} around words, and with one space between them."""
    return " ".join(TEXT.sub(r" \1 ", text).split())
