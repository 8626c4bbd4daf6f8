"""What an error says, in one line."""


def first_line(error: BaseException) -> str:
    """The first line of what it says; its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def with_kind(error: BaseException) -> str:
    """Its kind, and all that it says: "ValueError: no such file"."""
    return " ".join(f"{type(error).__name__}: {error}".split())
