"""The seam between the host and its training backends: without the package of one, everything but that one works."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from deltal_openrlhf import backends
from deltal_openrlhf.backends import CLIENT_STATES, Backend, Entry
from megatron_ext.backend import BACKEND

ROOT = Path(__file__).parents[1]
SIZES = (
    "--actor.num_gpus_per_node 1 --vllm.num_engines 1 --rollout.batch_size 8 --rollout.n_samples_per_prompt 4 --train.batch_size 16 "
    "--train.micro_batch_size 2 --rollout.micro_batch_size 2 --algo.advantage.estimator rloo --algo.kl.init_coef 0 --dry_run "
    "--data.prompt_dataset hub/set --reward.remote_url math_reward.py"
).split()
MEGATRON = ["--backend", "megatron", "--actor.model_name_or_path", "model"]
RUNS = {
    "deepspeed": [*SIZES, "--loss_agg", "deltal"],
    "megatron": [*SIZES, *MEGATRON, "--megatron.pipeline_parallel_size", "1"],
    "megatron from a file": [*SIZES, "--config", "backend.yaml"],
    "help": ["--help"],
}
# In a process of its own: whether an import of megatron_ext fails, as it does where the package is not there.
REAL = """
import contextlib, importlib, io, json, pkgutil, sys
from pathlib import Path

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "megatron_ext":
            raise ModuleNotFoundError(f"No module named {name!r}", name="megatron_ext")

if sys.argv[1] == "blocked":
    sys.meta_path.insert(0, Block())

from deltal_openrlhf import backends
from deltal_openrlhf.cli.main import main
from deltal_openrlhf.host import process
process.prepare()

def say(name, work):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = work()
        except SystemExit as stop:
            code = stop.code
    print(json.dumps({name: [code, out.getvalue(), err.getvalue()]}))

def import_all():
    for room in ("host", "train"):
        package = importlib.import_module(f"deltal_openrlhf.{room}")
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            print(importlib.import_module(module.name).__name__)

say("imports", import_all)
for name, argv in json.loads(sys.stdin.read()).items():
    say(name, lambda: main(["train", *argv]))
say("doctor", lambda: main(["doctor"]))
say("saved by", lambda: print(backends.saved_by(Path("checkpoint"))))
"""


@pytest.fixture(scope="module", params=["blocked", "there"])
def real(request, tmp_path_factory) -> tuple[bool, dict[str, tuple]]:
    """Whether megatron_ext is there, and the exit status, stdout and stderr of what the process does."""
    folder = tmp_path_factory.mktemp("empty")
    (folder / "math_reward.py").write_text("def reward_func(queries, prompts, labels):\n    return [0.0]\n")
    (folder / "backend.yaml").write_text("train.seed: 7\nbackend: megatron\nactor.model_name_or_path: model\n")
    shape = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4, "vocab_size": 64}
    heads = {"num_attention_heads": 8, "num_key_value_heads": 8}
    (folder / "checkpoint").mkdir()
    (folder / "checkpoint" / CLIENT_STATES).touch()
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text(json.dumps({"model_type": "qwen2", **shape, **heads}))
    command = [sys.executable, "-W", "ignore", "-c", REAL, request.param]
    process = subprocess.run(command, input=json.dumps(RUNS), capture_output=True, text=True, timeout=110, cwd=folder)
    assert process.returncode == 0, process.stderr
    found: dict[str, tuple] = {}
    for line in process.stdout.splitlines():
        if line.startswith("{"):
            found |= json.loads(line)
    return request.param == "there", found


def test_host_and_train_import(real):
    code, out, _ = real[1]["imports"]
    assert code is None
    assert {"deltal_openrlhf.host.trainer", "deltal_openrlhf.train.launch"} <= set(out.split())


def test_a_checkpoint_of_megatron_is_none_of_deepspeeds(real):
    assert real[1]["saved by"] == [None, "megatron\n", ""]


def test_a_run_with_deepspeed_works(real):
    there, results = real
    code, out, err = results["deepspeed"]
    assert (code, err) == (0, "")
    assert "∆L is active: alpha 0.75" in out
    assert ("--megatron.tensor_parallel_size" in results["help"][1]) == there
    assert "--backend" in results["help"][1]


def test_doctor_works(real):
    there, results = real
    code, out, _ = results["doctor"]
    assert code == 0, out
    assert ("megatron      megatron_ext is not installed" in out) == (not there)


@pytest.mark.cpu_build  # on GPUs Megatron needs Transformer Engine
@pytest.mark.parametrize(("run", "where"), [("megatron", ""), ("megatron from a file", "backend.yaml:2: ")])
def test_a_run_with_megatron_works_or_says_what_is_missing(run, where, real):
    there, results = real
    code, out, err = results[run]
    if there:
        assert (code, err) == (0, "")
        assert "tensor 1, pipeline 1, context 1, data parallel 1" in out
    else:
        assert (code, out) == (2, "")
        why = "megatron needs the package megatron_ext, which is not installed here"
        assert err == f"deltal train: error: {where}argument --backend: {why}\n"


# ── In this process ──


def test_every_backend_of_the_registry_is_there_under_its_name():
    found = {backend.name: backend for backend in backends.installed()}
    assert list(found) == list(backends.REGISTRY)
    members = {name for name in (*Backend.__annotations__, *vars(Backend)) if not name.startswith("_")}
    assert {"ignored", "check", "reference_actor"} <= members
    # By the class itself: an inherited method of the protocol would return None.
    assert all(members <= vars(type(backend)).keys() for backend in found.values())
    assert found["megatron"] is BACKEND
    assert backends.DEFAULT in found and not found[backends.DEFAULT].ignored


def test_an_error_within_a_backend_is_not_taken_for_a_missing_package(monkeypatch, tmp_path):
    (tmp_path / "broken_backend.py").write_text("import no_such_package\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(backends.REGISTRY, "broken", Entry("broken_backend"))
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        backends.load("broken")
    monkeypatch.setitem(backends.REGISTRY, "broken", Entry("no_such_package.backend"))
    with pytest.raises(backends.NotInstalled, match="broken needs the package no_such_package, which is not"):
        backends.load("broken")


def test_a_checkpoint_tells_who_wrote_it(tmp_path):
    assert backends.saved_by(tmp_path) == "deepspeed"
    (tmp_path / CLIENT_STATES).touch()
    assert backends.saved_by(tmp_path) == "megatron"
