"""The stages of one quick start, in order."""

import argparse
import json
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from deltal_openrlhf.data.countdown import same_problem
from deltal_openrlhf.host.whole_checkpoints import newest
from deltal_openrlhf.quickstart import evaluate, responses, sizes, stages, sums, task, training
from deltal_openrlhf.quickstart.given import GivenModel
from deltal_openrlhf.quickstart.kinds import KINDS
from deltal_openrlhf.quickstart.stages import Stage
from deltal_openrlhf.quickstart.training import Training
from deltal_openrlhf.runs import metrics_file
from deltal_openrlhf.runs.files import write_atomically
from deltal_openrlhf.runs.progress import Progress
from deltal_openrlhf.statistics import bootstrap
from deltal_openrlhf.statistics.estimate import Estimate
from deltal_openrlhf.training_report.folder import read_runs

BEGUN = "training_settings.json"
"""Of the training that was begun in --out."""
PAGE = "report.html"
SHOWN = 3
"""Problems whose responses are printed."""
FORMAT = 4
"""Part of all settings: raise it when a stage's code changes what it makes."""

Record = dict[str, Any]
"""What Stage.run returns."""


class QuickStart:
    """One run of the command line."""

    def __init__(self, args: argparse.Namespace, device: str, given: GivenModel | None) -> None:
        """device: cpu or cuda. given: the checked model of --model, None for the tiny one."""
        self.args, self.out = args, Path(args.out)
        self.checkpoint = self.out / "checkpoint"
        self.size = sizes.CPU if device == "cpu" else replace(sizes.CPU, device=device)
        self.given = given
        self.kind = KINDS[given.kind if given else "words"]
        self.problems = task.held_out(self.kind.draw, task.HELD_OUT)
        # Some are the same numbers in another order, which is no independent evidence.
        self.groups = [same_problem(problem) for problem in self.problems]
        has_learned = given is not None and not given.learns
        self.training = Training(
            start=Path(given.folder) if given and has_learned else self.out / "start",
            out=self.out,
            prompts=self.out / "train.jsonl",
            loss=["--loss_agg", args.loss_agg, *(["--alpha", f"{args.alpha:g}"] if args.loss_agg == "deltal" else [])],
            steps=args.steps or self.kind.steps,
            seed=args.seed,
            control=args.shuffle_rewards,
            device=device,
            kind=self.kind,
            longest_prompt=given.longest_prompt if given else sizes.CPU.task.longest_prompt,
        )
        of_start = {"format": FORMAT, "seed": args.seed} | ({"device": device} if device != "cpu" else {})
        if given is not None:
            of_start |= {"model": given.folder, "weights": given.identity, "prompts": given.kind}
        if not has_learned:
            of_start["supervised_steps"] = sums.SUPERVISED_STEPS if given else self.size.steps
        of_training = {
            **of_start,
            "loss": self.training.loss,
            "steps": self.training.steps,
            "control": args.shuffle_rewards,
        }
        started = [Stage(self.out / "start.json", "supervised start", of_start, makes=self.training.start)]
        self.started = [] if has_learned else started
        self.before = Stage(self.out / "before.json", "accuracy before", of_start)
        name = f"training with {' '.join(self.training.loss)}"
        self.trained = Stage(self.out / "train.json", name, of_training, makes=self.checkpoint / "config.json")
        self.after = Stage(self.out / "after.json", "accuracy after", of_training)

    def run(self) -> None:
        """All stages and the report. Raises TrainingFailed."""
        print(f"deltal quickstart: {self._promise()}all of it in {self.out}", flush=True)
        records = [stage.run(self._supervised_start) for stage in self.started]
        before = self.before.run(lambda: self._evaluation(self.training.start))
        print(f"  held-out accuracy {self._accuracy(before).value:.3f}", flush=True)
        trained = self.trained.run(self._train)
        after = self.after.run(lambda: self._evaluation(self.checkpoint))
        self._report([*records, before, trained, after])

    def kept(self) -> str:
        """After an interruption: what the same command does not do again."""
        of_all = [*self.started, self.before, self.trained, self.after]
        done = [stage.name for stage in of_all if stage.record()]
        checkpoint = newest(self.out / "ckpt" / "_actor")
        is_begun = stages.read_record(self.out / BEGUN) == self.trained.settings
        if checkpoint and is_begun and self.trained.name not in done:
            done.append(f"{checkpoint} of the training")
        if not done:
            return "no stage was finished, so the same command begins anew"
        return f"kept in {self.out}: {', '.join(done)}; the same command resumes after that"

    def _promise(self) -> str:
        """What it will take, where that was measured."""
        if self.size is not sizes.CPU or (minutes := self.kind.minutes) is None:
            return ""
        return f"about {minutes} minutes on 2 idle cores, up to {self.kind.gigabytes} GB of memory, "

    def _supervised_start(self) -> dict:
        if self.given:
            how = self.args.seed, self.training.device
            return stages.in_child(learn_sums, Path(self.given.folder), self.training.start, *how)
        return stages.in_child(supervised_start, self.size, self.args.seed, self.training.start)

    def _evaluation(self, folder: Path) -> dict:
        how = self.training.kind, self.training.device
        return stages.in_child(evaluate.evaluate, folder, self.problems, *how)

    def _train(self) -> dict:
        _set_aside_other_settings(self.out, self.trained.settings)
        training.write_prompts(self.training)
        training.train(training.command(self.training))
        return {}

    def _accuracy(self, evaluation: Record) -> Estimate:
        return bootstrap.mean(per_problem(evaluation), self.groups)

    def _report(self, records: Sequence[Record]) -> None:
        """Plot, summary.json, table and page. records: of the stages, in order."""
        from deltal_openrlhf.quickstart import report  # matplotlib is slow to import
        from deltal_openrlhf.training_report.page import write_page

        args, out = self.args, self.out
        before, _, after = records[-3:]
        accuracies = {"before": self._accuracy(before), "after": self._accuracy(after)}
        accuracies["difference"] = bootstrap.difference(per_problem(before), per_problem(after), self.groups)
        title = (
            f"{self.kind.title}, {f'{args.model}, ' if args.model else ''}{' '.join(self.training.loss)}, seed {args.seed}"
            + (", rewards by a coin" if args.shuffle_rewards else "")
        )
        metrics = metrics_file.read_metrics(self.checkpoint / metrics_file.NAME)
        limit = self.kind.max_new_tokens
        report.plot(metrics, accuracies["before"], accuracies["after"], limit, title, out / "plot.png")
        summary = {
            **report.summary_of(accuracies),
            "steps": self.training.steps,
            "seconds": sum(record["seconds"] for record in records),
            "peak_memory_gb": max(record["peak_memory_gb"] for record in records),
            "checkpoint": str(self.checkpoint),
            "plot": str(out / "plot.png"),
            "loss_agg": args.loss_agg,
            "alpha": args.alpha if args.loss_agg == "deltal" else None,
            "seed": args.seed,
            "model": args.model,
            "shuffle_rewards": args.shuffle_rewards,
        }
        write_atomically(out / "summary.json", json.dumps(summary, indent=2) + "\n")
        lengths = [float(np.mean(evaluation["result"]["lengths"])) for evaluation in (before, after)]
        print(f"\n{report.table(accuracies, *lengths)}\n")
        self._show_responses(before, after)
        print(f"{summary['seconds']:.0f} s, {summary['peak_memory_gb']:.1f} GB of memory at most")
        print(f"checkpoint (transformers, vLLM): {self.checkpoint}")
        print(f"plot: {summary['plot']}\nsummary: {out / 'summary.json'}")
        (run,) = read_runs([self.checkpoint])
        write_page([replace(run, evals=report.evaluations(accuracies, self.training.steps))], out / PAGE)
        print(f"curves and sampled responses: {out / PAGE}")
        print(*self._next(), sep="\n")

    def _show_responses(self, before: Record, after: Record) -> None:
        """Write responses.jsonl, the first response to each held-out problem before and after, and print some."""
        rows = responses.rows(self.kind, self.problems, before["result"], after["result"])
        path = self.out / "responses.jsonl"
        write_atomically(path, "".join(json.dumps(row) + "\n" for row in rows))
        print("\n".join(map(responses.shown, rows[:SHOWN])))
        print(f"\nresponses to all {len(rows)} problems: {path}")

    def _next(self) -> list[str]:
        """What a user may do after it."""
        args, lines = self.args, []
        if args.loss_agg == "deltal":
            words = [
                "--model",
                self.training.start,
                "--loss_agg",
                "token-mean",
                "--steps",
                self.training.steps,
                "--seed",
                args.seed,
            ]
            words += ["--shuffle_rewards"] if args.shuffle_rewards else []
            words += ["--out", self.out.with_name(f"{self.out.name}-token-mean")]
            lines.append(
                f"\nnext, another aggregation from the same start: deltal quickstart {shlex.join(map(str, words))}"
            )
        activate = Path(sys.prefix, "bin", "activate")
        if shutil.which("deltal") is None and activate.exists():
            lines.append(f"source {activate} puts deltal on the PATH")
        return lines


