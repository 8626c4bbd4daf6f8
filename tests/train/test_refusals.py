"""What `deltal train` refuses before Ray starts, in a dry run or a real start: all runs in one process, from a folder without data."""

import pytest
from support.launches import ROOT, launch_all, lines
from support.recipe_settings import config
from support.run_data import save_tokenizer, write
from transformers import LlamaConfig

from deltal_openrlhf.train.numbers import STEPS_ALONE

REWARD = ROOT / "deltal_openrlhf" / "rewards" / "math_reward.py"
SMALL = "--actor.num_gpus_per_node 1 --vllm.num_engines 1".split()
NO_ENGINE = """--reward.remote_url http://127.0.0.1:1/ --train.dynamic_batch_enable --train.max_tokens_per_gpu 9000 --vllm.num_engines 0
    --rollout.batch_size 64 --rollout.n_samples_per_prompt 4 --train.batch_size 128""".split()
FROM_HUB = ["--data.prompt_dataset", "hub/set", "--eval.dataset", "hub/set", "--reward.remote_url", str(REWARD)]
LOCAL = ["--data.prompt_dataset", "rows.jsonl", "--eval.dataset", "rows.jsonl", "--reward.remote_url", str(REWARD)]
LOCAL += ["--actor.model_name_or_path", "tokenizer"]
MATH = config("math-deltal")
EIGHT_NODES = "--actor.num_nodes 8 --vllm.num_engines 64".split()
BAD_NUMBERS = {  # all ranges: test_numbers.py
    "--rollout.max_new_tokens 9216": "allowed is 1 to 9215, less than --data.max_len",
    "--actor.lr_scheduler cosin": "allowed is linear, cosine, ",
    "--ckpt.save_steps 0": "allowed is a number of PPO steps from 1 on, or -1 for never",
    "--algo.kl.target -0.1": "allowed is more than 0, and finite",
    "--train.async_queue_size 0": "allowed is 1 or more",
    "--ds.ring_attn_size 0": "allowed is 1 or more",
}
FIVE_KINDS = """--loss_agg delta --alpha 1 --actor.adam.lr -1 --rollout.batch_size 4 --rollout.n_samples_per_prompt 4 --train.batch_size 7
    --data.max_len 16 --rollout.max_new_tokens 8 --data.prompt_dataset none.jsonl --reward.remote_url deltal:math --backend megatron
    --megatron.tensor_parallel_size 3 --ds.zero_stage two --actor.model_name_or_path short --data.label_key label
    --algo.advantage.estimator group_norm --actor.num_gpus_per_node 1 --actor.lr 1 --algo.kl.init_coef 0 --config five.yaml""".split()
RUNS = {
    "other loss": [*MATH, "--dry_run", "--loss_agg", "token-mean"],
    "other loss of DAPO": [*config("countdown-dapo-deltal"), "--dry_run", "--loss_agg", "token-mean"],
    "a loss without a recipe": [
        *config("countdown-dapo-deltal"),
        "--dry_run",
        "--loss_agg",
        "seq-mean-token-sum-norm",
    ],
    "one engine too few": [*MATH, "--dry_run", "--vllm.num_engines", "3"],
    "three GPUs": [*MATH, "--dry_run", "--actor.num_gpus_per_node", "3", "--vllm.num_engines", "3"],
    "ring attention on a CPU": [*MATH, *SMALL, *FROM_HUB, "--ds.ring_attn_size", "2"],
    "deepcompile on a CPU": [*MATH, *SMALL, *FROM_HUB, "--ds.deepcompile"],
    "refused by the host": [*MATH, "--dry_run", "--train.partial_rollout_enable"],
    "refused by the host in a real start": [*MATH, *SMALL, *LOCAL, "--train.partial_rollout_enable"],
    "real start without data": [*config("countdown-deltal"), *SMALL],
    "no engine": ["--dry_run", *NO_ENGINE],
    "no file": ["--config", "none.yaml", "--dry_run"],
    "7b after 2 nodes": [*config("math-deltal", "overlays/2nodes", "overlays/7b"), "--dry_run"],
    "8 nodes": [*config("math-deltal", "overlays/2nodes"), "--dry_run", *EIGHT_NODES],
    "unknown flag": [*MATH, "--dry_run", "--actor.adam.lrr", "1"],
    "unknown flags": [*MATH, "--dry_run", "--adam.lr", "1", "--y"],
    "name of Hugging Face": ["--dry_run", "--actor.learning-rate", "1e-6"],
    "abbreviated": ["--dry_run", "--loss_ag", "deltal"],
    "abbreviated, OpenRLHF's": ["--dry_run", "--actor.num_gpus=2"],
    "unlike any": [*MATH, "--dry_run", "--qqqqqqqqqqqqqqqqqq"],
    "8 nodes, micro batches of 1": [
        *config("math-deltal", "overlays/2nodes"),
        *("--dry_run", "--train.micro_batch_size", "1", "--rollout.micro_batch_size", "1", *EIGHT_NODES),
    ],
}
RUNS |= {flags: [*MATH, "--dry_run", *flags.split()] for flags in BAD_NUMBERS}
RUNS |= {f"five kinds {dry}": [*FIVE_KINDS, *["--dry_run"] * dry] for dry in (True, False)}
RUNS |= {
    # Without the recipe's --data.label_key. The last one's reward is the user's own.
    f"no label, {reward}": [*SMALL, *LOCAL, "--algo.advantage.estimator", "group_norm", "--algo.kl.init_coef", "0"]
    + ["--rollout.n_samples_per_prompt", "4", "--reward.remote_url", reward, "--dry_run"]
    for reward in ("deltal:math", "deltal:countdown", str(REWARD), "own.py")
}
RUNS |= {
    "longer than the model": [*MATH, "--dry_run", "--actor.model_name_or_path", "short"],
    "broken reward file": [*MATH, "--dry_run", "--reward.remote_url", "broken.py"],
}

