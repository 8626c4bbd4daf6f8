"""Every command block of README and guide runs here, in the order of the page, or is listed with the test that runs it.

`deltal train` runs as a dry run. All commands run in one process, in a folder that has small data files where the pages have large ones.
"""

import json
import re
import sys

import pytest
from support import commands
from support.pages import DOCS, README, ROOT, blocks, deltal_words, simple_commands, statements

from deltal_openrlhf.quickstart import model as tiny
from deltal_openrlhf.runs import shipped

GUIDE = [page for page in DOCS if page.parent.name == "guide"]
SHELL = ("mkdir ", "cat > ", "PYTHONPATH=mytask python -c ")
"""What the shell runs."""
RUN = ("deltal recipes", "deltal plan", "deltal grade", "deltal data math --train mymath/", "deltal train")
TESTED = {
    "bash scripts/setup.sh": "tests/scripts/test_setup.py::test_it_goes_on_where_it_stopped_and_does_nothing_when_done",
    "bash scripts/quickstart.sh": "tests/quickstart/test_quickstart_stages.py::test_whole_command_with_a_stand_in_for_training",
    "bash scripts/cluster/ray.sh": "tests/scripts/test_cluster_scripts.py::test_a_worker_joins_the_head_once_it_listens",
    "sbatch": "tests/scripts/test_cluster_scripts.py::test_a_slurm_job_starts_ray_on_every_node_and_ends_with_deltals_status",
    "ray job submit": "tests/scripts/test_cluster_scripts.py::test_a_head_starts_in_the_clones_folder",
    "python scripts/make_starts.py": "tests/scripts/test_bench_sizes.py::test_starts_command",
    "deltal quickstart": "tests/quickstart/test_quickstart_stages.py::test_whole_command_with_a_stand_in_for_training",
    "deltal model": "tests/models/test_smollm2.py::test_it_knows_english",
    "deltal doctor": "tests/cli/test_doctor.py::test_on_this_machine",
    "RAY_ADDRESS=auto deltal doctor": "tests/cli/test_doctor_cluster.py::test_the_nodes_of_a_cluster",
    "deltal verify": "tests/verify/test_verify.py::test_the_right_code_passes_and_needs_neither_ray_nor_vllm_nor_flash_attn",
    "deltal parity": "tests/megatron_ext/test_parity.py::test_command_says_that_they_agree",
    "deltal data countdown": "tests/data/test_countdown_data.py::test_command_line",
    "deltal data gsm8k": "tests/data/test_demos.py::test_gsm8k",
    "deltal data math": "tests/cli/test_data_command.py::test_math",
    "deltal data shapes": "tests/data/test_shapes.py::test_command",
    "deltal diagnose": "tests/cli/diagnose/test_diagnose_rollouts.py::test_what_comes_out",
    "deltal compare": "tests/comparison/test_compare_runs.py::test_a_whole_comparison",
    "deltal report": "tests/training_report/test_training_report.py::test_the_page_needs_nothing_but_itself",
    "deltal eval": "tests/evaluation/test_eval_run.py::test_killed_interrupted_and_resumed_is_as_if_uninterrupted",
    "deltal enable": "tests/cli/test_enable.py::test_enable_and_disable_say_what_they_did_and_can_be_repeated",
    "deltal disable": "tests/cli/test_enable.py::test_after_disable_the_stock_command_is_the_hosts",
    "pip install --no-deps .": "tests/test_wheel.py::test_what_is_imported_is_the_wheel",
    "python -m openrlhf.cli.train_ppo_ray": "tests/cli/test_enable.py::test_the_stock_command_is_ours",
}
"""How a statement begins -> the test of it, where it needs a GPU, a hub, a cluster or minutes."""
NO_TEST = {
    "git clone": "the address is a placeholder",
    "source .venv/bin/activate": "it changes the reader's shell only, and is Python's own script",
    "python -m verl.trainer.main_ppo": "it needs GPUs; scripts/adapter_check.py --trainer verl makes verl's configuration from these lines",
    "python train.py": "slime's own command, which needs GPUs",
    "export CUDA_DEVICE_MAX_CONNECTIONS=1": "only CUDA reads it",
}
"""How a statement begins -> why no test runs it."""
ROWS = {
    "data/countdown": ("train", "test"),
    "data/math": ("train", "math500", "aime2024", "amc", "minerva"),
    "data": ("train",),
}
"""Data files that the pages' commands make or expect."""
RUNNER = """
import contextlib, io, json, os, subprocess, sys
from pathlib import Path
from huggingface_hub import constants
from deltal_openrlhf.cli.main import main

constants.HF_HUB_OFFLINE = True
for statement, words, into in json.load(sys.stdin):
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            code = main(words) if words else None
        except SystemExit as stop:
            code = stop.code
    if not words:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        shell = subprocess.run(["bash", "-ec", statement], capture_output=True, text=True, env={**os.environ, "PATH": path})
        code, text = shell.returncode, shell.stdout + shell.stderr
    else:
        text = out.getvalue()
    if into:
        Path(into).write_text(text)
    print(json.dumps([code or 0, text]))
"""


