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
from deltal_openrlhf.quickstart import evaluate, sizes, stages, task, training
from deltal_openrlhf.quickstart.given import GivenModel
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
FORMAT = 1
"""Part of all settings: raise it when a stage's code changes what it makes."""

Record = dict[str, Any]
"""What Stage.run returns."""


class QuickStart:
    """One run of the command line."""

    def __init__(self, args: argparse.Namespace, device: str, given: GivenModel | None) -> None:
        """device: cpu or cuda. given: the model of --model."""
        self.args, self.out = args, Path(args.out)
        self.checkpoint = self.out / "checkpoint"
        self.size = sizes.CPU if device == "cpu" else replace(sizes.CPU, device=device)
        self.problems = self.size.task.held_out(task.HELD_OUT)
        # Some are the same numbers in another order, which is no independent evidence.
        self.groups = [same_problem(problem) for problem in self.problems]
        self.training = Training(
            start=Path(given.folder) if given else self.out / "start",
            out=self.out,
            prompts=self.out / "train.jsonl",
            loss=["--loss_agg", args.loss_agg, *(["--alpha", f"{args.alpha:g}"] if args.loss_agg == "deltal" else [])],
            steps=args.steps,
            seed=args.seed,
            control=args.shuffle_rewards,
            given=given,
            device=device,
        )
        # On the CPU without --model these are the settings of all runs before: they resume.
        of_start = {"format": FORMAT, "seed": args.seed} | ({"device": device} if device != "cpu" else {})
        if given is None:
            of_start["supervised_steps"] = self.size.steps
        else:
            of_start |= {"model": given.folder, "weights": given.identity, "prompts": given.prompts}
        of_training = {**of_start, "loss": self.training.loss, "steps": args.steps, "control": args.shuffle_rewards}
        self.start = Stage(self.out / "start.json", "supervised start", of_start, makes=self.training.start)
        self.before = Stage(self.out / "before.json", "accuracy before", of_start)
        name = f"training with {' '.join(self.training.loss)}"
        self.trained = Stage(self.out / "train.json", name, of_training, makes=self.checkpoint / "config.json")
        self.after = Stage(self.out / "after.json", "accuracy after", of_training)

    def run(self) -> None:
        """All stages and the report. Raises TrainingFailed."""
        measured = "about 6 minutes on 2 cores, " if self.size is sizes.CPU and not self.training.given else ""
        print(f"deltal quickstart: {measured}all of it in {self.out}", flush=True)
        records = [] if self.training.given else [self.start.run(self._supervised_start)]
        before = self.before.run(lambda: self._evaluation(self.training.start))
        accuracy = self._accuracy(before)
        print(f"  held-out accuracy {accuracy.value:.3f}", flush=True)
        trained = self.trained.run(lambda: self._train(accuracy))
        after = self.after.run(lambda: self._evaluation(self.checkpoint))
        self._report([*records, before, trained, after])

    def kept(self) -> str:
        """After an interruption: what the same command does not do again."""
        of_all = [*([] if self.training.given else [self.start]), self.before, self.trained, self.after]
        done = [stage.name for stage in of_all if stage.record()]
        checkpoint = newest(self.out / "ckpt" / "_actor")
        is_begun = stages.read_record(self.out / BEGUN) == self.trained.settings
        if checkpoint and is_begun and self.trained.name not in done:
            done.append(f"{checkpoint} of the training")
        if not done:
            return "no stage was finished, so the same command begins anew"
        return f"kept in {self.out}: {', '.join(done)}; the same command resumes after that"

    def _supervised_start(self) -> dict:
        return stages.in_child(supervised_start, self.size, self.args.seed, self.training.start)

    def _evaluation(self, folder: Path) -> dict:
        how = self.training.max_new_tokens, self.training.kind, self.training.device
        return stages.in_child(evaluate.evaluate, folder, self.problems, *how)

    def _train(self, before: Estimate) -> dict:
        _set_aside_other_settings(self.out, self.trained.settings)
        training.write_prompts(self.training, chance=before.value if self.training.control else None)
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
            f"Countdown, {f'{args.model}, ' if args.model else ''}{' '.join(self.training.loss)}, seed {args.seed}"
            + (", rewards shuffled" if args.shuffle_rewards else "")
        )
        metrics = metrics_file.read_metrics(self.checkpoint / metrics_file.NAME)
        limit = self.training.max_new_tokens
        report.plot(metrics, accuracies["before"], accuracies["after"], limit, title, out / "plot.png")
        summary = {
            **report.summary_of(accuracies),
            "steps": args.steps,
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
        print(f"{summary['seconds']:.0f} s, {summary['peak_memory_gb']:.1f} GB of memory at most")
        print(f"checkpoint (transformers, vLLM): {self.checkpoint}")
        print(f"plot: {summary['plot']}\nsummary: {out / 'summary.json'}")
        (run,) = read_runs([self.checkpoint])
        write_page([replace(run, evals=report.evaluations(accuracies, args.steps))], out / PAGE)
        print(f"curves and sampled responses: {out / PAGE}")
        print(*self._next(), sep="\n")

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
                args.steps,
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
