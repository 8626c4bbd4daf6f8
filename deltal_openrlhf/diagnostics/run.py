"""The whole of `deltal diagnose`: responses, gradients, Gram matrices, findings, report. Every stage resumes where it stopped."""

import functools
import json
import resource
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from deltal_openrlhf.diagnostics import gram, page, plan, score_rows
from deltal_openrlhf.diagnostics.analyse import analyse
from deltal_openrlhf.diagnostics.excerpts import excerpts
from deltal_openrlhf.diagnostics.folder import GRAM, PROG, ROWS, DiagnosisFolder, earlier_settings
from deltal_openrlhf.diagnostics.gradients import Scores, load_model
from deltal_openrlhf.diagnostics.layers import layer_types
from deltal_openrlhf.diagnostics.obstacles import find
from deltal_openrlhf.diagnostics.plan import ModelShape, Plan
from deltal_openrlhf.diagnostics.recommend import training_flags
from deltal_openrlhf.diagnostics.sample import GradientSample
from deltal_openrlhf.diagnostics.settings import Settings
from deltal_openrlhf.diagnostics.sketch import Sketch, relative_error
from deltal_openrlhf.diagnostics.sources import Source
from deltal_openrlhf.models import checkpoint
from deltal_openrlhf.runs.files import write_atomically
from deltal_openrlhf.runs.packages import installed_versions
from deltal_openrlhf.runs.progress import Progress
from deltal_openrlhf.runs.rollouts import Rollout

FINDINGS, REPORT = "findings.json", "report.html"
FORMAT = 2
"""Of the folder. 1 drew prompts and sampled the last batch in another way, so that its folders cannot be continued."""
LOG_PROB_TOLERANCE = 0.01
"""Nats per token by which the model may differ from the sampler of saved rollouts without a warning. bfloat16 in vLLM stays below."""
PACKAGES = ("deltal-openrlhf", "torch", "transformers", "numpy", "scipy")


class Request(NamedTuple):
    """The flags that define the measurement."""

    model: str
    folder: Path  # of the model
    out: Path
    batch_prompts: int
    advantage: str
    max_length: float | None  # None: the source's
    projection: str  # auto, full or a width
    memory_gb: float
    seed: int
    device: torch.device
    command: str


def diagnose(request: Request, source: Source) -> dict[str, Any]:
    """Write into request.out, and return the content of findings.json.

    Raises ValueError, in one line, for faulty input, before the model's weights are read.
    """
    analysis = _analysis(request, source)
    shape = plan.read_shape(request.folder)
    source.check_vocabulary(shape.vocabulary)
    free = torch.cuda.mem_get_info(request.device)[0] if request.device.type == "cuda" else None
    projection = request.projection
    if (
        projection == "auto"
    ):  # more responses would fit a smaller sketch, which goes with none of the rows that are there
        projection = str(earlier_settings(request.out).get("projection", projection))
    budget = plan.make_plan(shape, source.prompts * source.n, request.memory_gb, projection, free)
    about_model = {
        "format": FORMAT,
        "seed": request.seed,
        "projection": "full" if budget.width is None else budget.width,
        "model_files": checkpoint.checksums(request.folder),
    }
    if (missing := budget.rows_bytes - _size(request.out / ROWS)) > 0 and not _is_done(request.out, source.prompts):
        plan.check_disk(request.out, missing)
    with DiagnosisFolder(request.out, lambda prompts: source.settings(prompts) | about_model, source.prompts) as work:
        _say(f"{source.prompts} prompts, {source.n} responses to each; {plan.describe(budget, shape)}")
        if work.held < source.prompts:
            _say(f"adds {source.prompts - work.held} prompts to the {work.held} that {request.out} holds")
        elif work.lines:
            _say(f"resumes with what {request.out} holds of an earlier run")
        rollouts, sample = _measure(request, source, budget, work)
        difference = score_rows.mean_log_prob_difference(work, rollouts)
        _warn_of_another_model(request.model, source, difference)
        steps = Progress(f"{PROG}: statistics", "steps", estimate=False, stream=sys.stdout)  # they take different times
        with work.stage("statistics"), steps:
            found = analyse(sample, analysis, steps.update)
        findings = {
            "format": found.pop("format"),
            "source": _facts(request, source, budget, shape, work) | {"log_prob_difference": difference},
            **found,
            "responses": excerpts(rollouts, request.seed),
        }
        page.write_report(findings, request.out)
        write_atomically(request.out / FINDINGS, json.dumps(findings, indent=1, allow_nan=False) + "\n")
    _answer(findings)
    _say(f"in {request.out}: {REPORT}, {FINDINGS}, plots")
    return findings


