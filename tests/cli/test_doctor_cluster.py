"""`deltal doctor --cluster`, and the GPUs that `deltal train` finds, against a real Ray cluster of several nodes on this machine."""

import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest
from support import commands
from support.run_data import save_tokenizer, write

from deltal_openrlhf.cli import cluster as cluster_checks
from deltal_openrlhf.cli import doctor, node
from deltal_openrlhf.data import countdown

NODE = {"num_cpus": 1, "object_store_memory": 80 * 1024**2}


@pytest.fixture
def folder(monkeypatch):
    """A short path: Ray's sockets are below it. Nothing that was started from here is left at the end."""
    path = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))
    monkeypatch.setenv("RAY_TMPDIR", str(path))
    try:
        yield path
    finally:
        started = [p for p in psutil.process_iter(["cmdline"]) if str(path) in " ".join(p.info["cmdline"] or [])]
        for process in started:
            process.kill()
        psutil.wait_procs(started, timeout=10)
        shutil.rmtree(path)


@pytest.mark.timeout(300)  # 25 s where nothing else runs
def test_the_nodes_of_a_cluster(folder, monkeypatch, capsys):
    """Two nodes that fit together; a run that asks for too many GPUs; a third node that differs, sees another folder, and falls silent."""
    import ray
    from ray.cluster_utils import Cluster

    for name in ("shared", "here/ckpt", "there/ckpt"):
        (folder / name).mkdir(parents=True)
    monkeypatch.chdir(folder / "here")
    ray_cluster = Cluster(
        initialize_head=True, head_node_args={**NODE, "num_gpus": 1, "include_dashboard": False}, shutdown_at_exit=False
    )
    try:
        ray_cluster.add_node(**NODE)
        monkeypatch.setenv("RAY_ADDRESS", ray_cluster.address)
        train = start_training_on_too_many_gpus(folder)
        code, lines = ask(capsys, "--path", str(folder / "shared"), "--time_limit", "90")
        assert (code, lines[-1]) == (0, "the nodes fit together"), lines
        assert sum(line.startswith("node ") for line in lines) == 2
        assert f"shared path   {folder / 'shared'}: seen by 2 of 2 node(s)" in lines
        assert any(line.startswith("all-reduce    gloo over 2 node(s): right") for line in lines)
        assert list((folder / "shared").iterdir()) == []

        out, errors = train.communicate(timeout=90)
        assert train.returncode == 2, out + errors
        assert errors.splitlines()[-1].startswith(
            "deltal train: stopped: this run asks for 2 GPUs: 1 for actor (--actor.num_nodes x --actor.num_gpus_per_node), 1 for vllm "
            "(--vllm.num_engines x --vllm.tensor_parallel_size); the Ray cluster has 1; with --train.colocate_all the models share GPUs"
        )
        assert "Traceback" not in out + errors

        # It has shown what it can: torch in two more processes a node takes its time.
        monkeypatch.setattr(cluster_checks, "check_all_reduce", lambda *_: iter(()))

        # The third node has another OpenRLHF first on its path, and starts in another folder.
        (folder / "fake" / "openrlhf-0.10.9.dist-info").mkdir(parents=True)
        (folder / "fake" / "openrlhf-0.10.9.dist-info" / "METADATA").write_text("Name: openrlhf\nVersion: 0.10.9\n")
        monkeypatch.chdir(folder / "there")
        third = ray_cluster.add_node(**NODE, env_vars={"PYTHONPATH": str(folder / "fake")})
        monkeypatch.chdir(folder / "here")
        # Ray lists nodes in any order: here the third first.
        listed = ray.nodes
        monkeypatch.setattr(ray, "nodes", lambda: sorted(listed(), key=lambda node: node["NodeID"] != third.node_id))
        code, lines = ask(capsys, "--path", "ckpt", "--time_limit", "90")
        (name,) = (re.escape(n) for n in re.findall(r"node +(\S+ \(.*?\)): .*openrlhf 0\.10\.9", "\n".join(lines)))
        assert (code, lines[-1]) == (1, "2 problem(s): a run over these nodes cannot work"), lines
        assert re.match(rf"PROBLEM: openrlhf differs: .*0\.10\.9 on {name}", lines[-3])
        assert re.match(
            rf"PROBLEM: a file that node .* wrote into ckpt cannot be read on node {name}: it is not there -> ",
            lines[-2],
        )

        raylet = third.all_processes["raylet"][0].process
        raylet.send_signal(signal.SIGSTOP)
        code, lines = ask(capsys, "--time_limit", "5")
        assert code == 1
        assert any(re.match(rf"PROBLEM: node {name}: no answer within 5 s -> ", line) for line in lines), lines
    finally:
        for silent in ray_cluster.worker_nodes:
            silent.all_processes["raylet"][0].process.send_signal(signal.SIGCONT)
        ray_cluster.shutdown()