def is_run(statement: str) -> bool:
    return statement.removeprefix("RAY_ADDRESS=auto ").startswith((*SHELL, *RUN))


def of_pages() -> list[tuple[str, str]]:
    """Every statement of README and guide, with its place."""
    return [
        (where, statement)
        for page in (README, *GUIDE)
        for where, text in blocks(page, "sh")
        for statement in statements(text)
    ]


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> list[tuple[str, str, int, str]]:
    """Place, statement, exit status and output of what runs here."""
    folder = tmp_path_factory.mktemp("reader")
    label = json.dumps({"numbers": [1, 2], "target": 3})
    for path, names in ROWS.items():
        (folder / path).mkdir(parents=True, exist_ok=True)
        for name in names:
            row = {"input": "3", "label": label, "datasource": name}
            (folder / path / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
    # Without files of a tokenizer transformers makes an empty one.
    model = folder / "qwen2.5-32b"
    tiny.build_tokenizer().save_pretrained(model)
    (model / "config.json").write_bytes(shipped.located("models/qwen2.5-32b").read_bytes())
    run, cases = [(where, statement) for where, statement in of_pages() if is_run(statement)], []
    for _, statement in run:
        words = None if statement.startswith(SHELL) else deltal_words(simple_commands(statement)[0])
        if words and words[0] == "train":
            words += ["--dry_run"] * ("--dry_run" not in words)
            if "overlays/megatron/32b" in words and "--actor.model_name_or_path" not in words:
                words += ["--actor.model_name_or_path", str(model)]  # on the hub
        into = re.search(r"> (\S+)$", statement) if words else None
        cases.append([statement, words, into and into[1]])
    process = commands.run(
        [sys.executable, "-c", RUNNER], input=json.dumps(cases), capture_output=True, text=True, timeout=280, cwd=folder
    )
    assert process.returncode == 0, process.stderr
    found = [json.loads(line) for line in process.stdout.splitlines() if line.startswith("[")]
    return [(*place, *result) for place, result in zip(run, found, strict=True)]


@pytest.mark.timeout(300)
def test_what_pages_say_runs(results):
    assert [result for result in results if result[2] != 0] == []
    assert sum("deltal train" in statement for _, statement, _, _ in results) > 8
    assert all("Batches" in text for _, statement, _, text in results if "deltal train" in statement)


def test_every_statement_is_run_or_has_a_test():
    left = [(where, statement) for where, statement in of_pages() if not is_run(statement)]
    assert [place for place in left if not place[1].startswith((*TESTED, *NO_TEST))] == []
    assert len(left) > 10


@pytest.mark.parametrize("beginning", TESTED)
def test_the_named_test_is_there(beginning):
    path, _, name = TESTED[beginning].partition("::")
    assert re.search(rf"^def {name}\(", (ROOT / path).read_text(encoding="utf-8"), re.M)


@pytest.mark.parametrize("beginning", [*TESTED, *NO_TEST])
def test_a_page_says_what_is_listed(beginning):
    assert any(statement.startswith(beginning) for _, statement in of_pages()), "no page says it: take it off the list"


def test_a_statement_of_no_list_is_seen():
    assert not is_run("deltal frobnicate") and not "deltal frobnicate".startswith((*TESTED, *NO_TEST))
