"""GPUs that a run asks for: counted against what the host's own train() places, and compared with those that are there."""

import contextlib
import os
import sys
from types import SimpleNamespace

import pytest
from support import commands
from support.host_arguments import host_arguments

from deltal_openrlhf.train import checks, gpus

pytestmark = pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")

REMOTE = ("--reward.remote_url", "reward.py")
GROUP_NORM = ("--algo.advantage.estimator", "group_norm", "--rollout.n_samples_per_prompt", "2")
GAE = ("--algo.advantage.estimator", "gae", "--critic.model_name_or_path", "critic")


def sizes(**groups: str) -> tuple[str, ...]:
    """sizes(actor="2x4", vllm="3x2"): flags."""
    names = {"vllm": ("num_engines", "tensor_parallel_size")}
    return tuple(
        word
        for group, size in groups.items()
        for name, number in zip(names.get(group, ("num_nodes", "num_gpus_per_node")), size.split("x"), strict=True)
        for word in (f"--{group}.{name}", number)
    )


# flags, GPUs by hand
CASES = {
    "actor and engines": (
        (*REMOTE, *GROUP_NORM, *sizes(actor="1x2", ref="1x2", vllm="2x1"), "--algo.kl.init_coef", "0"),
        4,
    ),
    "one GPU each": ((*REMOTE, *GROUP_NORM, *sizes(actor="1x1", vllm="1x1"), "--algo.kl.init_coef", "0"), 2),
    "nodes of one GPU": ((*REMOTE, *GROUP_NORM, *sizes(actor="3x1", vllm="1x1"), "--algo.kl.init_coef", "0"), 4),
    "tensor parallel engines": (
        (*REMOTE, *GROUP_NORM, *sizes(actor="2x4", vllm="3x2"), "--algo.kl.init_coef", "0"),
        14,
    ),
    "reference apart": ((*REMOTE, *GROUP_NORM, *sizes(actor="1x2", ref="1x3", vllm="1x1")), 6),
    "reference with the actor": (
        (*REMOTE, *GROUP_NORM, *sizes(actor="1x2", ref="1x2", vllm="1x1"), "--train.colocate_actor_ref"),
        3,
    ),
    "all together": ((*REMOTE, *GROUP_NORM, *sizes(actor="1x4", ref="1x4", vllm="2x2"), "--train.colocate_all"), 4),
    "all together, async": (
        (
            *REMOTE,
            *GROUP_NORM,
            *sizes(actor="1x2", ref="1x2", vllm="3x1"),
            "--train.colocate_all",
            "--train.async_enable",
        ),
        5,
    ),
    "critic and reward model apart": (
        (*GAE, *sizes(actor="1x2", ref="1x1", critic="1x3", reward="1x4", vllm="1x1")),
        11,
    ),
    "critic with reward model": (
        (
            *GAE,
            *sizes(actor="1x2", ref="1x1", critic="1x3", reward="1x3", vllm="1x1"),
            "--train.colocate_critic_reward",
        ),
        7,
    ),
    "all five together": (
        (*GAE, *sizes(actor="1x2", ref="1x2", critic="1x2", reward="1x1", vllm="1x2"), "--train.colocate_all"),
        2,
    ),
    # The host makes another placement group for these two, all together or not.
    "all together, critic with reward model": (
        (
            *GAE,
            *sizes(actor="1x2", ref="1x2", critic="1x3", reward="1x3", vllm="2x1"),
            *("--train.colocate_all", "--train.colocate_critic_reward"),
        ),
        5,
    ),
    "reward model, no critic": (
        (*GROUP_NORM, *sizes(actor="1x2", ref="1x2", reward="1x2", vllm="1x1"), "--train.colocate_critic_reward"),
        7,
    ),
    "agent": ((*GROUP_NORM, "--train.agent_func_path", "agent.py", *sizes(actor="1x1", ref="1x1", vllm="1x1")), 3),
}


class Placed(Exception):
    """The host has placed everything."""


@pytest.fixture
def placed(monkeypatch):
    """placed(args): GPUs that the host's train() reserves, in placement groups or for actors outside of one. Nothing is started."""
    import openrlhf.trainer.ppo_trainer
    import openrlhf.trainer.ppo_trainer_async
    import ray
    from openrlhf.cli import train_ppo_ray
    from openrlhf.trainer.ray import launcher, vllm_engine

    reserved = []

    class Group:
        def __init__(self, bundles, strategy):
            self.size, self.shares = len(bundles), [0.0] * len(bundles)
            reserved.append(sum(bundle["GPU"] for bundle in bundles))

        def ready(self):
            return None

    class Actor:
        @classmethod
        def options(cls, num_cpus, num_gpus, scheduling_strategy=None, **_):
            if scheduling_strategy is None:
                reserved.append(num_gpus)
            else:
                group, index = scheduling_strategy.placement_group, scheduling_strategy.placement_group_bundle_index
                group.shares[index] += num_gpus
                assert group.shares[index] <= 1 + 1e-9, "Ray would never start this actor"
            return SimpleNamespace(
                remote=lambda *_, **__: SimpleNamespace(get_master_addr_port=SimpleNamespace(remote=str))
            )

    def stop(*_, **__):
        raise Placed

    for module in (train_ppo_ray, launcher, vllm_engine):
        monkeypatch.setattr(module, "placement_group", Group)
    for name in ("PolicyModelActor", "ReferenceModelActor", "CriticModelActor", "RewardModelActor"):
        monkeypatch.setattr(train_ppo_ray, name, Actor)
    monkeypatch.setattr(vllm_engine, "RolloutRayActor", Actor)
    monkeypatch.setattr(vllm_engine, "get_bundle_indices", lambda group, i, n: list(range(i * n, (i + 1) * n)))
    monkeypatch.setattr(train_ppo_ray, "create_vllm_engines", vllm_engine.create_vllm_engines)
    monkeypatch.setattr(train_ppo_ray, "get_strategy", lambda args: SimpleNamespace(print=lambda *_: None))
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "get", lambda ref: ("address", 1))
    for module, name in (
        (openrlhf.trainer.ppo_trainer, "PPOTrainer"),
        (openrlhf.trainer.ppo_trainer_async, "PPOTrainerAsync"),
    ):
        monkeypatch.setattr(module, name, SimpleNamespace(remote=stop))

    def place(args):
        args.actor.model_name_or_path = "model"
        if args.algo.advantage.estimator != "gae":
            args.critic.model_name_or_path = None  # as the host's own command line does
        if args.train.agent_func_path:
            args.reward.remote_url = "agent"
        with contextlib.suppress(Placed):
            train_ppo_ray.train(args)
        return sum(reserved)

    return place


