"""A start whose workers are on the nodes of a cluster, from a machine without a GPU, and one whose model is on ModelScope."""

import re
import sys
from types import ModuleType

import datasets
import pytest
import torch
import transformers
from support.run_data import arguments, save_tokenizer, write

from deltal_openrlhf.train import start
from deltal_openrlhf.train.elsewhere import NEEDED, NOT_CHECKED


@pytest.fixture
def checked(tmp_path, monkeypatch):
    """checked(*flags, ...): lines of a real start with its data here. cluster: RAY_ADDRESS. gpus: of this machine."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    rows = write(tmp_path / "rows.jsonl", {"input": "1+1=", "label": "2"})
    folders = ["--ckpt.path", str(tmp_path / "ckpt"), "--ckpt.output_dir", str(tmp_path / "out")]
    (tmp_path / "reward.py").write_text("def reward_func(queries, prompts, labels): ...\n")

    def check(*flags, model, reward=str(tmp_path / "reward.py"), cluster="10.0.0.1:6379", gpus=0, on_cpu=False):
        monkeypatch.setenv("RAY_ADDRESS", cluster)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        needed = ["--data.prompt_dataset", str(rows), *folders, "--algo.kl.init_coef", "0"]
        args = arguments(model, *needed, *flags, reward=reward)
        found = start.check(args, {}, on_cpu)
        for lock in found.locks:
            lock.close()
        return found.lines()

    return check


@pytest.fixture
def model(tmp_path):
    return save_tokenizer(tmp_path / "model")


def test_what_only_workers_read_may_be_on_their_nodes_alone(checked, model):
    critic = "--algo.advantage.estimator", "gae", "--critic.model_name_or_path", "/nodes/critic"
    lines = checked(*critic, model=model, reward="/nodes/reward.py")
    assert f"--critic.model_name_or_path /nodes/critic: no such folder, {NOT_CHECKED}" in lines
    assert f"--reward.remote_url: not there: /nodes/reward.py, {NOT_CHECKED}" in lines
    assert any("the longest of 4 tokens" in line for line in lines)  # of the model, its tokenizer is here, and no more


def test_a_reward_file_that_needs_what_the_nodes_have_is_not_refused(checked, model, tmp_path):
    (tmp_path / "reward.py").write_text("import package_of_the_nodes\n")
    (line,) = (line for line in checked(model=model) if "package_of_the_nodes" in line)
    assert line.startswith("--reward.remote_url ") and line.endswith(NOT_CHECKED)


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ({"gpus": 2}, "--actor.model_name_or_path /nodes/model: no such folder$"),  # some of the workers may be here
        ({"on_cpu": True}, "--actor.model_name_or_path /nodes/model: no such folder$"),
        (
            {},
            f"--actor.model_name_or_path /nodes/model: no such folder; {re.escape(NEEDED)}$",
        ),  # no worker reads the rows
        ({"cluster": "local"}, "torch was built for GPUs and sees none"),  # a cluster of this machine alone
    ],
)
def test_a_policy_without_its_tokenizer_here_is_refused(where, says, checked):
    with pytest.raises(ValueError, match=says):
        checked(model="/nodes/model", **where)


def test_the_driver_reads_the_data_itself(checked, model):
    with pytest.raises(ValueError, match="^--eval.dataset: not there: /nodes/test.jsonl"):
        checked("--eval.dataset", "/nodes/test.jsonl", model=model)


def test_modelscope_is_asked_by_the_checks_too(checked, tmp_path, monkeypatch):
    """The package stands for modelscope's, which is not installed here."""
    folder = save_tokenizer(tmp_path / "model")
    host_load = transformers.AutoTokenizer.from_pretrained

    def patch_hub():
        by_name = {"owner/model": folder}
        monkeypatch.setattr(
            transformers.AutoTokenizer, "from_pretrained", lambda name, **how: host_load(by_name.get(name, name), **how)
        )

    for name in ("modelscope", "modelscope.utils", "modelscope.utils.hf_util"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["modelscope.utils.hf_util"].patch_hub = patch_hub
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="--actor.model_name_or_path owner/model: the tokenizer cannot be loaded"):
        checked(model="owner/model", on_cpu=True)
    lines = checked("--use_ms", model="owner/model", on_cpu=True)
    assert any("the longest of 4 tokens" in line for line in lines)
    assert any(
        "workers ask the Hugging Face hub all the same for --actor.model_name_or_path owner/m" in line for line in lines
    )


@pytest.mark.parametrize("kind", [[], ["--dry_run"]])
def test_modelscope_has_to_be_installed(kind, checked, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "modelscope", None)
    with pytest.raises(ValueError, match=r"^--use_ms needs modelscope \(pip install modelscope\): "):
        checked("--use_ms", *kind, model=save_tokenizer(tmp_path / "model"), on_cpu=True)
