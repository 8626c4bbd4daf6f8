"""Describes an error in one line."""


def first_line(error: BaseException) -> str:
    """The first line of the error's message, or its kind if the message is empty."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def with_kind(error: BaseException) -> str:
    """The error's kind and its whole message, such as "ValueError: no such file"."""
    return " ".join(f"{type(error).__name__}: {error}".split())
