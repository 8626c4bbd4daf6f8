"""Stages that are not repeated: each leaves one JSON file, and is skipped while that file was made with the same settings."""

import json
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from deltal_openrlhf.parity.forkserver import end_with_parent
from deltal_openrlhf.quickstart.memory import PeakMemory
from deltal_openrlhf.runs.files import write_atomically

T = TypeVar("T")


@dataclass(frozen=True)
class Stage:
    """One stage.

    path: of its record. settings: everything that the result depends on, also the settings of earlier stages. makes: what its work leaves
    besides; without it the stage is not done.
    """

    path: Path
    name: str
    settings: dict[str, Any]
    makes: Path | None = None

    def record(self) -> dict | None:
        """{"settings", "result", "seconds", "peak_memory_gb"}; None where the stage is not done with these settings."""
        record = read_record(self.path)
        is_done = record is not None and record["settings"] == self.settings
        return record if is_done and (self.makes is None or self.makes.exists()) else None

    def run(self, work: Callable[[], dict]) -> dict:
        """Its record, with work() if it is not done. work: returns the result, as JSON."""
        record = self.record()
        if record is not None:
            print(f"{self.name}: done before ({record['seconds']:.0f} s), kept", flush=True)
            return record
        print(f"{self.name} ...", flush=True)
        start = time.monotonic()
        with PeakMemory() as memory:
            result = work()
        seconds = time.monotonic() - start
        record = {"settings": self.settings, "result": result, "seconds": seconds, "peak_memory_gb": memory.gigabytes}
        write_atomically(self.path, json.dumps(record))
        print(f"{self.name}: {seconds:.0f} s", flush=True)
        return record


def read_record(path: Path) -> dict | None:
    """None if there is no file. Files are written whole, so one that does not parse is an error worth seeing."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def in_child(function: Callable[..., T], *arguments: Any) -> T:
    """function(*arguments) in a process of its own, so that the memory it takes is free again before the training starts.

    The process ends with this one, whatever ends it, and when this call is interrupted.
    """
    context = multiprocessing.get_context("spawn")
    others = multiprocessing.active_children()
    with ProcessPoolExecutor(1, mp_context=context, initializer=end_with_parent) as child:
        try:
            return child.submit(function, *arguments).result()
        except KeyboardInterrupt:
            for process in {*multiprocessing.active_children()} - {*others}:
                process.kill()  # the executor would wait for what it does
            raise
