"""Which saved responses a page shows, and the weight that each had in the loss."""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import escape

from deltal_openrlhf.reports.numbers import count
from deltal_openrlhf.runs import rollouts
from deltal_openrlhf.runs.rollouts import Header, Rollout
from deltal_openrlhf.training_report.folder import TrainingRun

MOST_STEPS = 12
"""So many steps of a run are read: the first, the last, and others at equal distances."""
MOST_ROWS = 480
MOST_BYTES = 1_500_000
"""The texts of a page take so many bytes as HTML."""
HEAD, TAIL = 4000, 1500
"""Characters of a long text that are kept."""


@dataclass(frozen=True)
class Sample:
    run: str
    step: int
    prompt: str
    label: str
    response: str | None
    reward: float
    length: int
    weight: float | None
    """x_i, None where the file does not say what the loss was."""
    relative: float | None
    """x_i as a multiple of the step's mean."""
    truncated: bool


@dataclass(frozen=True)
class Samples:
    shown: list[Sample]
    notes: list[str]
    """What is shown of how much, and what the weights are."""


def read_samples(runs: Sequence[TrainingRun]) -> Samples:
    """Raises ValueError, in one line, for a broken file."""
    files = [(run, path) for run in runs for path in _chosen(run)]
    shown: list[Sample] = []
    saved, differing = 0, []
    for run, path in files:
        header, of_step = rollouts.read(path, images=True)
        saved += len(of_step)
        weights = _weights(header, of_step)
        if weights and not _is_logged(run, header.step, weights):
            differing.append(header.step)
        shown += _within(
            _samples(run, header, of_step, weights),
            MOST_ROWS // len(files),
            MOST_BYTES // len(files),
        )
    files_read = count(len(files), "file")
    notes = [
        f"All {saved:,} responses of {files_read} are shown."
        if len(shown) == saved
        else f"{count(len(shown), 'response')} of the {saved:,} in {files_read} are shown, of prompts chosen at random."
    ]
    left_out = sum(len(run.rollouts) for run in runs) - len(files)
    if left_out:
        notes.append(f"{count(left_out, 'more file')} of saved responses are not read.")
    if any(sample.weight is not None for sample in shown):
        notes.append(
            "Weight: x_i in the loss Σ x_i S_i, from the lengths of all responses of the step; below it as a multiple of the mean."
        )
    if differing:
        steps = ", ".join(map(str, sorted(set(differing))))
        notes.append(
            f"The effective sample size of these weights is not the logged one (steps {steps}). The weights are those of one optimizer "
            "step with all responses."
        )
    if any(sample.response is None for sample in shown):
        notes.append("An earlier version of this package did not save the text of responses.")
    return Samples(shown, notes)


def _chosen(run: TrainingRun) -> list[Path]:
    """Up to MOST_STEPS files. The responses of the step after the last one may be there, those of a later step are not this run's."""
    last = run.metrics[-1]["step"]
    files = [path for step, path in run.rollouts.items() if step <= last + 1]
    if len(files) <= MOST_STEPS:
        return files
    return [files[round(i * (len(files) - 1) / (MOST_STEPS - 1))] for i in range(MOST_STEPS)]


def _weights(header: Header, of_step: Sequence[Rollout]) -> list[float] | None:
    """x_i of each response, with all of them as one optimizer step."""
    if header.loss is None:
        return None
    import torch  # takes a second, and only this needs it

    from deltal_openrlhf.aggregation import Aggregation

    loss = header.loss
    aggregation = Aggregation(loss["mode"], alpha=loss["alpha"], scope=loss["scope"], max_length=loss["max_length"])
    filters = loss.get("overlong_filtering")
    lengths = torch.tensor([0 if filters and rollout.truncated else rollout.length for rollout in of_step])
    found: list[float] = aggregation.weights(lengths, [rollout.prompt_index for rollout in of_step]).tolist()
    return found


def _is_logged(run: TrainingRun, step: int, weights: Sequence[float]) -> bool:
    """Whether the effective sample size of these weights is the one that the run logged; True where it logged none yet."""
    squares = sum(x * x for x in weights)
    logged = next((row.get("deltal/ess") for row in run.metrics if row["step"] == step), None)
    return not (logged and squares) or math.isclose(sum(weights) ** 2 / squares, logged, rel_tol=1e-3)


def _samples(
    run: TrainingRun, header: Header, of_step: Sequence[Rollout], weights: Sequence[float] | None
) -> Iterator[Sample]:
    """All of the step, its prompts in a random order that is the same every time."""
    n = header.n_samples_per_prompt
    mean = sum(weights) / len(weights) if weights else 0.0
    prompts = list(range(len(of_step) // n))
    random.Random(header.step).shuffle(prompts)
    for i in (prompt * n + sample for prompt in prompts for sample in range(n)):
        rollout = of_step[i]
        yield Sample(
            run=run.label,
            step=header.step,
            prompt=shortened(rollout.prompt),
            label=shortened(str(rollout.label)),
            response=None if rollout.response is None else shortened(rollout.response),
            reward=rollout.reward,
            length=rollout.length,
            weight=weights[i] if weights else None,
            relative=weights[i] / mean if weights and mean else None,
            truncated=rollout.truncated,
        )


def _within(samples: Iterator[Sample], rows: int, size: int) -> list[Sample]:
    """The first samples, as many as fit, and at least one."""
    taken: list[Sample] = []
    for sample in samples:
        size -= sum(len(escape(text).encode("utf-8")) for text in (sample.prompt, sample.label, sample.response or ""))
        if taken and (len(taken) >= rows or size < 0):
            break
        taken.append(sample)
    return taken


def shortened(text: str) -> str:
    """A long text without its middle."""
    left_out = len(text) - HEAD - TAIL
    return text if left_out <= 0 else f"{text[:HEAD]}\n[… {left_out:,} characters are left out …]\n{text[-TAIL:]}"
