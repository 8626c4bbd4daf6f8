"""Handles disk errors of one rank while DeepSpeed saves. DeepSpeed writes between barriers, where the other ranks would wait for the failed
one.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from deltal_openrlhf.host.rebind import rebound


@contextmanager
def raised_at_the_end(engine: Any) -> Iterator[None]:
    """Inside this context, a function that writes an engine's files keeps its error and returns, so the rank reaches the barriers. The
    first error is raised at the end.

    It is raised too if something else raises on the way. Gathering the states before they are written is not covered.
    """
    errors: list[Exception] = []

    def keeping(write: Callable) -> Callable:
        def call(*given: Any, **options: Any) -> Any:
            try:
                return write(*given, **options)
            except Exception as error:  # noqa: BLE001 - raised at the end
                errors.append(error)

        return call

    files = engine.checkpoint_engine
    with ExitStack() as stack:
        for owner, name in ((files, "makedirs"), (files, "save"), (engine, "_copy_recovery_script")):
            stack.enter_context(rebound(owner, name, keeping(getattr(owner, name))))
        try:
            yield
        finally:
            if errors:
                raise errors[0]