def supervised_start(size: sizes.Size, seed: int, folder: Path) -> dict:
    """Train the start model on traces and save it in `folder`. For a process of its own: transformers is imported here."""
    import torch

    from deltal_openrlhf.quickstart import model, supervised

    if size.device == "cpu":
        torch.set_num_threads(1)
    tokenizer = model.build_tokenizer(size)
    with Progress("  supervised start", "steps", size.steps, stream=sys.stdout) as progress:
        trained = supervised.train(tokenizer, size, seed=seed, progress=progress.update)
    model.save(trained, tokenizer, folder, size)
    return {}


def learn_sums(base: Path, folder: Path, seed: int, device: str) -> dict:
    """Train the model in `base` on sums, and save it in `folder`. For a process of its own: transformers is imported here."""
    from deltal_openrlhf.quickstart import supervised_sums

    with Progress("  supervised start", "steps", sums.SUPERVISED_STEPS, stream=sys.stdout) as progress:
        supervised_sums.make(base, folder, seed=seed, device=device, progress=progress.update)
    return {}


def per_problem(evaluation: Record) -> np.ndarray:
    """[problems]: the share of correct samples of each."""
    return np.array(evaluation["result"]["correct"], dtype=float).mean(axis=1)


def _set_aside_other_settings(out: Path, settings: dict[str, Any]) -> None:
    """A training that was begun with these settings resumes from its last saved step; one with others is moved to out/previous."""
    begun = out / BEGUN
    if stages.read_record(begun) == settings:
        return
    previous = out / "previous"
    made = ("checkpoint", "ckpt", "train.json", "after.json", "summary.json", "plot.png", PAGE)
    earlier = [out / name for name in made if (out / name).exists()]
    if earlier:
        shutil.rmtree(previous, ignore_errors=True)
        previous.mkdir()
        for folder in earlier:
            shutil.move(folder, previous / folder.name)
        print(f"  an earlier training had other settings: moved to {previous}", flush=True)
    write_atomically(begun, json.dumps(settings))
