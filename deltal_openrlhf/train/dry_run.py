"""--dry_run: prints every setting of a run and starts nothing. launch.py has checked the flags as for a real start."""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from deltal_openrlhf import cpu
from deltal_openrlhf.arguments import Arguments
from deltal_openrlhf.host import planned_steps as steps
from deltal_openrlhf.host.optimizer_flags import WITH_LEAST_RATE
from deltal_openrlhf.host.settings import LossSettings, longest_response
from deltal_openrlhf.host.worker_groups import models_of_run
from deltal_openrlhf.reports.numbers import count, rate
from deltal_openrlhf.runs.redaction import shown
from deltal_openrlhf.train import gpus, least_memory
from deltal_openrlhf.train.checks import data_parallel_ranks, describe_layout
from deltal_openrlhf.train.data_files import missing_files
from deltal_openrlhf.train.recipes import (
    EXPERIMENTS,
    NO_PART_OF_IT,
    REPOSITORY,
    Experiment,
    method_differences,
    recipe_of,
)
from deltal_openrlhf.train.start import Start, fit_device

LONG = 48


class Given(NamedTuple):
    """The flags that a run sets.

    origins: FILE:LINE or "command line", by dest. defaults: the parser's own value of every flag, by dest.
    """

    origins: dict[str, str]
    defaults: Mapping[str, Any]

    def beyond(self, args: Arguments, recipe: str, experiment: Experiment) -> list[str]:
        """Flags changed outside of the recipe that the authors' experiment knows nothing of."""
        return [
            flag
            for flag, where in self.origins.items()
            if where.rpartition(":")[0] != recipe
            and flag not in experiment.flags()
            and not flag.startswith(tuple(name for name in NO_PART_OF_IT if name.endswith(".")))
            and flag not in NO_PART_OF_IT
            and _text(cpu.lookup(args, flag)) != _text(self.defaults[flag])
        ]


def differences(args: Arguments, settings: LossSettings, recipe: str, given: Given) -> list[tuple[str, str, str]]:
    """List (what, ours, the authors') for everything in which this run differs from the authors'."""
    experiment = EXPERIMENTS[Path(recipe).stem]
    ours = {flag: cpu.lookup(args, flag) for flag in experiment.flags()}
    alpha = settings.alpha if settings.alpha_window is None else args.deltal.alpha
    ours |= {"deltal.alpha": alpha, "deltal.scope": settings.scope, "deltal.max_length": settings.max_length}
    rows = [
        (f"--{flag}", _text(ours[flag]), _text(theirs))
        for flag, theirs in experiment.flags().items()
        if _text(ours[flag]) != _text(theirs)
    ]
    rows += [
        (f"--{flag}", _text(cpu.lookup(args, flag)), "not in the authors' experiment")
        for flag in given.beyond(args, recipe, experiment)
    ]
    nodes, per_node = args.actor.num_nodes, args.actor.num_gpus_per_node
    if (nodes, per_node) != (1, experiment.gpus):
        rows.append(("nodes x GPUs", f"{nodes} x {per_node}", f"1 x {experiment.gpus}"))
    return [*rows, *method_differences(args, experiment)]


def report(start: Start, given: Given) -> str:
    """The text that --dry_run prints."""
    lines = [*_flags(start, given), *_layout(start)]
    here = ", of which this machine has none: without GPUs each is a process" if start.on_cpu else ""
    lines += ["", f"GPUs: {gpus.total(start.args)}{here}"]
    lines += _table([(", ".join(part.models), str(part.gpus), part.flags) for part in gpus.requests(start.args)])
    lines += _memory(start)
    lines += _sizes(start)
    lines += ["", "Loss", f"  {start.settings.describe()}"]
    lines += ["", *_comparison(start.args, start.settings, given)]
    changed, refused = _on_this_device(start)
    if notes := _run_notes(start) + changed:
        lines += ["", "Notes", *(f"  {note}" for note in notes)]
    refused = missing_files(start.args, of_workers=not gpus.joins_cluster()) + refused
    return "\n".join([*lines, "", *_verdict(start, refused)])


def _flags(start: Start, given: Given) -> list[str]:
    # With a layout the backend has set the last one, which the user may have given as 1.
    hidden = ("config", "dry_run") + (("ds.tensor_parallel_size",) if start.layout else ())
    rows = [
        (dest, _text(cpu.lookup(start.args, dest)), where)
        for dest, where in given.origins.items()
        if dest not in hidden
    ]
    return ["Flags (all others are OpenRLHF's defaults)", *_table(rows)]


def _layout(start: Start) -> list[str]:
    """How the backend splits the model, if it does."""
    if start.layout is None:
        return []
    return [
        "",
        start.backend.title,
        f"  {describe_layout(start.layout, start.args)}",
        f"  --ds.tensor_parallel_size is set to {start.layout.replica}, the ranks of one copy of the model: OpenRLHF sends them the same "
        "responses",
    ]


