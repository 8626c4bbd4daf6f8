"""Ports on which the host's process groups meet: they are held until torch listens there.

The host looks up a free port in one process, lets it go, and listens on it seconds later, once libraries are imported and other workers are
up. Ray opens many connections meanwhile, and one of them may get that port: "address already in use".
"""

import socket
from types import SimpleNamespace
from typing import Any

from deltal_openrlhf.runs.ports import hold_port
from deltal_openrlhf.standins.on_import import on_import
from deltal_openrlhf.standins.patch import Patch

_installed = False


_held: list[socket.socket] = []


class _HeldSocket:
    """What the host does with a socket to find a port: `with socket.socket() as s: s.bind(("", 0)); s.getsockname()[1]`."""

    def __enter__(self) -> "_HeldSocket":
        return self

    def __exit__(self, *_: object) -> None:
        """The port is held until this process ends."""

    def bind(self, address: tuple[str, int]) -> None:
        host, port = address
        if port:
            raise ValueError(f"the host binds port {port}, where it used to ask for any free one")
        _held.append(hold_port(host))
        self.getsockname = _held[-1].getsockname


def _holding(original: Any, owner: Any) -> SimpleNamespace:
    return SimpleNamespace(socket=_HeldSocket)


PATCHES = (
    Patch("openrlhf.trainer.ray.launcher", "socket", "the port of a group of workers", _holding),
    Patch("openrlhf.trainer.ray.ppo_actor", "socket", "the port of the weight sync", _holding),
)


def install() -> None:
    """Bind `socket` in the two modules of this process. Idempotent. Does not import the host."""
    global _installed
    if not _installed:
        _installed = True
        for patch in PATCHES:
            on_import(patch.module, patch.apply)