ALSO = {
    "three GPUs": ["is 1280, which is not a multiple of ranks x --rollout.micro_batch_size, 6"],
    "no engine": ["OpenRLHF refuses these flags: Only support `--packing_samples` with vLLM."],
    "ring attention on a CPU": [
        "--ds.ring_attn_size (ring attention) does not go with ∆L",
        "is 1, which is not a multiple of --ds.ring_attn_size x --ds.tensor_parallel_size, 2",
    ],
    "deepcompile on a CPU": ["--ds.deepcompile (deepcompile) does not go with ∆L"],
}
"""Other true refusals of a run."""


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> dict[str, tuple]:
    """name -> (exit status, stdout, stderr) of every run."""
    folder = tmp_path_factory.mktemp("without_data")
    LlamaConfig(max_position_embeddings=4096).save_pretrained(folder / "short")
    (folder / "five.yaml").write_text("train.micro_batch_size: many\nvllm.engines: 1\n")
    (folder / "own.py").write_text("def reward_func(queries, prompts, labels): ...\n")
    (folder / "broken.py").write_text("import no_such_package\n")
    save_tokenizer(folder / "tokenizer")
    write(folder / "rows.jsonl", {"input": "1+1=", "label": "2"})
    return launch_all(RUNS, folder)


@pytest.mark.parametrize(
    ("run", "says"),
    [
        (
            "other loss",
            "--alpha is 0.75, --deltal.scope is step, --deltal.max_length is 8192.0, but --loss_agg is token-mean; --alpha is allowed with",
        ),
        (
            "other loss",
            "math-deltal.yaml:9 (--deltal.max_length); `alpha: null`, `deltal.scope: null`, `deltal.max_length: null` in a later --config ",
        ),
        ("other loss", "; --config math-dapo-norm is the recipe with token-mean\n"),
        ("other loss of DAPO", "; --config countdown-dapo-neither is the recipe with token-mean\n"),
        ("a loss without a recipe", "`deltal.scope: null` in a later --config file take them back)\n"),
        ("7b after 2 nodes", "--actor.num_nodes x --actor.num_gpus_per_node is 16, --vllm.num_engines x"),
        ("8 nodes", "--train.batch_size is 320, which is not a multiple of ranks x --train.micro_batch_size, 128"),
        *[(flags, f"error: {flags.split()[0]} is ") for flags in BAD_NUMBERS],
        *BAD_NUMBERS.items(),
        (
            "one engine too few",
            "--vllm.num_engines x --vllm.tensor_parallel_size is 3; with --train.colocate_all they share the GPUs",
        ),
        ("three GPUs", "--train.batch_size is 320, which is not a multiple of ranks x --train.micro_batch_size, 6"),
        (
            "refused by the host",
            "OpenRLHF refuses these flags: --train.partial_rollout_enable requires --train.async_enable.",
        ),
        (
            "refused by the host in a real start",
            "OpenRLHF refuses these flags: --train.partial_rollout_enable requires",
        ),
        (
            "real start without data",
            "--data.prompt_dataset: not there: data/countdown/train.jsonl; make such files with deltal data",
        ),
        ("no engine", "--vllm.num_engines is 0; responses come from vLLM only, so allowed is 1 or more"),
        pytest.param("ring attention on a CPU", "is 2; without a GPU only 1 is allowed", marks=pytest.mark.cpu_build),
        pytest.param("deepcompile on a CPU", "is True; without a GPU only False is", marks=pytest.mark.cpu_build),
        (
            "longer than the model",
            "error: --data.max_len is 9216, but short has 4096 positions (max_position_embeddings",
        ),
        (
            "broken reward file",
            "error: --reward.remote_url broken.py: line 1: ModuleNotFoundError: No module named 'no_such_package'",
        ),
        ("no file", "error: none.yaml: no such file, and no shipped recipe has this name; `deltal recipes` lists them"),
        ("unknown flag", "unrecognized arguments: --actor.adam.lrr 1; the nearest known one is '--actor.adam.lr'"),
        ("unknown flags", "--adam.lr 1 --y; the nearest known ones are '--actor.adam.lr', '--critic.adam.lr'"),
        (
            "name of Hugging Face",
            "--actor.learning-rate 1e-6; the nearest known ones are '--actor.muon.lr', '--actor.adam.lr'\n",
        ),
        ("abbreviated", "unrecognized arguments: --loss_ag deltal; the nearest known one is '--loss_agg'\n"),
        ("abbreviated, OpenRLHF's", "--actor.num_gpus=2; the nearest known one is '--actor.num_gpus_per_node'\n"),
        ("unlike any", "error: unrecognized arguments: --qqqqqqqqqqqqqqqqqq\n"),
    ],
)
def test_what_does_not_fit_ends_with_status_2_and_one_line(run, says, real):
    code, out, err = real[run]
    assert code == 2
    said = err.splitlines(keepends=True)
    assert all(line.startswith("deltal train: ") for line in said)
    # Next to it, nothing but the files and models that this folder does not have, and what is as true.
    assert [says in line for line in said].count(True) == 1
    also = (says, *ALSO.get(run, ()), "not there: data/", "not given: ", "--vllm.num_engines is not given; ")
    assert [line for line in said if not any(words in line for words in also)] == []


