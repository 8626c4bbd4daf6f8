"""Make a page of evidence from what `deltal verify` and scripts/gpu found on a machine.

    python scripts/make_evidence.py FILE.jsonl [FILE.jsonl ...] --out docs/evidence/gpu

Writes OUT.json with every figure, and the page OUT.md with machine, versions, date and a table for each part. The rows of all files are put
together.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from deltal_openrlhf.runs.files import records, write_atomically

Row = dict[str, Any]
PLAIN = {"mode": "deltal", "world": 1, "micro": 4, "zero": 2, "steps": 1, "epochs": 1, "correction": "off"}
"""Defaults of a case of the gradients part. A group is named after the fields that differ from them, unless those are None or False."""
TITLES = {
    "gradients": "Gradient of the real DeepSpeed trainer against brute force",
    "guards": "A loss or gradient that is not finite stops a run before the update",
    "megatron": "The Megatron backend against one process",
    "logprob": "Log-probabilities in chunks",
    "overhead": "What ∆L and its guards cost",
    "rl": "Reinforcement learning of a real language model",
}
CLAIM = "**Claim.** On this machine, training computes the update of the loss's definition, and the guards stop a run before a bad update."
NOT_SHOWN = (
    "## What this does not show",
    "",
    "A part that was left out shows nothing. The cases are small, so they do not show that a large run fits or is fast.",
)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", type=Path, metavar="FILE", help="lines of JSON")
    parser.add_argument("--out", type=Path, required=True, help="path of the page, without an ending")
    args = parser.parse_args(argv)
    rows: list[Row] = []
    for path in args.results:
        try:
            rows += [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        except OSError as error:
            parser.error(f"{path}: {error.strerror}")
        except ValueError as error:
            parser.error(f"{path}: {error}; allowed are lines of JSON, as deltal verify --json writes them")
    machines = [row for row in rows if row.get("part") == "machine" and row.get("case") == "versions"]
    if not machines:
        parser.error(
            f"{args.results[0]}: no line says on which machine this was; allowed is what `deltal verify --json` writes"
        )
    if len({(row.get("gpu"), json.dumps(row["packages"])) for row in machines}) > 1:
        parser.error("the files are of different machines or environments; a page is of one")
    rows = [{key: value for key, value in row.items() if key != "console"} for row in rows]
    write_atomically(args.out.with_suffix(".json"), records(rows, 1))
    write_atomically(args.out.with_suffix(".md"), page(machines[0], rows))
    return 0


def page(machine: Row, rows: list[Row]) -> str:
    name = f"{machine['gpus']} x {machine['gpu']}" if machine.get("gpu") else f"{machine['cores']} CPU cores"
    packages = ", ".join(f"{key} {value}" for key, value in machine["packages"].items())
    cuda = f", CUDA {machine['cuda']}, NCCL {machine['nccl']}, {machine['driver']}" if machine.get("gpu") else ""
    lines = [f"# What was found on {name}", "", CLAIM, "", "```sh", "deltal verify --json FILE.jsonl", "```", ""]
    lines += [
        f"**Machine.** {name}, Python {machine['python']}{cuda}, {machine['date'][:10]}. Packages: {packages}.",
        "",
    ]
    lines += [
        "`scripts/make_evidence.py` makes this page from the lines that `deltal verify --json` and scripts/gpu write.",
        "",
    ]
    lines += [
        f"- {row['case']}: {row['said']}" for row in rows if row["part"] == "machine" and row["case"] != "versions"
    ]
    lines += ["", "| part | passed | failed | left out |", "|---|---|---|---|"]
    parts = [part for part in TITLES if any(row["part"] == part for row in rows)]
    for part in parts:
        own = [row for row in rows if row["part"] == part]
        left_out = "; ".join(f"{row['case']}: {row['said']}" for row in own if "left out" in row["said"])
        good, bad = (sum(row["ok"] is verdict for row in own) for verdict in (True, False))
        lines.append(f"| {part} | {good} | {bad} | {left_out} |")
    failed = [row for row in rows if row["ok"] is False]
    lines += (
        ["", "Failed:", "", *(f"- {row['part']}, {row['case']}: {row['said']}" for row in failed)] if failed else []
    )
    for part in parts:
        own = [row for row in rows if row["part"] == part and "error" not in row and "left out" not in row["said"]]
        lines += ["", f"## {TITLES[part]}", "", *SECTIONS.get(part, plain_lines)(own)]
    return "\n".join([*lines, "", *NOT_SHOWN]) + "\n"


def plain_lines(rows: list[Row]) -> list[str]:
    return [f"- {row['case']}: {row['said']}" for row in rows]


def gradients(rows: list[Row]) -> list[str]:
    """The worst case of every group, and all negative controls."""
    right = [row for row in rows if not row["case_fields"]["wrong"]]
    groups: dict[str, list[Row]] = {}
    for row in right:
        for name in groups_of(row["case_fields"]):
            groups.setdefault(name, []).append(row)
    lines = [
        f"{len(right)} cases ran in fp32 with plain SGD, learning rate 1 and no clipping. The error is ||change - reference|| / "
        "||reference|| over all parameters, and 1e-5 is allowed. Each line is the worst of its group, and a case is in several groups.",
        "",
        "The largest change is that of one parameter, which has to be well above rounding. holes are masks of several turns, short is a "
        "rollout that fell short, and correction is importance sampling.",
        "",
        "| group | cases | worst relative error | smallest largest change |",
        "|---|---|---|---|",
    ]
    for name, own in sorted(groups.items()):
        worst, smallest = max(row["relative_error"] for row in own), min(row["largest_change"] for row in own)
        lines.append(f"| {name} | {len(own)} | {worst:.1e} | {smallest:.2g} |")
    lines += ["", "| mistake on purpose | relative error |", "|---|---|"]
    lines += [f"| {row['case']} | {row['relative_error']:.2g} |" for row in rows if row["case_fields"]["wrong"]]
    return lines


def groups_of(case: Row) -> list[str]:
    scope = f", scope {case['scope']}" if case["scope"] else ""
    cut = "dynamic batch with packing" if case["dynamic"] else f"micro batch {case['micro']}"
    named = {"mode", "scope", "world", "zero", "micro", "dynamic", "wrong"}
    others = {key: value for key, value in case.items() if key not in named and value and value != PLAIN.get(key)}
    features = [key if value is True else f"{key} {value}" for key, value in others.items()]
    return [f"mode {case['mode']}{scope}", f"ranks {case['world']}", f"ZeRO {case['zero']}", cut, *features]


def megatron(rows: list[Row]) -> list[str]:
    names = ("gradient", "loss", "sgd", "adam")
    lines = ["| case | gradient, relative | loss | after SGD | after AdamW |", "|---|---|---|---|---|"]
    for row in rows:
        lines.append(f"| {row['case']} | " + " | ".join(f"{row[name]:.0e}" for name in names) + " |")
    return lines


def logprob(rows: list[Row]) -> list[str]:
    lines = plain_lines(rows)
    by_variant: dict[str, dict[str, float]] = {}
    for row in rows:
        for name in ("extra_bytes", "median_seconds"):
            for variant, value in row.get(name, {}).items():
                by_variant.setdefault(variant, {})[name] = value
    lines += ["", "| variant | extra memory, MiB | seconds, median |", "|---|---|---|"]
    for variant, found in by_variant.items():
        seconds = f"{found['median_seconds']:.3g}" if "median_seconds" in found else ""
        lines.append(f"| {variant} | {found['extra_bytes'] / 2**20:,.0f} | {seconds} |")
    return lines


def rl(rows: list[Row]) -> list[str]:
    lines = plain_lines(rows)
    runs = [row for row in rows if "rewards" in row]
    lines += ["", "| method | PPO steps | seconds a step | GPU memory at most, GB |", "|---|---|---|---|"]
    for row in runs:
        memory = f"{row['peak_gb']:.1f}" if row["peak_gb"] else ""
        lines.append(f"| {row['case']} | {row['ppo_steps']} | {row['seconds_per_step']:.2f} | {memory} |")
    for row in runs:
        if row["rewards"]:
            lines += [
                "",
                f"{row['case']}: mean reward of each PPO step: {', '.join(f'{r:.3f}' for r in row['rewards'])}.",
            ]
            lines += [
                f"Held-out accuracy by step: {', '.join(f'{step}: {value:.3f}' for step, value in row['held_out'])}."
            ]
    return lines


SECTIONS: dict[str, Callable[[list[Row]], list[str]]] = {
    "gradients": gradients,
    "megatron": megatron,
    "logprob": logprob,
    "rl": rl,
}

if __name__ == "__main__":
    sys.exit(main())
