"""Is an adapter's update the one of brute force? Runs a trainer of others with deltal_openrlhf/adapters, in an environment of its own.

    python scripts/adapter_check.py --trainer trl|verl|skyrl|slime --out runs/adapters [--cases few] [--ranks 1 2]

The environment, in OUT/TRAINER/venv, has the trainer and what it lacks, and sees the packages of this one. slime is on no package index:
--source is the path of a clone. Each line is a case: the relative difference of an optimizer step's gradient from brute force, in fp32, the
number of ranks, and that of micro batches on each. `wrong` is a planted mistake (weights of each micro batch by itself), which has to be
noticed. Exit 1 if a difference is above 1e-6, or that of a mistake below 1e-3. Writes OUT/TRAINER.json.
"""

import argparse
import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any, NamedTuple

from adapter_environment import make_environment

from deltal_openrlhf.runs.command import OneLineParser
from deltal_openrlhf.runs.files import records, write_atomically
from deltal_openrlhf.runs.packages import installed_versions
from deltal_openrlhf.runs.ports import hold_port

SCRIPTS = Path(__file__).parent
AIM, NOTICED = 1e-6, 1e-3
UNUSED = ("vllm", "wandb")
"""Packages of this environment that trainers import for seconds and do not use here."""
LIMIT = 900.0
"""Seconds for the cases of a number of ranks."""


class Trainer(NamedTuple):
    """What pip installs without dependencies, and whether the trainer is a source tree."""

    packages: tuple[str, ...]
    source: bool = False


TRAINERS = {
    "trl": Trainer(("trl==1.16.*",)),
    "verl": Trainer(
        (
            "verl==0.9.1",
            "tensordict==0.10.0",
            "hydra-core",
            "omegaconf",
            "antlr4-python3-runtime==4.9.*",
            "codetiming",
            "pyvers",
            "orjson",
        )
    ),
    "skyrl": Trainer(("skyrl==0.3.0", "skyrl-gym==0.4.0", "jaxtyping", "omegaconf", "antlr4-python3-runtime==4.9.*")),
    "slime": Trainer((), source=True),
}


def run_cases(name: str, few: bool, ranks: int, python: Path, source: Path | None, out: Path) -> list[dict[str, Any]]:
    """The lines of one side, on so many processes. Raises RuntimeError, in one line, if a process fails."""
    result, log = out / f"{ranks}.jsonl", out / f"{ranks}.log"
    result.unlink(missing_ok=True)
    paths = [str(SCRIPTS.parent), *([str(source)] if source else [])]
    children = []
    with open(log, "w", encoding="utf-8") as output, hold_port("127.0.0.1") as port:
        same = {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
        same |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port.getsockname()[1])}
        for rank in range(ranks):
            place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks}
            environment = os.environ | same | {name: str(value) for name, value in place.items()}
            to = result if rank == 0 else Path(os.devnull)
            words = [str(python), str(SCRIPTS / f"adapter_{name}.py"), str(to), "few" if few else "all"]
            children.append(subprocess.Popen(words, stdout=output, stderr=output, env=environment))
        try:
            codes = [child.wait(LIMIT) for child in children]
        finally:
            for child in children:
                child.kill()
    if any(codes):
        raise RuntimeError(f"{name} on {ranks} rank(s) ended with {codes}; its output is in {log}")
    return [json.loads(line) for line in result.read_text(encoding="utf-8").splitlines()]


def good(case: dict[str, Any]) -> bool:
    difference = case["relative_difference"]
    return difference > NOTICED if case["wrong"] else difference <= AIM


def main() -> int:
    parser = OneLineParser(description=__doc__.split("\n\n")[0], formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trainer", choices=TRAINERS, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder for the environment, logs and result")
    parser.add_argument("--cases", choices=("few", "all"), default="all")
    parser.add_argument("--ranks", type=int, nargs="+", choices=(1, 2), default=[1, 2], help="(default both)")
    parser.add_argument("--source", type=Path, help="a clone of the trainer, for slime")
    args = parser.parse_args()
    trainer, out = TRAINERS[args.trainer], (args.out / args.trainer).absolute()
    there = args.source is not None and (args.source / args.trainer).is_dir()
    if not there if trainer.source else args.source is not None:
        wanted = "the path of a clone" if trainer.source else "none"
        parser.error(f"--source is {args.source}, allowed with --trainer {args.trainer} is {wanted}")
    out.mkdir(parents=True, exist_ok=True)
    cases = []
    try:
        python = Path(sys.executable)
        if trainer.packages:
            calls = [["--no-deps", "--ignore-requires-python", *trainer.packages]]
            packages = Path(sysconfig.get_paths()["purelib"])
            python = make_environment(out / "venv", calls, sees=packages, hides=UNUSED)
        for ranks in args.ranks:
            found = run_cases(
                args.trainer, args.cases == "few", ranks, python, args.source and args.source.absolute(), out
            )
            for case in found:
                verdict = (
                    ("noticed" if good(case) else "NOT NOTICED") if case["wrong"] else "ok" if good(case) else "FAILED"
                )
                print(
                    f"{verdict:<8} {case['relative_difference']:.1e}  {case['ranks']} rank(s), "
                    f"{case['micro_batches']} micro batch(es), {case['case']}",
                    flush=True,
                )
            cases += found
    except (RuntimeError, subprocess.SubprocessError) as error:
        print(f"adapter_check: {error}", file=sys.stderr)
        return 1
    settings = {
        "trainer": args.trainer,
        "packages": trainer.packages,
        "versions": installed_versions("torch", "transformers"),
    }
    write_atomically(args.out / f"{args.trainer}.json", records(settings | {"cases": cases}, 2))
    failed = [case for case in cases if not good(case)]
    print(f"{len(cases) - len(failed)} case(s) as they should be, {len(failed)} not")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