ALL_AT_ONCE = [
    "argument --loss_agg: invalid choice: 'delta' ",
    "argument --ds.zero_stage: invalid int value: 'two'",
    "unrecognized arguments: --actor.lr 1; ",
    "five.yaml:1: argument --train.micro_batch_size: invalid int value: 'many'",
    "five.yaml:2: unknown key 'vllm.engines'; ",
    "--actor.adam.lr is -1.0, allowed is 0 or more",
    "--actor.num_nodes x --actor.num_gpus_per_node is 1, which is not a multiple of tensor x context x pipeline parallel size, 3 x 1 x 1 ",
    "--rollout.batch_size x --rollout.n_samples_per_prompt is 16, which is not a multiple of --train.batch_size, 7",
    "--data.prompt_dataset: not there: none.jsonl",
    "the model's num_attention_heads is 32, which is not a multiple of --megatron.tensor_parallel_size, 3",
]
"""The flags of FIVE_KINDS and of five.yaml that are unfit, in the order of the checks."""


@pytest.mark.parametrize("dry", [True, False], ids=["dry run", "real start"])
def test_all_that_is_wrong_is_said_at_once_and_nothing_that_follows_from_it(dry, real):
    code, out, err = real[f"five kinds {dry}"]
    assert (code, out) == (2, "")
    wanted = [
        f"deltal train: error: {'a real start would be refused too: ' * ('not there' in line and dry)}{line}"
        for line in ALL_AT_ONCE
    ]
    said = err.splitlines()
    assert [line[: len(begin)] for line, begin in zip(said, wanted, strict=True)] == wanted


def test_a_reward_that_grades_by_labels_needs_their_column_and_the_users_own_does_not(real):
    for reward in ("deltal:math", "deltal:countdown", str(REWARD)):
        code, _, err = real[f"no label, {reward}"]
        start = (
            f"deltal train: error: --data.label_key is not given, but --reward.remote_url {reward} grades by labels; "
        )
        assert code == 2 and err.startswith(start) and err.count("\n") == 1
    code, out, err = real["no label, own.py"]
    assert (code, err) == (0, "")
    assert out.endswith("A real start would begin.\n")


def test_8_nodes_need_micro_batches_of_1(real):
    code, out, _ = real["8 nodes, micro batches of 1"]
    assert code == 0
    assert "micro batches per optimizer step and rank 5 64 ranks, 5 responses each" in lines(out)


def test_the_allowed_schedulers_are_those_of_transformers_that_step_with_what_the_host_gives_them():
    import torch
    from transformers import get_scheduler
    from transformers.trainer_utils import SchedulerType

    def steps(name: str) -> bool:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))])
        least = {"min_lr_rate": 0.1} if name.endswith("with_min_lr") else {}
        try:
            scheduler = get_scheduler(name, optimizer, 1, 10, scheduler_specific_kwargs=least)
            optimizer.step()
            scheduler.step()
        except TypeError:
            return False
        return True

    assert {kind.value for kind in SchedulerType if steps(kind.value)} == set(STEPS_ALONE)
