"""The interface between OpenRLHF's pipeline and a training backend, which trains the policy, and the registry of backends.

host/ and train/ know a backend only by the protocols below. Its module is imported when a run or the parser asks for it. So a backend whose
package is missing costs nothing and does not affect the others.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from deltal_openrlhf.arguments import Arguments

DEFAULT = "deepspeed"
CLIENT_STATES = "client_states.pt"


class Entry(NamedTuple):
    """One backend of the registry.

    module: its BACKEND is the backend. mark: a file that only its checkpoints hold. None: its checkpoints are those without a mark.
    """

    module: str
    mark: str | None = None


REGISTRY = {
    "deepspeed": Entry("deltal_openrlhf.host.deepspeed_backend"),
    "megatron": Entry("megatron_ext.backend", mark=CLIENT_STATES),
}
"""By the value of --backend. Further flags of a backend are named --NAME.*, and belong to it alone."""


class Layout(Protocol):
    """How a backend spreads one copy of the model over several ranks."""

    @property
    def replica(self) -> int:
        """Ranks that hold one copy of the model. OpenRLHF sends them the same responses."""

    def padded(self, num_tokens: int) -> int:
        """Length in tokens of a row that holds this many tokens."""

    def data_parallel(self, world_size: int) -> int:
        """Copies of the model. Raises ValueError if the ranks do not come out even."""

    def describe(self) -> str:
        """Sizes in one line, as in "tensor 2, pipeline 2, context 1"."""


class Backend(Protocol):
    """One training backend. Its class does not inherit this: mypy then says which member is missing."""

    name: str
    """Its key in the registry."""
    title: str
    """How reports name it."""
    summary: str
    """What it does, for the help of --backend."""
    ignored: Collection[str]
    """Flags of the host, by dest, that have no meaning with it. Nothing sets them to suit a device."""

    def add_flags(self, parser: argparse.ArgumentParser) -> None:
        """Add its own flags."""

    def check(self, args: Arguments, defaults: Mapping[str, Any], on_cpu: bool) -> Layout | None:
        """The layout of the run, None where each rank holds a copy of the model of its own.

        Raises ValueError that names the flag for what the backend does not do, and for packages that are missing.
        defaults: the parser's value of every flag that the run sets, by dest.
        """

    def check_model(self, args: Arguments) -> None:
        """Raise ValueError for a model that the backend cannot train. Reads the model's configuration."""

    def token_budget(self, args: Arguments) -> int | None:
        """Tokens of a micro batch where tokens and not responses make one."""

    def fixed(self, args: Arguments) -> dict[str, Any]:
        """{flag: value} of what has to be as it was when a checkpoint was saved. In JSON's types."""

    def equal_micro_batches(self, args: Arguments) -> bool:
        """Whether every micro batch has to have --train.micro_batch_size responses."""

    def strategy(self) -> type:
        """What takes the place of the host's DeepspeedStrategy."""

    def policy_actor(self) -> type:
        """The class of the policy's workers."""

    def reference_actor(self) -> type | None:
        """The class of the reference model's workers; None for the host's own."""


class NotInstalled(ValueError):
    """The package that holds a backend is missing."""


def load(name: str) -> Backend:
    """The backend of this name. Raises NotInstalled, in one line, if its package is missing."""
    module = REGISTRY[name].module
    package = module.partition(".")[0]
    try:
        backend: Backend = importlib.import_module(module).BACKEND
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise NotInstalled(f"{name} needs the package {package}, which is not installed here") from error
    return backend


def installed() -> Iterator[Backend]:
    """The backends whose packages are installed, in the order of the registry."""
    for name in REGISTRY:
        try:
            yield load(name)
        except NotInstalled:
            continue


def saved_by(folder: Path) -> str:
    """The name of the backend that wrote the checkpoint in this folder. Its package need not be installed."""
    for name, entry in REGISTRY.items():
        if entry.mark is not None and (folder / entry.mark).exists():
            return name
    return DEFAULT