def ask(capsys, *flags: str) -> tuple[int, list[str]]:
    capsys.readouterr()
    code = doctor.main(["--cluster", *flags])
    return code, capsys.readouterr().out.splitlines()


def start_training_on_too_many_gpus(folder: Path) -> subprocess.Popen:
    """A run that asks for two GPUs, on the cluster with one."""
    rewards = Path(cluster_checks.__file__).parents[1] / "rewards" / "countdown_reward.py"
    write(folder / "prompts.jsonl", {"input": "1", "label": countdown.label((1,), 1)})
    model = save_tokenizer(folder / "model")
    flags = (
        f"--actor.num_gpus_per_node 1 --vllm.num_engines 1 --algo.kl.init_coef 0 --algo.advantage.estimator group_norm "
        f"--rollout.n_samples_per_prompt 2 --data.prompt_dataset {folder}/prompts.jsonl --data.input_key input --data.label_key label "
        f"--reward.remote_url {rewards} --ckpt.output_dir {folder}/hf --ckpt.path {folder}/ckpt --actor.model_name_or_path {model}"
    )
    command = [sys.executable, "-m", "deltal_openrlhf.train_ppo_ray", *flags.split()]
    return commands.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


# ── Without a cluster ──


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("127.0.0.1:1", "RAY_ADDRESS is 127.0.0.1:1, and no Ray cluster answers there"),
        ("http://127.0.0.1:8265", "allowed is HOST:PORT"),
        ("nonsense", "no Ray cluster answers at nonsense"),
    ],
)
def test_no_cluster_is_one_line(address, says, monkeypatch, capsys):
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(SystemExit) as stopped:
        doctor.main(["--cluster"])
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("deltal doctor: error: --cluster: ") and says in line


@pytest.mark.parametrize(
    "flags", [["--path", "x"], ["--cluster", "--time_limit", "0"], ["--cluster", "--time_limit", "nan"]]
)
def test_flags_that_make_no_sense(flags, capsys):
    with pytest.raises(SystemExit) as stopped:
        doctor.main(flags)
    assert stopped.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


# ── What is compared ──


def test_every_fact_that_differs_is_a_problem():
    same = dict.fromkeys(node.facts(), "1")
    nodes = {"a": same, "b": dict(same), "c": dict(same)}
    assert list(cluster_checks.differences(nodes)) == []
    for key in same:
        (problem,) = cluster_checks.differences(nodes | {"c": same | {key: "2"}})
        assert problem.what == f"{key} differs: 1 on a, b; 2 on c" and problem.fatal


def test_a_node_without_a_gpu_needs_no_driver():
    facts = dict.fromkeys(node.facts(), "1")
    driver = "NVIDIA driver"
    nodes = {"head": facts | {driver: "-"}, "a": facts, "b": dict(facts)}
    assert list(cluster_checks.differences(nodes)) == []
    (problem,) = cluster_checks.differences(nodes | {"b": facts | {driver: "2"}})
    assert problem.what == "NVIDIA driver differs: 1 on a; 2 on b"


def test_two_checkouts_of_one_version_differ(tmp_path, monkeypatch):
    digests = []
    for text in ("x = 1\n", "x = 2\n", "x = 1\n"):
        package = tmp_path / str(len(digests)) / f"checkout_{len(digests)}"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(text)
        monkeypatch.syspath_prepend(package.parent)
        digests.append(node._digest(package.name))
    assert digests[0] == digests[2] != digests[1]
    assert node._digest("no_such_package") == "-"
