"""Looks at something every few seconds, in a thread of its own."""

import threading
from collections.abc import Callable


class Watch:
    """Calls look() every `every` seconds until it is stopped, and once more then."""

    def __init__(self, look: Callable[[], None], every: float, name: str) -> None:
        """Start. name: of the thread."""
        self._look, self._every = look, every
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True, name=name)
        self._thread.start()

    def _follow(self) -> None:
        while not self._stopped.wait(self._every):
            self._look()
        self._look()

    def stop(self, wait: float | None = None) -> None:
        """Return after the last look, or after so many seconds if it hangs."""
        self._stopped.set()
        self._thread.join(wait)
