"""Training runs that are made up, for the tests of `deltal compare`: what they do is told by flags named fake.*."""

import json
import os
import signal
import sys
import time
from pathlib import Path

STEPS = 10
COMMAND = """
import pathlib, signal, sys, time
def clean(*_):
    pathlib.Path(sys.argv[1], "cleaned").touch()
    sys.exit(1)
signal.signal(signal.SIGTERM, clean)
pathlib.Path(sys.argv[1], "ready").touch()
time.sleep(60)
"""


def accuracy(flags: dict, step: int) -> float:
    """Rises with the steps; best at a learning rate of 2; a method's gain, and noise of start and seed that all methods share."""
    shared = (hash((flags["actor.model_name_or_path"][-1], 7 * flags["train.seed"])) % 97) / 1000
    return 0.1 + 0.02 * step + flags["fake.gain"] + shared - 0.01 * (flags["actor.adam.lr"] - 2) ** 2


def run(flags: dict, folder: Path) -> dict:
    """Engine. Every call is one line in flags["fake.log"]."""
    with open(flags["fake.log"], "a") as file:
        file.write(json.dumps({"folder": str(folder), "pid": os.getpid(), "event": "begin"}) + "\n")
    print("said by the run")
    if flags["train.seed"] == flags.get("fake.crash"):
        raise RuntimeError("planted\nfailure")
    if flags["train.seed"] == flags.get("fake.die"):
        os.kill(os.getpid(), signal.SIGKILL)
    end = time.monotonic() + flags.get("fake.seconds", 0)
    while time.monotonic() < end and not Path(flags.get("fake.hurry", "/nonexistent")).exists():
        time.sleep(0.02)
    rows = [
        {
            "step": step,
            "rollout/reward_mean": accuracy(flags, step),
            "rollout/response_length_mean": 10.0 + step,
            "entropy_loss": 1.0,
            "deltal/grad_norm": 0.5,
            "deltal/clip_share": 0.0,
        }
        for step in range(1, STEPS + 1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    held_out = {"step": STEPS, "eval_x_pass1": accuracy(flags, STEPS) / 2, "eval_num_samples": 8.0}
    (folder / "evals.jsonl").write_text(json.dumps(held_out) + "\n")
    with open(flags["fake.log"], "a") as file:
        file.write(json.dumps({"folder": str(folder), "pid": os.getpid(), "event": "end"}) + "\n")
    return {"steps": STEPS}


def run_command(flags: dict, folder: Path) -> dict:
    """The pipeline's engine with a command that only cleans up when it is asked to end."""
    from deltal_openrlhf.comparison import pipeline

    pipeline.command = lambda folder: [sys.executable, "-c", COMMAND, str(folder)]
    return pipeline.run(flags, folder)


def main() -> int:
    """`deltal compare` with this engine, without the host and without a report. argv: the engine's function, then its own."""
    from deltal_openrlhf.cli import compare
    from deltal_openrlhf.comparison import run
    from deltal_openrlhf.comparison.pool import Engine

    engine = Engine(f"compare_engine:{sys.argv[1]}", in_process=False)
    compare.ENGINES = {"loop": engine, "pipeline": engine}
    run.check_flags = lambda engine, jobs: None
    run.write_report = lambda comparison, out: None
    return compare.main(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