def _memory(start: Start) -> list[str]:
    rows = least_memory.rows(start.args)
    return ["", "Memory of a rank, at least", *_table(rows)] if rows else []


def _sizes(start: Start) -> list[str]:
    """The lines about batches and tokens. Tokens are upper bounds: every prompt and response has its largest length."""
    args, layout, longest = start.args, start.layout, start.args.data.max_len
    ranks = data_parallel_ranks(args)
    responses = args.rollout.batch_size * args.rollout.n_samples_per_prompt
    per_rank = args.train.batch_size // ranks
    if budget := start.backend.token_budget(args):
        # A response that is longer than the limit still makes a micro batch of its own.
        most = -(-per_rank // max(1, budget // longest))
        micro, tokens = "1" if most == 1 else f"1 to {most}, by tokens", max(budget, longest)
    else:
        micro = str(per_rank // args.train.micro_batch_size)
        tokens = args.train.micro_batch_size * (layout.padded(longest) if layout else longest)
    per_rollout = responses // args.train.batch_size * args.train.max_epochs
    per_engine = -(-responses // (args.vllm.num_engines or 1))
    in_batches = [
        ("responses per rollout", f"{responses:,}", "--rollout.batch_size x --rollout.n_samples_per_prompt"),
        ("optimizer steps per rollout", str(per_rollout), f"of {args.train.batch_size:,} responses"),
        (
            "micro batches per optimizer step and rank",
            micro,
            f"{count(ranks, 'data parallel rank' if layout else 'rank')}, {count(per_rank, 'response')} each",
        ),
        *_length(start),
    ]
    in_tokens = [
        ("in a micro batch", f"{tokens:,}", "forward and backward at once"),
        ("to train on per rollout", f"{responses // ranks * longest:,}", ""),
        ("to generate and read per rollout and engine", f"{per_engine * longest:,}", ""),
    ]
    where = f"copy of the model, on {count(layout.replica, 'GPU')}" if layout else "GPU"
    return ["", "Batches", *_table(in_batches), "", f"Tokens per {where}, at most", *_table(in_tokens)]


def _length(start: Start) -> Iterator[tuple[str, str, str]]:
    """The rows about the whole run: its steps, its learning rate and its checkpoints."""
    args, rows = start.args, start.data.sets.get("data.prompt_dataset")
    planned = total = None
    if rows is None or (rows.long is None and args.deltal.skip_long_prompts):
        yield "PPO steps of the run", "unknown", f"until the {'prompts are' if rows is None else 'tokenizer is'} there"
    else:
        most = "at most " if args.algo.dynamic_filtering_enable else ""
        size, episodes = steps.rollout_prompts(args), args.train.num_episodes
        rest = rows.total % size
        total = -(-rows.total // size) * episodes
        of = f"{count(rows.total, 'prompt')} x {count(episodes, 'episode')} / {size:,} a rollout"
        yield (
            "PPO steps of the run",
            f"{most}{total:,}",
            of + (f"; the last rollout of an episode has {rest:,}" if rest else ""),
        )
        alone = steps.steps_without_the_actor(args, lambda responses: _steps_of_rollout(start, responses))
        planned = steps.planned_steps(args, rows.total, lambda responses: _steps_of_rollout(start, responses))
        planned = max(0, planned - alone)
        yield (
            "optimizer steps of the run",
            f"{most}{planned:,}",
            f"of the policy, after {alone:,} of the critic alone (--critic.freezing_steps)" if alone else "",
        )
    yield "learning rate", *_learning_rate(args, planned)
    yield "checkpoints", *_checkpoints(args, total)


def _steps_of_rollout(start: Start, responses: int) -> int:
    """The optimizer steps of one pass over a rollout, as steps_of_rollout of the backend's strategy, whose import takes seconds."""
    args = start.args
    if start.backend.equal_micro_batches(args):
        return steps.steps_in_micro_batches(args, responses)
    if args.train.dynamic_batch_enable:
        return steps.steps_in_dynamic_batches(args, responses)
    return -(-steps.largest_share(args, responses) // (args.train.batch_size // steps.data_parallel_ranks(args)))


def _learning_rate(args: Arguments, planned: int | None) -> tuple[str, str]:
    """The rate, and how it changes. planned: the optimizer steps of the run, None if unknown."""
    actor = args.actor
    flags = ["actor.muon.lr", "actor.adam.lr"] if actor.optim == "muon" else ["actor.adam.lr"]
    highest = [cpu.lookup(args, flag) for flag in flags]
    least = " and ".join(rate(value * actor.min_lr_ratio) for value in highest)
    schedule = actor.lr_scheduler + (f" down to {least}" if actor.lr_scheduler in WITH_LEAST_RATE else "")
    share = actor.lr_warmup_ratio
    if actor.lr_scheduler == "constant" or not share:  # transformers warms this schedule up in no case
        warm_up = "no warm-up"
    elif planned is None:
        warm_up = f"warm-up of {100 * share:g} % of the optimizer steps"
    else:
        warm_up = f"warm-up of {count(math.ceil(planned * share), 'optimizer step')}"
    named = " and ".join(f"--{flag}" for flag in flags)
    return " and ".join(map(rate, highest)), f"{named}; {schedule}, {warm_up}"


def _checkpoints(args: Arguments, total: int | None) -> tuple[str, str]:
    """How often one is saved, and why. total: the PPO steps of the run, None if unknown."""
    ckpt, flag = args.ckpt, f"--ckpt.save_steps is {args.ckpt.save_steps}"
    if ckpt.disable_ds:
        folders = "; --ckpt.save_hf saves models between" if ckpt.save_hf else ""
        return "none to resume from", f"--ckpt.disable_ds{folders}; the model is saved at the end"
    best = args.eval.dataset and ckpt.best_metric_key != "none" and 0 < args.eval.steps <= (total or math.inf)
    if ckpt.save_steps > 0 and (total is None or ckpt.save_steps <= total):
        every = "every PPO step" if ckpt.save_steps == 1 else f"every {ckpt.save_steps:,} PPO steps"
        return every, "--ckpt.save_steps" + (", and after each best evaluation" if best else "")
    if best:
        return "after each best evaluation", f"{flag}; the model is saved at the end"
    return "none before the end", f"{flag}; the model is saved at the end"


def _comparison(args: Arguments, settings: LossSettings, given: Given) -> list[str]:
    recipe = recipe_of(args)
    if recipe is None:
        return [
            "Compared with the authors: no --config is one of their experiments, so there is nothing to compare with"
        ]
    experiment = EXPERIMENTS[Path(recipe).stem]
    lines = [f"Compared with the authors' {experiment.script} ({REPOSITORY})"]
    for what, ours, theirs in differences(args, settings, recipe, given):
        lines += [f"  {what}", f"      here     {ours}", f"      authors  {theirs}"]
    if args.actor.model_name_or_path != experiment.flags()["actor.model_name_or_path"]:
        lines.append("  The authors published settings for Qwen/Qwen2.5-3B only.")
    return lines


def _run_notes(start: Start) -> list[str]:
    args = start.args
    notes = [*start.warnings(), *start.data.lines()]
    notes += [f"resumes from checkpoint {start.resumed} in {args.ckpt.path}"] if start.resumed else []
    given, longest = args.deltal.max_length, longest_response(args)
    if given is not None and given != longest:
        notes.append(
            f"--deltal.max_length is {given:g}, a response may have {longest} tokens: M is not the longest response"
        )
    return notes


def _on_this_device(start: Start) -> tuple[list[str], list[str]]:
    """What a real start would change on this machine, and why it would be refused. The flags above are shown as they were given."""
    if not start.on_cpu:
        return [], []
    args = copy.deepcopy(start.args)
    try:
        changed = fit_device(args, start.backend, on_cpu=True)
    except ValueError as error:
        return [], [f"this machine has no GPU: {error}"]
    refused = []
    try:
        least_memory.check(args, on_cpu=True)
    except ValueError as error:
        refused.append(str(error))
    return [f"this machine has no GPU, so a real start would set {note}" for note in changed], refused


def _verdict(start: Start, refused: Sequence[str]) -> list[str]:
    if refused:
        return [
            f"A real start would be refused here, for {count(len(refused), 'reason')}:",
            *(f"  {why}" for why in refused),
        ]
    if start.is_finished:
        return ["A real start would do nothing, because this run has ended."]
    unseen = [] if start.on_cpu else ["the GPUs"]
    unseen += ["the reward service"] if "://" in (start.args.reward.remote_url or "") else []
    models = [name for _, name in models_of_run(start.args) if not Path(name).is_dir()]
    unseen += ["what is on the hub"] if models or start.data.unread else []
    return [
        f"A real start would begin, unless it finds a fault in {' or '.join(unseen)}."
        if unseen
        else "A real start would begin."
    ]


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(_text, value))
    return f"{value:g}" if isinstance(value, float) else shown(value)


def _table(rows: list[tuple[str, str, str]]) -> list[str]:
    """Align columns. A value longer than LONG moves the next column."""
    widths = [min(LONG, max((len(row[i]) for row in rows), default=0)) for i in range(2)]
    return [f"  {a:<{widths[0]}}  {b:<{widths[1]}}  {c}".rstrip() for a, b, c in rows]
