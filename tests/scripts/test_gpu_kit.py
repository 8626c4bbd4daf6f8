"""scripts/gpu and scripts/make_evidence.py: both calls as a dry run on this machine, and a step that fails in the middle."""

import json
import os
import re
import signal
import struct
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from support.scripts import SCRIPTS, in_scripts, run_script

KIT = SCRIPTS / "gpu"


def start(call: int, folder: Path, **variables: str) -> subprocess.Popen:
    places = {name.upper(): str(folder / name) for name in ("out", "site", "model", "work")}
    return subprocess.Popen(
        ["bash", str(KIT / "call.sh"), str(call)],
        env=os.environ | places | {"PYTHON": sys.executable, "SMALL": "1"} | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen, seconds: float) -> str:
    try:
        return process.communicate(timeout=seconds)[0]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def evidence(folder: Path, *results: Path) -> str:
    """The page that make_evidence.py makes of these files."""
    process = run_script("make_evidence.py", *results, "--out", folder / "here")
    assert process.returncode == 0, process.stderr
    return (folder / "here.md").read_text()


@pytest.mark.timeout(280)
def test_the_dry_run_of_both_calls_becomes_a_page(tmp_path):
    first, second = start(1, tmp_path / "1"), start(2, tmp_path / "2")
    said = [finish(process, 250) for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], said
    results = [tmp_path / str(call) / "out" / f"call-{call}.results" for call in (1, 2)]
    rows = [json.loads(line) for path in results for line in path.read_text().splitlines()]
    assert [row for row in rows if row["ok"] is False] == []
    judged = {row["part"] for row in rows if row["ok"]}
    assert judged >= {"machine", "gradients", "guards", "logprob", "rl", "megatron"}
    model, warm_up, *runs = (row for row in rows if row["part"] == "rl")
    assert model["parameters"] > 10**5 and warm_up["loss"] < warm_up["first_loss"]
    assert [row["case"] for row in runs] == ["deltal", "token-mean"]
    for row in runs:
        assert 1 <= row["ppo_steps"] == len(row["rewards"]) == len(row["grad_norms"])
        assert row["seconds_per_step"] > 0 and row["held_out"][0][0] == 1 and row["peak_gb"] is None
    # The two start from the same weights and draws, and weigh the same responses differently.
    assert runs[0]["response_lengths"][0] == runs[1]["response_lengths"][0]
    assert runs[0]["ess"][0] != runs[1]["ess"][0]

    page = evidence(tmp_path, *results)
    assert f"torch {torch.__version__}" in page and "CPU cores" in page
    assert "| mode deltal, scope step |" in page and "wrong=micro-batch" in page
    assert json.loads((tmp_path / "here.json").read_text())[0]["case"] == "versions"
    assert "Failed:" not in page


# A Python of which the second step of call 2 is all that works.
BROKEN = """#!/usr/bin/env bash
case "$*" in
*rl.py*) echo "Traceback: no GPU memory"; exit 1 ;;
*verify*) while [ $# -gt 1 ]; do [ "$1" = --json ] && echo '{"part": "megatron", "ok": true}' >"$2"; shift; done; echo "megatron ok" ;;
esac
"""


def test_a_step_that_fails_does_not_stop_the_next(tmp_path):
    python = tmp_path / "python"
    python.write_text(BROKEN)
    python.chmod(0o755)
    process = start(2, tmp_path, PYTHON=str(python))
    said = finish(process, 30)
    assert process.returncode == 1
    assert re.search(r"no GPU memory\n== rl: exit code 1, .*\nmegatron ok\n== megatron: exit code 0", said), said
    assert (tmp_path / "out" / "call-2.results").read_text() == '{"part": "megatron", "ok": true}\n'


def test_another_call_is_refused(tmp_path):
    process = start(3, tmp_path)
    assert finish(process, 30) == "call.sh: the call is '3', allowed are 1 and 2\n"
    assert process.returncode == 2


MACHINE = {
    "part": "machine",
    "case": "versions",
    "ok": None,
    "said": "",
    "date": "2026-01-02T03:04:05",
    "python": "3.12.1",
    "packages": {"torch": "2.11.0"},
    "gpu": "H100",
    "gpus": 1,
    "cuda": "13.0",
    "nccl": "2.28.1",
    "driver": "580.65.06",
    "cores": 16,
}


def test_the_page_says_what_failed_and_what_was_left_out(tmp_path):
    rows = [
        MACHINE,
        {"part": "overhead", "case": "ppo_train", "ok": False, "said": "1.300 [1.2, 1.4]"},
        {"part": "megatron", "case": "plain, 2 rank(s)", "ok": None, "said": "3 of 17 cases left out for lack of time"},
    ]
    (tmp_path / "found.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = evidence(tmp_path, tmp_path / "found.jsonl")
    assert "# What was found on 1 x H100" in page and "NCCL 2.28.1" in page
    assert "| overhead | 0 | 1 |  |" in page
    assert "| megatron | 0 | 0 | plain, 2 rank(s): 3 of 17 cases left out for lack of time |" in page
    assert "- overhead, ppo_train: 1.300 [1.2, 1.4]" in page


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"part": "rl"}], "on which machine"),
        ([MACHINE | {"packages": {"torch": version}} for version in ("2.11.0", "2.13.0")], "different machines"),
    ],
)
def test_files_of_something_else_or_of_two_machines_are_refused(rows, said, tmp_path):
    for number, row in enumerate(rows):
        (tmp_path / f"{number}.jsonl").write_text(json.dumps(row) + "\n")
    process = run_script("make_evidence.py", *tmp_path.glob("*.jsonl"), "--out", tmp_path / "page")
    assert process.returncode == 2 and said in process.stderr


# ── Packing ──


def image(kind: int, architecture: int, payload: bytes) -> bytes:
    header = bytearray(64)
    struct.pack_into("<HHIQ", header, 0, kind, 0x101, len(header), len(payload))
    struct.pack_into("<I", header, 28, architecture)
    return bytes(header) + payload


def test_only_the_code_of_one_architecture_stays():
    images = [image(2, 80, b"a" * 40), image(2, 90, b"b" * 48), image(1, 90, b"c" * 56)]
    body = b"".join(images)
    fatbin = struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(body)) + body
    chance = struct.pack("<I", 0xBA55ED50) + b"not a header"
    library = b"code" + chance + fatbin + b"more" + fatbin + b"end"
    code = """
from slim import keep_architecture
library = bytearray.fromhex(data)
sizes = keep_architecture(library, 90)
result = [*sizes, library.hex()]
"""
    kept, zeroed, left = in_scripts(code, library.hex(), folder="gpu")
    assert (kept, zeroed) == (2 * 48, 2 * (40 + 56))
    assert bytes.fromhex(left) == library.replace(b"a" * 40, bytes(40)).replace(b"c" * 56, bytes(56))


def test_the_kit_has_the_versions_that_the_project_is_checked_with():
    pins = dict(line.split("==") for line in (KIT / "wheels.txt").read_text().splitlines() if "==" in line)
    for name in ("openrlhf", "megatron-core", "mbridge"):
        assert pins[name] == version(name)
    assert f'DEEPSPEED = "deepspeed=={version("deepspeed")}"' in (KIT / "pack.py").read_text()