def _measure(
    request: Request, source: Source, budget: Plan, work: DiagnosisFolder
) -> tuple[list[Rollout], GradientSample]:
    """The responses and the Gram matrices of their gradients. Missing ones are computed."""
    load = functools.cache(lambda: load_model(request.folder, request.device))
    rollouts = source.read(work, load)
    if not (request.out / GRAM).exists():
        _say_obstacles(rollouts, source.n, request.batch_prompts)
        model = load()
        sketch = Sketch(model, layer_types(model), budget.width, request.seed)
        with Scores(model, sketch, temperature=source.temperature, tokens_a_pass=budget.tokens_a_pass) as scores:
            score_rows.compute_missing(work, rollouts, scores, sketch.dim)
        with work.stage("Gram matrices"):
            rows = np.memmap(request.out / ROWS, np.float32, "r", shape=(len(rollouts), sketch.dim))
            gram.save_grams(request.out / GRAM, gram.gram_matrices(rows, sketch.columns, budget.block_bytes))
    sample = GradientSample(
        lengths=np.array([rollout.length for rollout in rollouts]),
        rewards=np.array([rollout.reward for rollout in rollouts], dtype=np.float64),
        groups=np.arange(len(rollouts)) // source.n,
        truncated=np.array([rollout.truncated for rollout in rollouts]),
        grams=gram.load_grams(request.out / GRAM),
    )
    return rollouts, sample


def _facts(request: Request, source: Source, budget: Plan, shape: ModelShape, work: DiagnosisFolder) -> dict[str, Any]:
    """The entry `source` of findings.json."""
    kind = "full" if budget.width is None else "sketch"
    seconds = work.seconds()
    facts = {
        "model": request.model,
        "parameters": shape.parameters,
        **source.facts,
        "seed": request.seed,
        "projection": {"kind": kind, "width": budget.width, "relative_error": relative_error(budget.width)},
        "seconds": sum(seconds.values()),
        "seconds_by_stage": seconds,
        "peak_memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / plan.GB,
        "device": str(request.device),
        "versions": installed_versions(*PACKAGES),
        "command": request.command,
    }
    if request.device.type == "cuda":
        facts["peak_gpu_memory_gb"] = torch.cuda.max_memory_allocated(request.device) / plan.GB
    return facts


def _warn_of_another_model(model: str, source: Source, difference: float | None) -> None:
    """difference: see score_rows.mean_log_prob_difference."""
    if difference is not None and abs(difference) > LOG_PROB_TOLERANCE:
        _say(
            f"warning: the mean log-probability of a token under {model} differs by {difference:.3f} nats from the sampler's, so another "
            "model sampled these rollouts"
        )
    elif difference is None and "rollouts" in source.facts:
        _say(
            f"the rollouts hold no log-probabilities, so the command cannot check that {model} sampled them "
            "(docs/reference/diagnose.md says which weights did)"
        )


def _say(text: str) -> None:
    print(f"{PROG}: {text}", flush=True)


def _analysis(request: Request, source: Source) -> Settings:
    """What is computed from the sample. Raises ValueError for a request that the source cannot fulfil."""
    if source.n < 2:
        raise ValueError(f"{source.n} response to each prompt gives no advantage, allowed are 2 or more")
    max_length = request.max_length or source.longest
    if max_length is None:
        raise ValueError("the rollouts do not say how long a response may be: --max_length M in tokens is needed")
    batch_prompts = request.batch_prompts
    settings = Settings(
        advantage=request.advantage, max_length=max_length, batch_prompts=batch_prompts, seed=request.seed
    )
    settings.batches(source.prompts)
    return settings


def _say_obstacles(rollouts: Sequence[Rollout], n: int, batch_prompts: int) -> None:
    """Before hours of gradients: the answer begins with the same sentences."""
    lengths, rewards, truncated = (
        np.array([getattr(rollout, name) for rollout in rollouts]).reshape(-1, n)
        for name in ("length", "reward", "truncated")
    )
    for obstacle in find(lengths, rewards, truncated, batch_prompts):
        _say(f"before any gradient: {obstacle.text}")


def _answer(findings: Mapping[str, Any]) -> None:
    obstacles = findings["obstacles"]
    for obstacle in obstacles:
        _say(obstacle["text"])
    _say(findings["recommendation"]["text"])
    said, command = training_flags(findings["recommendation"], [obstacle["key"] for obstacle in obstacles])
    _say(said if command is None else f"{said} {command}")


def _is_done(folder: Path, prompts: int) -> bool:
    """Whether the Gram matrices of that many prompts are there."""
    return (folder / GRAM).exists() and earlier_settings(folder).get("prompts") == prompts


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
