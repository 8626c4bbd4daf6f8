#!/usr/bin/env python3
"""Kills `deltal eval` at random moments (kill -9), with vLLM: python scripts/check_eval_resume.py --out runs/check_eval_resume

A random model whose words are answers gives 8 responses to each of 500 problems, so some are right by chance. It is evaluated twice:

    whole     without an interruption
    killed    the command, which on a CPU holds the engine too, is killed at 5 seeded random moments; each time the same command resumes it

Then every response and every file of results of the two are compared, byte for byte. Interrupted, the script resumes.

It takes half a minute for each of 7 starts on 2 idle cores. Exit status 1 if something differs.
"""

import argparse
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

import check_resume as resume

from deltal_openrlhf.evaluation.compare import FILE
from deltal_openrlhf.evaluation.run import REPORT, SAMPLES
from deltal_openrlhf.evaluation.store import RESPONSES
from deltal_openrlhf.runs.files import write_atomically

PROBLEMS, N = 500, 8
WORDS = ["<pad>", "<eos>", "<unk>", "#### 1\n", "#### 2\n", "#### 3\n", "a ", "b "]
START = (1.0, 40.0)
"""Seconds after the command within which a kill falls that comes before the first response."""
EARLY = 1 / 3
"""How often that is the case."""
KILLED_WITHIN = 8
"""Another kill falls within one 8th of the responses, so that five come before the end."""


def make_inputs(folder: Path) -> None:
    from tokenizers import pre_tokenizers

    from deltal_openrlhf.models.tiny import write_tiny_model

    if not (folder / "problems.jsonl").exists():
        write_tiny_model(folder / "model", WORDS, pre_tokenizers.WhitespaceSplit(), initializer_range=0.1)
        rows = [
            {"input": "a b " * (1 + i % 20), "label": str(1 + i % 3), "datasource": "math"} for i in range(PROBLEMS)
        ]
        write_atomically(folder / "problems.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


def command(inputs: Path, out: Path) -> list[str]:
    flags = f"--model {inputs}/model --data {inputs}/problems.jsonl --n {N} --max_new_tokens 64 --out {out}"
    return [sys.executable, "-m", "deltal_openrlhf.cli.main", "eval", *flags.split()]


def lines(out: Path) -> list[str]:
    """Of the file of responses, in an order of their own: they are written in the order in which they are finished."""
    path = out / RESPONSES
    return sorted(path.read_text(encoding="utf-8").splitlines()) if path.exists() else []


def responses_in(out: Path) -> int:
    path = out / RESPONSES
    return path.read_bytes().count(b"\n") if path.exists() else 0


def evaluate(words: list[str], out: Path) -> None:
    with resume.started(words, out) as process:
        resume.wait(process, float("inf"), out)
    if process.returncode:
        raise RuntimeError(f"exit code {process.returncode}: {out / 'console.txt'}")


def kill_once(words: list[str], out: Path, chance: random.Random) -> dict[str, Any]:
    """Killed at a moment of this generator: before the first new response or after a number of them. What was there then."""
    early = chance.random() < EARLY
    before = responses_in(out)
    wanted = before + (1 if early else chance.randint(1, PROBLEMS * N // KILLED_WITHIN))
    until = time.monotonic() + (chance.uniform(*START) if early else resume.TIME_LIMIT)
    with resume.started(words, out) as process:
        while process.poll() is None and time.monotonic() < until and responses_in(out) < wanted:
            resume.look(process)
            time.sleep(0.02)
        if process.poll() is not None:
            raise RuntimeError(f"the evaluation ended by itself: {out / 'console.txt'}")
        process.kill()
        code = process.wait()
    return {"responses before": before, "responses": responses_in(out), "exit": code}


def evaluate_with_kills(words: list[str], out: Path, number: int, seed: int) -> list[dict[str, Any]]:
    """Killed that often at moments of this seed, and then left alone. Returns the kills."""
    record = out / "kills.json"
    kills: list[dict] = json.loads(record.read_text(encoding="utf-8")) if record.exists() else []
    while len(kills) < number:
        kills.append(kill_once(words, out, random.Random(f"{seed} {len(kills)}")))
        write_atomically(record, json.dumps(kills))
        print(f"kill {len(kills)}: {kills[-1]}", flush=True)
    evaluate(words, out)
    return kills


def check(out: Path, whole: Path) -> dict[str, Any]:
    """What is equal, and whether all of it is."""
    equal: dict[str, Any] = {"responses": lines(out) == lines(whole) and len(lines(out)) == PROBLEMS * N}
    equal |= {name: (out / name).read_bytes() == (whole / name).read_bytes() for name in (FILE, REPORT, SAMPLES)}
    return {**equal, "right": all(equal.values())}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the evaluations and result.json")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    given = parser.parse_args()
    if not 1 <= given.kills < KILLED_WITHIN:
        parser.error(f"--kills is {given.kills}, allowed are 1 to {KILLED_WITHIN - 1}")
    out = given.out.resolve()
    make_inputs(out)
    evaluate(command(out, out / "whole"), out / "whole")
    kills = evaluate_with_kills(command(out, out / "killed"), out / "killed", given.kills, given.seed)
    result = {"kills": kills, **check(out / "killed", out / "whole")}
    write_atomically(out / "result.json", json.dumps(result, indent=1) + "\n")
    print(json.dumps({name: value for name, value in result.items() if name != "kills"}, indent=1))
    return 0 if result["right"] else 1


if __name__ == "__main__":
    sys.exit(main())
