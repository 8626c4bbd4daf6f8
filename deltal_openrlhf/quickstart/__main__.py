"""`python -m deltal_openrlhf.quickstart`: from nothing to a model that reinforcement learning with ∆L made better, on 2 CPU cores or a GPU.

1. supervised start  a tiny Llama learns from search traces how to search and answer  -> start/
2. before            its accuracy on 256 held-out problems, 4 samples each
3. training          OpenRLHF (Ray, vLLM, DeepSpeed) with ∆L, 30 PPO steps            -> checkpoint/, with metrics.jsonl
4. after             accuracy of the trained checkpoint on the same problems
5. report            plot.png, summary.json and a table

--model takes a model of yours in place of 1. All of it lies in --out. An interrupted run resumes; a stage whose settings
changed is done again.
"""

import argparse
import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from deltal_openrlhf import cpu
from deltal_openrlhf.aggregation import MODES
from deltal_openrlhf.runs import metrics_file
from deltal_openrlhf.runs.files import write_atomically

if TYPE_CHECKING:
    from deltal_openrlhf.quickstart.given import GivenModel

FORMAT = 1
"""Part of all settings: raise it when a stage's code changes what it makes."""


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m deltal_openrlhf.quickstart", description=__doc__.split("\n\n")[0])
    parser.error = lambda message: parser.exit(2, f"{parser.prog}: error: {message}\n")
    parser.add_argument("--loss_agg", choices=MODES, default="deltal", help="loss aggregation")
    parser.add_argument("--alpha", type=float, default=1.0, help="exponent of ∆L, 0 to 1; only for --loss_agg deltal")
    parser.add_argument("--steps", type=int, default=30, help="PPO steps")
    parser.add_argument("--seed", type=int, default=0, help="seed of the supervised start and of the training")
    parser.add_argument("--out", type=Path, default=Path("runs/quickstart"), help="folder for everything")
    parser.add_argument(
        "--shuffle_rewards", action="store_true", help="control: rewards that ignore the answer; nothing is learned"
    )
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help="a folder or a name of the Hugging Face hub to train in place of the supervised start; asked in English through its chat "
        "template if it has one, unless its tokens are the task's words",
    )
    args = parser.parse_args(argv)
    if not 0 <= args.alpha <= 1:
        parser.error(f"--alpha is {args.alpha}; allowed is 0 to 1")
    if args.steps < 1:
        parser.error(f"--steps is {args.steps}; allowed is 1 or more")
    if args.seed < 0:
        parser.error(f"--seed is {args.seed}; allowed is 0 or more")
    args.out = args.out.absolute()
    if set(str(args.out)) & set(",@"):  # OpenRLHF splits the paths of data sets at these
        parser.error(f"--out is {args.out}; a path with , or @ cannot be used")
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    if cpu.is_needed():
        os.environ.update(cpu.environment())  # before transformers imports DeepSpeed, and for a quiet console
    try:
        try:
            device, given = _device(), _given(args)
        except ValueError as error:
            print(f"quickstart: error: {error}", file=sys.stderr)
            return 2
        return _run(args, device, given)
    except KeyboardInterrupt:
        print(f"quickstart: interrupted; the same command resumes it (in {args.out})", file=sys.stderr)
        return 130


def _device() -> str:
    """What to train and evaluate on: cpu or cuda. Raises ValueError where torch was built for GPUs and there is none."""
    import torch

    if cpu.is_needed():
        return "cpu"
    if not torch.cuda.device_count():
        raise ValueError(
            "torch was built for GPUs and sees none; deltal doctor says more. Without a GPU: "
            "DELTAL_SETUP_CPU=1 DELTAL_VENV=.venv-cpu bash scripts/quickstart.sh"
        )
    return "cuda"


def _given(args: argparse.Namespace) -> "GivenModel | None":
    """The model that --model names. Raises ValueError, in one line, if it cannot be trained."""
    if args.model is None:
        return None
    from deltal_openrlhf.quickstart import given, heavy, sizes
    from deltal_openrlhf.quickstart.stages import in_child

    try:
        model = in_child(heavy.find_model, args.model, sizes.CPU)
    except ValueError as error:
        raise ValueError(f"--model is {args.model}, allowed is a folder or a hub name of a model: {error}") from error
    print(f"quickstart: {args.model}: {given.SAYS[model.prompts]}", flush=True)
    return model


