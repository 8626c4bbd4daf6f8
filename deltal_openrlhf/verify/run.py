"""Runs the parts of `deltal verify` in their order, each with its share of the time. A part that fails does not stop the next."""

import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from deltal_openrlhf.verify import gradients, guards, logprob, machine, overhead, sharded
from deltal_openrlhf.verify.outcome import Budget, Outcome, Report, last_line

# name -> (its cases, its share of the time relative to the other parts that run)
PARTS: dict[str, tuple[Callable[[Budget], Iterator[Outcome]], float]] = {
    "machine": (machine.run, 0.08),
    "gradients": (gradients.run, 0.37),
    "guards": (guards.run, 0.12),
    "megatron": (sharded.run, 0.25),
    "logprob": (logprob.run, 0.08),
    "overhead": (overhead.run, 0.10),
}


def verify(names: Sequence[str], seconds: float, json_path: Path | None) -> Report:
    """Run the parts in the order of PARTS. The report holds the cases that passed and those that failed."""
    end = time.monotonic() + seconds
    with Report(json_path) as report, tempfile.TemporaryDirectory() as folder:
        chosen = [name for name in PARTS if name in names]
        if "machine" not in chosen:
            report.add(machine.versions_there())  # figures mean nothing without what they were found on
        for i, name in enumerate(chosen):
            rest = sum(PARTS[other][1] for other in chosen[i:])
            # Later parts get what earlier ones left over. A part gets a little even where nothing is left.
            share = max((end - time.monotonic()) * PARTS[name][1] / rest, 0.05 * seconds)
            console = Path(folder, f"{name}.log")
            console.touch()
            for outcome in _outcomes(name, Budget(share, console)):
                if outcome.ok is False:
                    outcome.values["console"] = console.read_text(encoding="utf-8", errors="replace")[-4000:]
                report.add(outcome)
    return report


def _outcomes(name: str, budget: Budget) -> Iterator[Outcome]:
    try:
        yield from PARTS[name][0](budget)
    except Exception as error:  # noqa: BLE001 - the next part has to run
        values = {"error": traceback.format_exc()[-4000:]}
        yield Outcome(name, "the part ended early", ok=False, said=last_line(error), values=values)
