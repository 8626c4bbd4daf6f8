"""What the runs were, where they stand, and what came of them: one row a fact, one column a run."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from typing import Any

from deltal_openrlhf.reports.html import Cell, Text
from deltal_openrlhf.reports.numbers import MISSING, number, percent, rate, seconds
from deltal_openrlhf.training_report.folder import TrainingRun
from deltal_openrlhf.training_report.panels import EVAL_PREFIX, EVAL_SUFFIX, LENGTH, eval_sets

NOT_SAID = "not said by this run"
Fact = Callable[[TrainingRun], Cell]


def rows(runs: Sequence[TrainingRun]) -> list[list[Cell]]:
    """Rows whose first cell names the fact. A fact that no run tells is left out, unless it is what the loss was."""
    found: list[list[Cell]] = [[name, *map(fact, runs)] for name, fact in _facts(runs)]
    return [row for row in found if any(cell not in (None, MISSING) for cell in row[1:])]


def aggregation(run: TrainingRun) -> str:
    """ "deltal, α 0.75, scope step, M 1024"."""
    if run.settings is None:
        return NOT_SAID
    loss = run.settings.loss
    words = [
        loss["mode"],
        f"α {loss['alpha']:g}" if loss.get("alpha") is not None else "",
        f"scope {loss['scope']}" if loss.get("scope") else "",
        f"M {loss['max_length']:g}",
        "responses that are cut off are filtered" if loss.get("overlong_filtering") else "",
        "plain SGD" if loss.get("sgd") else "",
    ]
    return ", ".join(filter(None, words))


def _facts(runs: Sequence[TrainingRun]) -> Iterator[tuple[str, Fact]]:
    yield "steps", _steps
    yield "aggregation", lambda run: Text(aggregation(run))
    yield "model", lambda run: _text(run, "actor.model_name_or_path")
    yield "prompts from", lambda run: _text(run, "data.prompt_dataset")
    yield "a step", _batch
    yield "learning rate", lambda run: _rate(run.flag("actor.adam.lr"))
    yield "advantages", lambda run: _text(run, "algo.advantage.estimator")
    yield "seed", lambda run: _text(run, "train.seed")
    yield "time of all steps", lambda run: seconds(_sum(run, "timing/step_total"))
    yield "last step written", _written
    yield "reward, first fifth → last fifth", lambda run: _change(run, "rollout/reward_mean")
    yield "mean length, first fifth → last fifth", lambda run: _change(run, f"{LENGTH}mean")
    yield "cut off, last fifth", lambda run: percent(_mean(_fifth(run, "rollout/truncated_rate", last=True)))
    yield (
        "prompts without signal, last fifth",
        lambda run: percent(_mean(_fifth(run, "deltal/groups_without_signal", last=True))),
    )
    for name in eval_sets(runs):
        yield f"last evaluation, {name}", lambda run, name=name: _evaluation(run, name)  # type: ignore[misc]


def _steps(run: TrainingRun) -> str:
    last = run.metrics[-1]
    total = last.get("total_steps")
    if total is None:
        return str(last["step"])
    return f"{last['step']} of {total}, {'done' if run.is_finished else 'not done'}"


def _batch(run: TrainingRun) -> Cell:
    prompts, responses = run.flag("rollout.batch_size"), run.flag("rollout.n_samples_per_prompt")
    if prompts is None:
        return None
    return Text(f"{prompts} prompts × {responses} responses, {run.flag('train.batch_size')} an optimizer step")


def _text(run: TrainingRun, flag: str) -> Cell:
    value = run.flag(flag)
    return None if value is None else Text(value)


def _rate(value: float | None) -> str:
    return MISSING if value is None else rate(value)


def _written(run: TrainingRun) -> str:
    at = run.metrics[-1].get("time")
    return MISSING if at is None else f"{datetime.fromtimestamp(at, timezone.utc):%Y-%m-%d %H:%M} UTC"


def _known(run: TrainingRun, key: str) -> list[float]:
    return [row[key] for row in run.metrics if row.get(key) is not None]


def _sum(run: TrainingRun, key: str) -> float | None:
    known = _known(run, key)
    return sum(known) if known else None


def _fifth(run: TrainingRun, key: str, *, last: bool) -> list[float]:
    known = _known(run, key)
    size = -(-len(known) // 5)
    return known[-size:] if last else known[:size]


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _change(run: TrainingRun, key: str) -> str:
    first, last = (_mean(_fifth(run, key, last=last)) for last in (False, True))
    return MISSING if first is None else f"{number(first)} → {number(last)}"


def _evaluation(run: TrainingRun, name: str) -> Cell:
    key = f"{EVAL_PREFIX}{name}{EVAL_SUFFIX}"
    rows: list[dict[str, Any]] = [row for row in run.evals if row.get(key) is not None]
    if not rows:
        return None
    last = rows[-1]
    return {"value": last[key], "low": last.get(f"{key}_low"), "high": last.get(f"{key}_high"), "resolved": True}