def _run(args: argparse.Namespace, device: str, given: "GivenModel | None") -> int:
    from deltal_openrlhf.quickstart import heavy, sizes, task, training
    from deltal_openrlhf.quickstart.stages import in_child, run_stage
    from deltal_openrlhf.statistics import paired

    out: Path = args.out
    size = sizes.CPU if device == "cpu" else replace(sizes.CPU, device=device)
    checkpoint = out / "checkpoint"
    problems = size.task.held_out(task.HELD_OUT)
    groups = [task.same_problem(problem) for problem in problems]
    measured = "about 6 minutes on 2 cores, " if device == "cpu" and given is None else ""
    print(f"quickstart: {measured}all of it in {out}", flush=True)

    # On the CPU without --model these are the settings of all runs before: they resume.
    start_settings = {"format": FORMAT, "seed": args.seed, **({"device": device} if device != "cpu" else {})}
    if given is None:
        start_folder, prompt_kind, max_new_tokens = out / "start", "words", size.task.max_new_tokens
        start_settings["supervised_steps"] = size.steps
    else:
        start_folder, prompt_kind, max_new_tokens = Path(given.folder), given.prompts, given.max_new_tokens
        start_settings |= {"model": given.folder, "weights": given.identity, "prompts": prompt_kind}
    loss = ["--loss_agg", args.loss_agg] + (["--alpha", str(args.alpha)] if args.loss_agg == "deltal" else [])
    train_settings = {**start_settings, "loss": loss, "steps": args.steps, "control": args.shuffle_rewards}

    def ppo() -> dict:
        _set_aside_other_settings(out, train_settings)
        prompts = out / "train.jsonl"
        chance = accuracy_before["mean"] if args.shuffle_rewards else None
        training.write_prompts(prompts, steps=args.steps, seed=args.seed, chance=chance, prompts=prompt_kind)
        training.train(
            training.command(
                start=start_folder,
                out=out,
                prompts=prompts,
                loss=loss,
                steps=args.steps,
                seed=args.seed,
                control=args.shuffle_rewards,
                given=given,
                device=device,
            )
        )
        return {}

    records = []
    if given is None:
        records.append(
            run_stage(
                out / "start.json",
                "supervised start",
                start_settings,
                lambda: in_child(heavy.supervised_start, size, args.seed, start_folder),
                start_folder,
            )
        )
    before = run_stage(
        out / "before.json",
        "accuracy before",
        start_settings,
        lambda: in_child(heavy.evaluation, start_folder, problems, max_new_tokens, prompt_kind, device),
    )
    accuracy_before = paired.accuracy(before["result"]["correct"], groups)
    print(f"  held-out accuracy {accuracy_before['mean']:.3f}", flush=True)
    try:
        trained = run_stage(
            out / "train.json", f"training with {' '.join(loss)}", train_settings, ppo, checkpoint / "config.json"
        )
    except training.TrainingFailed as failed:
        print(
            f"quickstart: the training ended with exit code {failed.code}, for the reason above; once that is mended, the same command "
            "resumes from the last save, if there was one",
            file=sys.stderr,
        )
        return 1
    after = run_stage(
        out / "after.json",
        "accuracy after",
        train_settings,
        lambda: in_child(heavy.evaluation, checkpoint, problems, max_new_tokens, prompt_kind, device),
    )

    _report(args, loss, groups, [*records, before, trained, after])
    return 0


def _report(args: argparse.Namespace, loss: list[str], groups: list, records: list[dict]) -> None:
    """Plot, summary.json and table. records: of the stages, in order. groups: task.same_problem of every held-out problem."""
    from deltal_openrlhf.quickstart import report
    from deltal_openrlhf.statistics import paired

    out, checkpoint = args.out, args.out / "checkpoint"
    before, _, after = records[-3:]
    accuracy_before = paired.accuracy(before["result"]["correct"], groups)
    accuracy_after = paired.accuracy(after["result"]["correct"], groups)
    title = f"Countdown, {f'{args.model}, ' if args.model else ''}{' '.join(loss)}, seed {args.seed}" + (
        ", rewards shuffled" if args.shuffle_rewards else ""
    )
    metrics = metrics_file.read_metrics(str(checkpoint / metrics_file.NAME))
    report.plot(metrics, accuracy_before, accuracy_after, title, out / "plot.png")
    summary = {
        **report.accuracies(before["result"]["correct"], after["result"]["correct"], groups),
        "steps": args.steps,
        "seconds": sum(record["seconds"] for record in records),
        "peak_memory_gb": max(record["peak_memory_gb"] for record in records),
        "checkpoint": str(checkpoint),
        "plot": str(out / "plot.png"),
        "loss_agg": args.loss_agg,
        "alpha": args.alpha if args.loss_agg == "deltal" else None,
        "seed": args.seed,
        "model": args.model,
        "shuffle_rewards": args.shuffle_rewards,
    }
    write_atomically(out / "summary.json", json.dumps(summary, indent=2) + "\n")
    lengths = [sum(record["result"]["lengths"]) / len(record["result"]["lengths"]) for record in (before, after)]
    print(f"\n{report.table(summary, *lengths)}\n")
    print(f"{summary['seconds']:.0f} s, {summary['peak_memory_gb']:.1f} GB of memory at most")
    print(f"checkpoint (transformers, vLLM): {checkpoint}\nplot: {summary['plot']}\nsummary: {out / 'summary.json'}")


def _set_aside_other_settings(out: Path, settings: dict) -> None:
    """A training that was begun with these settings resumes from its last saved step; one with others is moved to out/previous."""
    begun = out / "training_settings.json"
    if begun.exists() and json.loads(begun.read_text(encoding="utf-8")) == settings:
        return
    previous = out / "previous"
    made = ("checkpoint", "ckpt", "train.json", "after.json", "summary.json", "plot.png")
    earlier = [out / name for name in made if (out / name).exists()]
    if earlier:
        shutil.rmtree(previous, ignore_errors=True)
        previous.mkdir()
        for folder in earlier:
            shutil.move(folder, previous / folder.name)
        print(f"  an earlier training had other settings: moved to {previous}", flush=True)
    write_atomically(begun, json.dumps(settings))


if __name__ == "__main__":
    sys.exit(main())
