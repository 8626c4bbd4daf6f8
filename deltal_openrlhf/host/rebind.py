"""Binds a name of the host to another value while a block runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def rebound(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Set owner.name to value, and restore it afterwards. Raises AttributeError if the host has no such name."""
    original = getattr(owner, name)
    was_own = name in vars(owner)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if was_own:
            setattr(owner, name, original)
        else:
            delattr(owner, name)