@pytest.mark.parametrize("name", CASES)
def test_the_number_asked_for_is_what_the_host_places(name, placed):
    flags, by_hand = CASES[name]
    args = host_arguments(*flags)
    checks.check_placement(args)
    asked = gpus.total(args)
    assert asked == by_hand == placed(args)
    assert gpus.total(args) == by_hand  # also with what the host has filled in


def test_more_gpus_than_there_are_is_one_line_with_the_flags():
    args = host_arguments(*REMOTE, *GROUP_NORM, *sizes(actor="1x4", ref="1x2", vllm="2x1"))
    with pytest.raises(ValueError) as refused:
        gpus.check(args, 4, "this machine")
    assert str(refused.value) == (
        "this run asks for 8 GPUs: 4 for actor (--actor.num_nodes x --actor.num_gpus_per_node), 2 for vllm (--vllm.num_engines x "
        "--vllm.tensor_parallel_size), 2 for ref (--ref.num_nodes x --ref.num_gpus_per_node); this machine has 4; with "
        "--train.colocate_all the models share GPUs"
    )
    gpus.check(args, 8, "this machine")


def test_colocated_models_are_one_number():
    args = host_arguments(*REMOTE, *GROUP_NORM, *sizes(actor="1x4", ref="1x4", vllm="4x1"), "--train.colocate_all")
    with pytest.raises(ValueError) as refused:
        gpus.check(args, 2, "the Ray cluster")
    assert str(refused.value) == (
        "this run asks for 4 GPUs: 4 for actor, vllm, ref (--actor.num_nodes x --actor.num_gpus_per_node); the Ray cluster has 2"
    )


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ((*sizes(actor="1x2", ref="1x1", vllm="2x1"), "--train.colocate_all"), "those of --ref are (1, 1)"),
        (
            (*sizes(actor="1x2", ref="1x2", vllm="2x1", critic="1x4", reward="1x2"), "--train.colocate_all"),
            "--critic.num_nodes x --critic.num_gpus_per_node is 4, --actor.num_nodes x --actor.num_gpus_per_node is 2",
        ),
        (
            (*sizes(actor="1x2", ref="1x2", vllm="2x1", critic="1x2", reward="1x1"), "--train.colocate_critic_reward"),
            "those of --reward are (1, 1)",
        ),
    ],
)
def test_groups_that_cannot_share_are_refused(flags, says):
    with pytest.raises(ValueError) as refused:
        checks.check_placement(host_arguments(*GAE, *flags))
    assert says in str(refused.value) and "\n" not in str(refused.value)


SIMULATED = """
import sys
import torch
torch.version.cuda, torch.cuda.device_count = "13.0", lambda: 1
from deltal_openrlhf.host.process import prepare
prepare()
from deltal_openrlhf.train import gpus, launch
gpus.joins_cluster = lambda: False
launch.main(sys.argv[1:])
"""


def test_a_machine_with_too_few_gpus_is_refused_before_ray(tmp_path):
    """The real command on a machine with one GPU: a torch built for CUDA is simulated. With --train.colocate_all the same run fits."""
    (tmp_path / "reward.py").write_text("def reward_func(queries, prompts, labels): ...\n")
    (tmp_path / "prompts.jsonl").write_text('{"input": "1", "label": ""}\n')
    flags = [
        *(
            "--data.prompt_dataset",
            str(tmp_path / "prompts.jsonl"),
            "--data.input_key",
            "input",
            "--data.label_key",
            "label",
        ),
        *("--reward.remote_url", str(tmp_path / "reward.py"), *GROUP_NORM, *sizes(actor="1x1", vllm="1x1")),
        *("--algo.kl.init_coef", "0", "--actor.model_name_or_path", "none", "--ckpt.path", str(tmp_path / "ckpt")),
    ]
    variables = {
        name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "CUDA_VISIBLE_DEVICES")
    }
    variables["RAY_TMPDIR"] = str(tmp_path)  # where a Ray that was started would leave its files
    process = commands.run(
        [sys.executable, "-c", SIMULATED, *flags],
        capture_output=True,
        text=True,
        timeout=100,
        env=variables,
        cwd=tmp_path,
    )
    assert process.returncode == 2, process.stdout + process.stderr
    (line,) = [line for line in process.stderr.splitlines() if line.startswith("deltal train: ")]
    assert line.startswith("deltal train: error: this run asks for 2 GPUs: 1 for actor (")
    assert "; this machine has 1; with --train.colocate_all" in process.stderr
    assert not any(path.name == "ray" for path in tmp_path.iterdir())
    gpus.check(host_arguments(*flags, "--train.colocate_all"), 1, "this machine")
