#!/usr/bin/env python3
"""Sends SIGTERM in each phase of a run, in the real pipeline: python scripts/check_stop.py --out runs/check_stop

A run of 24 PPO steps with a checkpoint after every third one, on a random model of 15M parameters, takes place twice:

    whole     without an interruption
    stopped   told to stop in its start, in a rollout, in an update, in a save, and so on: --rounds times; each time the same command
              resumes it

Each stop has to end with exit code 143, with the reason as the last line, and without any process left. There has to be a checkpoint of
every step that was finished when the signal was sent. At the end prompts, responses and parameters of the two runs are compared.
Interrupted, the script resumes.

The files of a run tell the phase. The responses of a step are written when its rollout is done, and its line in metrics.jsonl when its
update is done. A checkpoint in progress is in ckpt/_actor/.saving. The script checks them right before it sends the signal, after a wait of
a seeded length.

It takes about a minute for each start on 2 idle cores. Exit status 1 if something is wrong.
"""

import argparse
import json
import random
import re
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import check_resume as resume
import psutil

from deltal_openrlhf.host.whole_checkpoints import newest, step_of
from deltal_openrlhf.runs.files import write_atomically

PHASES = {"start": 20.0, "rollout": 1.0, "update": 1.0, "save": 0.2}
"""In the order in which they are interrupted; seconds into the phase within which the signal is sent."""
BETWEEN_LOOKS = 0.01
LONG = "--data.max_len 240 --rollout.max_new_tokens 200 --ckpt.save_steps 3".split()
"""Steps long enough to be interrupted in each of their phases."""
SIZES = {"hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 6} | dict.fromkeys(
    ("num_attention_heads", "num_key_value_heads"), 8
)
TERMINATED = 143
REASON = re.compile(r"deltal train: stopped: SIGTERM\b.*")


class Moment:
    """What the files of a run say. begun: when its command was started; what a run before it left of a later step does not count."""

    def __init__(self, out: Path, begun: float, first: int) -> None:
        actor = out / "ckpt" / "_actor"
        self.step = resume.steps_done(out)
        written = [path for path in (out / "hf" / "rollouts").glob("step_*.jsonl") if path.stat().st_mtime > begun]
        rolled = max((int(path.stem.removeprefix("step_")) for path in written), default=0)
        if (actor / ".saving").exists() and self.step > first:
            self.phase = "save"
        elif rolled > self.step:
            self.phase = "update"
        else:
            self.phase = "rollout" if self.step > first else "start"


def saved_step(out: Path) -> int:
    return step_of(newest(out / "ckpt" / "_actor") or "") or 0


def wait_for(phase: str, process: Any, out: Path, begun: float, first: int, chance: random.Random) -> Moment:
    """Until the run has been in the phase for a while, and still is. Raises RuntimeError where it never is before its last step."""
    until = None
    while process.poll() is None:
        resume.look(process)
        moment = Moment(out, begun, first)
        if moment.phase != phase or not resume.last_line(out):
            until = None
        elif until is None:
            until = time.monotonic() + chance.uniform(0, PHASES[phase])
        elif time.monotonic() >= until:
            return moment
        if moment.step >= resume.STEPS - 1 or time.time() - begun > resume.TIME_LIMIT:
            break
        time.sleep(BETWEEN_LOOKS)
    raise RuntimeError(f"no signal could be sent in the phase {phase}: {out / 'console.txt'}")


def stop_once(words: Sequence[str], out: Path, phase: str, chance: random.Random) -> dict[str, Any]:
    """Start or resume the run, send it SIGTERM in the phase, and see how it ends."""
    first, begun = saved_step(out), time.time()
    (out / "console.txt").unlink(missing_ok=True)
    with resume.started(list(words), out) as process:
        moment = wait_for(phase, process, out, begun, first, chance)
        process.send_signal(signal.SIGTERM)
        sent = time.monotonic()
        code = resume.ends(process)
        took = time.monotonic() - sent
        left = psutil.wait_procs(process.family, timeout=10)[1]  # type: ignore[attr-defined]
    last, saved = resume.last_line(out), saved_step(out)
    right = code == TERMINATED and REASON.fullmatch(last) is not None and not left
    return {
        "phase": phase,
        "steps before": moment.step,
        "saved": saved,
        "exit": code,
        "seconds": round(took, 1),
        "last line": last,
        "right": right and moment.step <= saved <= moment.step + 1,
    }


def stop(words: Sequence[str], out: Path, rounds: int, seed: int) -> list[dict[str, Any]]:
    """Interrupted in each phase that often, then left alone."""
    out.mkdir(parents=True, exist_ok=True)
    record = out / "stops.json"
    stops: list[dict] = json.loads(record.read_text(encoding="utf-8")) if record.exists() else []
    for number in range(len(stops), rounds * len(PHASES)):
        phase = list(PHASES)[number % len(PHASES)]
        stops.append(stop_once(words, out, phase, random.Random(f"{seed} {number}")))
        write_atomically(record, json.dumps(stops))
        print(f"stop {number + 1}: {stops[-1]}", flush=True)
    resume.train(list(words), out)
    return stops


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs and result.json")
    parser.add_argument("--rounds", type=int, default=2, help="1 to 7: a round takes three steps")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    given = parser.parse_args()
    out = given.out.resolve()
    resume.make_inputs(out, **SIZES)
    whole, stopped = (resume.command(out, out / name, LONG) for name in ("whole", "stopped"))
    resume.train(whole, out / "whole")
    stops = stop(stopped, out / "stopped", given.rounds, given.seed)
    found = resume.check(out / "stopped", out / "whole", sampling=True)
    write_atomically(out / "result.json", json.dumps({"stops": stops, "stopped": found}, indent=1) + "\n")
    print(json.dumps(found, indent=1))
    return 0 if found["right"] and all(one["right"] for one in stops) else 1


if __name__ == "__main__":
    sys.exit(main())
