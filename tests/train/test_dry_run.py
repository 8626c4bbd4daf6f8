"""The real command with --dry_run: what it reports. All runs are in one process, from a folder without data."""

import json
from types import SimpleNamespace

import pytest
from support.host_arguments import host_arguments
from support.launches import launch_all, lines
from support.recipe_settings import CONFIGS, MADE_OF, OVERLAYS, PROMPT, config
from support.run_data import save_tokenizer
from transformers import LlamaConfig

from deltal_openrlhf import backends
from deltal_openrlhf.train import dry_run
from deltal_openrlhf.train.recipes import EXPERIMENTS

RUNS = {name: [*config(name), "--dry_run"] for name in MADE_OF}
RUNS |= {
    f"overlay {path.stem}": [*config("math-deltal", f"overlays/{path.stem}"), "--dry_run"]
    for path in OVERLAYS.glob("*.yaml")
}
BY_TOKENS = """--reward.remote_url http://127.0.0.1:1/ --train.dynamic_batch_enable --train.max_tokens_per_gpu 9000 --vllm.num_engines 8
    --rollout.batch_size 64 --rollout.n_samples_per_prompt 4 --train.batch_size 128""".split()
MATH = config("math-deltal")
# What the authors did not have, as text in the report.
CHANGED_TO = {
    "algo.advantage.is_correction_level": "token",
    "algo.dynamic_filtering_range": "0.2 0.8",
    "deltal.unmarked": "whole",
    "reward.clip_range": "-0.5 0.5",
    "algo.kl.use_loss": "True",
    "train.enable_ema": "True",
    "data.max_samples": "1000",
    "reward.stop_properly_penalty_coef": "0.5",
    "actor.policy_loss_type": "ppo",  # the host's default: no difference
}
# 205 prompts in rollouts of 8: 26 a pass, the last one of 5. Each rollout of 8 has 32 responses, which are 2 optimizer steps of 16; the
# last one has 20, which are 2 as well. Two episodes.
SHORT = """--dry_run --actor.model_name_or_path m --reward.remote_url http://127.0.0.1:1/ --data.prompt_dataset odd.jsonl
    --algo.kl.init_coef 0 --algo.advantage.estimator group_norm --rollout.n_samples_per_prompt 4 --rollout.batch_size 8
    --train.batch_size 16 --train.num_episodes 2 --actor.num_nodes 1 --actor.num_gpus_per_node 1 --vllm.num_engines 1""".split()
CHANGED = [word for flag, value in CHANGED_TO.items() for word in (f"--{flag}", *value.replace("True", "").split())]
# The host's defaults, the recipe's own values, hardware, paths, logging.
SAME = """--actor.policy_loss_type ppo --actor.adam.lr 1e-6 --reward.clip_range -10 10 --vllm.enforce_eager --ds.adam_offload
    --logger.logging_steps 2 --ckpt.output_dir x --data.prompt_dataset y.jsonl --train.micro_batch_size 4 --train.seed 42
    --rollout.micro_batch_size 1""".split()
RUNS |= {
    "7b on 2 nodes": [*config("countdown-dapo-deltal", "overlays/7b", "overlays/2nodes"), "--dry_run"],
    "gsm8k": [*config("gsm8k-deltal"), "--dry_run"],
    "gsm8k on 4 GPUs": [*config("gsm8k-deltal", "overlays/4gpu"), "--dry_run"],
    "gsm8k on 2 nodes": [*config("gsm8k-deltal", "overlays/2nodes"), "--dry_run"],
    "countdown on a CPU": [*config("countdown-deltal", "overlays/cpu"), "--dry_run"],
    "countdown on a CPU, here": [
        *config("countdown-deltal", "overlays/cpu"),
        *"--actor.model_name_or_path long --data.prompt_dataset problems.jsonl --eval.dataset problems.jsonl --dry_run".split(),
    ],
    "no recipe": ["--dry_run", *BY_TOKENS],
    "scope rollout": [*MATH, "--dry_run", "--deltal.scope", "rollout", "--ckpt.save_steps", "2000"],
    "two recipes": [*config("countdown-dapo-soft-punishment", "math-deltal"), "--dry_run"],
    "other experiment": [*config("math-dapo-deltal"), "--dry_run", *CHANGED],
    "same by hand": [*MATH, "--dry_run", *SAME],
    "with a checkpoint": [*MATH, "--dry_run", "--ckpt.path", "saved", "--deltal.allow_changed_loss"],
    "another rate": [
        *MATH,
        "--dry_run",
        "--ckpt.path",
        "saved",
        "--deltal.allow_changed_loss",
        "--actor.adam.lr",
        "2e-6",
    ],
    "another stage": [
        *MATH,
        "--dry_run",
        "--ckpt.path",
        "saved",
        "--deltal.allow_changed_loss",
        "--ds.zero_stage",
        "2",
    ],
    "newest one damaged": [*MATH, "--dry_run", "--ckpt.path", "damaged", "--deltal.allow_changed_loss"],
    "all damaged": [*MATH, "--dry_run", "--ckpt.path", "ruined"],
    "another M": [*MATH, "--dry_run", "--deltal.max_length", "4096"],
    "an agent with a turn's M": [*config("countdown-calculator-deltal"), "--dry_run", "--deltal.max_length", "4096"],
    "length": SHORT,
    "length, filtered": [
        *SHORT,
        "--algo.dynamic_filtering_enable",
        "--ckpt.save_steps",
        "26",
        "--actor.lr_scheduler",
        "constant",
    ],
    "length, critic": [
        *SHORT,
        *"--algo.advantage.estimator gae --critic.num_gpus_per_node 1 --critic.freezing_steps 1 --actor.optim muon".split(),
        *"--data.max_samples 16 --ckpt.save_steps 9 --eval.dataset odd.jsonl --eval.steps 1".split(),
    ],
    "length, models only": [
        *SHORT,
        *"--ckpt.disable_ds --ckpt.save_hf --eval.dataset odd.jsonl --eval.steps 1000".split(),
    ],
    "length, no evaluation": [*SHORT, *"--eval.dataset odd.jsonl --eval.steps 1000".split()],
    "length, no checkpoint": [*SHORT, "--ckpt.disable_ds", "--ckpt.save_steps", "1", "--actor.lr_warmup_ratio", "0"],
    "all here": [
        *SHORT,
        *"--actor.model_name_or_path model --reward.remote_url deltal:math --data.label_key label".split(),
    ],
    "no reward": [word for word in SHORT if word not in ("--reward.remote_url", "http://127.0.0.1:1/")],
    "one GPU": """--dry_run --reward.remote_url http://127.0.0.1:1/ --data.prompt_dataset prompts.jsonl --algo.kl.init_coef 0
        --algo.advantage.estimator group_norm --rollout.n_samples_per_prompt 8
        --actor.policy_loss_type gspo --actor.num_nodes 1 --actor.num_gpus_per_node 1 --vllm.num_engines 1""".split(),
}


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> dict[str, tuple]:
    """name -> (exit status, stdout, stderr) of every run."""
    folder = tmp_path_factory.mktemp("empty")
    (folder / "prompts.jsonl").write_text('{"input": "2 + 3?", "label": "5"}\n' * 200)
    LlamaConfig().save_pretrained(folder / "model")
    save_tokenizer(folder / "model")
    (folder / "odd.jsonl").write_text('{"input": "2 + 3?", "label": "5"}\n' * 205)
    LlamaConfig(max_position_embeddings=8448).save_pretrained(folder / "long")
    save_tokenizer(folder / "long")
    problem = {"input": "1 + 2 = 3?", "label": json.dumps({"numbers": [1, 2], "target": 3})}
    (folder / "problems.jsonl").write_text((json.dumps(problem) + "\n") * 200)
    (folder / "saved" / "_actor" / "global_step7").mkdir(parents=True)
    (folder / "saved" / "_actor" / "latest").write_text("global_step7\n")
    for path, whole in (("damaged", '{"files": {}}'), ("ruined", "")):
        for tag, checksums in (("global_step5", whole), ("global_step7", "{"), ("global_step9", whole)):
            (folder / path / "_actor" / tag).mkdir(parents=True)
            (folder / path / "_actor" / tag / "checksums.json").write_text(checksums)
        (folder / path / "_actor" / "latest").write_text("global_step7")
    saved = {"optimizer": {"actor.adam.lr": 1e-6}, "fixed": {"--ds.zero_stage": 3}, "length": {"train.num_episodes": 7}}
    (folder / "saved" / "_actor" / "global_step7" / "run.json").write_text(json.dumps(saved))
    return launch_all(RUNS, folder)


@pytest.mark.parametrize("name", MADE_OF)
def test_the_dry_run_of_a_recipe_is_green(name, real):
    code, out, err = real[name]
    assert (code, err) == (0, "")
    task, family, method = MADE_OF[name]
    found = lines(out)
    responses, step = {"loss": ("1,280", 320), "dapo": ("1,024", 256)}[family]
    assert f"responses per rollout {responses} --rollout.batch_size x --rollout.n_samples_per_prompt" in found
    assert f"optimizer steps per rollout 4 of {step} responses" in found
    # 320 / 4 ranks / 2, 256 / 4 / 4; 2 x 8,448, 2 x 9,216, 4 x 3,328, 4 x 4,096 tokens
    micro = {"loss": "40 4 ranks, 80", "dapo": "16 4 ranks, 64"}[family]
    assert f"micro batches per optimizer step and rank {micro} responses each" in found
    tokens = {
        ("countdown", "loss"): "16,896",
        ("math", "loss"): "18,432",
        ("countdown", "dapo"): "13,312",
        ("math", "dapo"): "16,384",
    }
    assert f"in a micro batch {tokens[task, family]} forward and backward at once" in found
    assert (
        "GPUs: 4, of which this machine has none: without GPUs each is a process" in found
        and "actor, vllm 4 --actor.num_nodes x --actor.num_gpus_per_node" in found
    )
    assert any(line.startswith(f"actor.adam.lr 1e-06 {CONFIGS / name}.yaml:") for line in found)
    assert f"Compared with the authors' {EXPERIMENTS[name].script} (" in out
    assert "--ckpt.save_steps" in found  # the one setting of ours that differs in all
    assert ("--deltal.scope" in found) == (method["loss_agg"] == "deltal")
    assert ("dynamic sampling" in found) == (family == "dapo")
    assert ("signal of a prompt" in found) == (name == "math-dapo-soft-punishment")
    assert ("nodes x GPUs" in found) == (name in EIGHT_GPUS)
    for same in (
        "--actor.adam.lr",
        "--actor.adam.betas",
        "--train.batch_size",
        "--actor.dual_clip",
        "--data.max_len",
        "--eval.steps",
    ):
        assert same not in found
    source = {"countdown": " --source Jiayi-Pan/Countdown-Tasks-3to4 --train 327680 --test 1024", "math": ""}[task]
    make = (
        f"deltal data {task}{source} --out data/{task} --tokenizer Qwen/Qwen2.5-3B --max_prompt_tokens {PROMPT[task]}"
    )
    assert f"--data.prompt_dataset: not there: data/{task}/train.jsonl; make such files with {make}" in out
    assert make in (CONFIGS / f"{name}.yaml").read_text(encoding="utf-8")


# The authors' scripts that have N_GPUS=8.
EIGHT_GPUS = ("countdown-dapo-soft-punishment", "math-dapo-soft-punishment", "math-dapo-neither")


def test_the_dry_run_says_what_overlays_come_to(real):
    assert all(real[name][0] == 0 for name in RUNS if name.startswith("overlay"))
    code, out, _ = real["7b on 2 nodes"]
    found = lines(out)
    assert code == 0
    assert "micro batches per optimizer step and rank 4 16 ranks, 16 responses each" in found
    here = found.index("--actor.model_name_or_path")
    assert found[here + 1 : here + 3] == ["here Qwen/Qwen2.5-7B", "authors Qwen/Qwen2.5-3B"]
    assert "The authors published settings for Qwen/Qwen2.5-3B only." in found
    assert any(line.startswith("actor.num_nodes 2 ") and line.endswith("2nodes.yaml:4") for line in found)


@pytest.mark.cpu_build
def test_the_overlay_for_a_cpu_passes_on_this_machine(real):
    """With a model of enough positions: nothing is refused, and nothing is left that a start would have to change."""
    code, out, err = real["countdown on a CPU, here"]
    assert (code, err) == (0, "")
    assert out.endswith("\nA real start would begin.\n") and "this machine has no GPU" not in out
    # Without the overlay a start is refused here (REASONS), and with it only files and a model are missing.
    verdict = real["countdown on a CPU"][1].partition("A real start would be refused here")[2]
    assert verdict.count("not there: data/countdown/") == 2 and verdict.count("\n") == 3


def test_the_recipe_for_gsm8k_is_green_on_one_gpu_and_with_the_overlays_and_names_its_data(real):
    for name, ranks in (
        ("gsm8k", "80 1 rank, 320"),
        ("gsm8k on 4 GPUs", "20 4 ranks, 80"),
        ("gsm8k on 2 nodes", "5 16 ranks, 20"),
    ):
        code, out, err = real[name]
        assert (code, err) == (0, "")
        assert f"micro batches per optimizer step and rank {ranks} responses each" in lines(out)
        assert "∆L is active: alpha 0.75, scope step, M 1024" in lines(out)
        assert "no --config is one of their experiments" in out
    make = "deltal data gsm8k --holdout 256 --out data/gsm8k --template chat --tokenizer Qwen/Qwen2.5-0.5B-Instruct --max_prompt_tokens 512"
    assert f"--data.prompt_dataset: not there: data/gsm8k/train.jsonl; make such files with {make}" in real["gsm8k"][1]
    assert f"# Model and data: {make}\n" in (CONFIGS / "gsm8k-deltal.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        # A warm-up of 3 % of 104 steps, and a least rate of a tenth: OpenRLHF's defaults.
        (
            "length",
            [
                "PPO steps of the run 52 205 prompts x 2 episodes / 8 a rollout; the last rollout of an episode has 5",
                "optimizer steps of the run 104",
                "learning rate 1e-6 --actor.adam.lr; cosine_with_min_lr down to 1e-7, warm-up of 4 optimizer steps",
                "checkpoints none before the end --ckpt.save_steps is -1; the model is saved at the end",
                "micro batches per optimizer step and rank 16 1 rank, 16 responses each",
            ],
        ),
        (
            "length, filtered",
            [
                "PPO steps of the run at most 52 205 prompts x 2 episodes / 8 a rollout; the last rollout of an episode has 5",
                "optimizer steps of the run at most 104",
                "learning rate 1e-6 --actor.adam.lr; constant, no warm-up",
                "checkpoints every 26 PPO steps --ckpt.save_steps",
            ],
        ),
        # 2 PPO steps a pass. Of the 8 optimizer steps, the critic takes those of PPO steps 0 and 1 alone.
        (
            "length, critic",
            [
                "PPO steps of the run 4 16 prompts x 2 episodes / 8 a rollout",
                "optimizer steps of the run 4 of the policy, after 4 of the critic alone (--critic.freezing_steps)",
                "learning rate 0.02 and 1e-6 --actor.muon.lr and --actor.adam.lr; cosine_with_min_lr down to 0.002 and 1e-7, warm-up of "
                "1 optimizer step",
                "checkpoints after each best evaluation --ckpt.save_steps is 9; the model is saved at the end",
            ],
        ),
        (
            "length, models only",
            [
                "checkpoints none to resume from --ckpt.disable_ds; --ckpt.save_hf saves models between; the model is saved at the end"
            ],
        ),
        (
            "length, no evaluation",
            ["checkpoints none before the end --ckpt.save_steps is -1; the model is saved at the end"],
        ),
        (
            "length, no checkpoint",
            [
                "learning rate 1e-6 --actor.adam.lr; cosine_with_min_lr down to 1e-7, no warm-up",
                "checkpoints none to resume from --ckpt.disable_ds; the model is saved at the end",
            ],
        ),
        (
            "no recipe",
            [
                "learning rate 1e-6 --actor.adam.lr; cosine_with_min_lr down to 1e-7, warm-up of 3 % of the optimizer steps",
                "checkpoints none before the end --ckpt.save_steps is -1; the model is saved at the end",
            ],
        ),
        (
            "math-deltal",
            [
                "PPO steps of the run unknown until the prompts are there",
                "learning rate 1e-6 --actor.adam.lr; constant, no warm-up",
                "checkpoints every 100 PPO steps --ckpt.save_steps",
            ],
        ),
    ],
)
def test_it_says_how_long_the_run_is_and_how_it_learns(name, wanted, real):
    code, out, err = real[name]
    assert (code, err) == (0, "")
    assert set(wanted) - set(lines(out)) == set()


@pytest.mark.parametrize("flags", ["", "--train.dynamic_batch_enable", "--backend megatron"])
@pytest.mark.parametrize("rollout_micro", ["1", "2", "4"])
def test_a_rollout_has_the_steps_that_the_strategy_of_the_backend_counts(flags, rollout_micro):
    args = host_arguments(
        *"--actor.num_gpus_per_node 2 --train.batch_size 8 --train.micro_batch_size 2 --rollout.micro_batch_size".split(),
        *(rollout_micro, *flags.split()),
    )
    backend = backends.load(args.backend)
    strategy = SimpleNamespace(args=args, use_dynamic_batch=args.train.dynamic_batch_enable)
    for responses in range(1, 33):
        counted = dry_run._steps_of_rollout(SimpleNamespace(args=args, backend=backend), responses)
        assert counted == backend.strategy().steps_of_rollout(strategy, responses)


def test_the_last_lines_say_whether_a_real_start_would_begin(real):
    unseen = "the reward service or what is on the hub"
    assert real["length"][1].endswith(f"\n\nA real start would begin, unless it finds a fault in {unseen}.\n")
    assert real["all here"][1].endswith("\n\nA real start would begin.\n")
    (lacking,) = [line for line in lines(real["one GPU"][1]) if line.startswith("not given: ")]
    assert lacking.startswith("not given: a model (--actor.model_name_or_path); a recipe gives all, ")
    code, _, err = real["no reward"]
    assert code == 2 and err.startswith(
        "deltal train: error: not given: a reward (--reward.remote_url deltal:math, deltal:countdown, "
    )
    assert err.count("\n") == 1
    out = real["countdown-deltal"][1]
    verdict, *reasons = out[out.index("A real start would be refused here") :].splitlines()
    assert verdict == "A real start would be refused here, for 3 reasons:"
    assert [reason[: len(begin)] for reason, begin in zip(reasons, REASONS, strict=True)] == list(REASONS)


REASONS = (
    "  --data.prompt_dataset: not there: data/countdown/train.jsonl; ",
    "  --eval.dataset: not there: data/countdown/test.jsonl; ",
    "  this machine has no GPU: --actor.num_gpus_per_node is 4 ",
)


def test_a_dry_run_without_a_recipe_compares_nothing_and_asks_no_service(real):
    code, out, err = real["no recipe"]
    assert (code, err) == (0, "")
    assert "no --config is one of their experiments" in out
    # 128 responses of a step over 8 ranks; of 2,048 tokens each, 4 fit into 9,000.
    assert "micro batches per optimizer step and rank 1 to 4, by tokens 8 ranks, 16 responses each" in lines(out)
    assert "in a micro batch 9,000 forward and backward at once" in lines(out)


def test_scope_rollout_is_the_authors(real):
    code, out, _ = real["scope rollout"]
    assert code == 0
    assert "--deltal.scope" not in lines(out)
    assert "--ckpt.save_steps" not in lines(out)
    assert "∆L is active: alpha 0.75, scope rollout, M 8192" in lines(out)


def rows(report: str) -> dict[str, tuple[str, str]]:
    """{what: (here, the authors')} of the comparison."""
    found = lines(report)
    return {
        found[i - 1]: (line.removeprefix("here").strip(), found[i + 1].removeprefix("authors").strip())
        for i, line in enumerate(found)
        if line.startswith("here ")
    }


def test_every_changed_flag_is_a_difference(real):
    code, out, err = real["other experiment"]
    assert (code, err) == (0, "")
    found = rows(out)
    unknown = "not in the authors' experiment"
    theirs = {
        "algo.advantage.is_correction_level": "off",
        "algo.dynamic_filtering_range": "0 1",
        "algo.kl.use_loss": "False",
        "reward.stop_properly_penalty_coef": "None",
    }
    for flag, value in CHANGED_TO.items():
        if flag != "actor.policy_loss_type":
            assert found[f"--{flag}"] == (value, theirs.get(flag, unknown))
    unchanged = rows(real["math-dapo-deltal"][1])
    assert set(found) - set(unchanged) == {f"--{flag}" for flag in CHANGED_TO} - {"--actor.policy_loss_type"}
    assert not any(theirs == unknown for name in MADE_OF for _, theirs in rows(real[name][1]).values())


def test_what_is_the_same_or_no_part_of_the_experiment_is_no_difference(real):
    found, recipe = rows(real["same by hand"][1]), rows(real["math-deltal"][1])
    # 2 in the recipe, 4 in the authors' script and here.
    assert set(recipe) - set(found) == {"--train.micro_batch_size"}
    assert set(found) <= set(recipe)


def test_the_last_recipe_is_the_one_to_compare_with(real):
    code, out, _ = real["two recipes"]
    assert code == 0
    assert "Compared with the authors' train_scripts/math-3b-delta-l-norm-alpha-0.75.sh (" in out
    # What only the first one sets stays, and differs.
    assert rows(out)["--reward.overlong_buffer_len"] == ("2048", "None")
    assert rows(out)["--algo.dynamic_filtering_enable"] == ("True", "False")


def test_memory_settings_are_compared(real):
    found = rows(real["math-deltal"][1])
    assert found["--vllm.gpu_memory_utilization"] == ("0.6", "0.8")
    assert "param_offload" in found["what waits in the CPU's memory"][1]


def test_notes_name_the_checkpoint_and_another_m(real):
    assert "resumes from checkpoint global_step7 in saved" in lines(real["with a checkpoint"][1])
    for name, says in (
        ("another rate", "--actor.adam.lr: saved 1e-06, now 2e-06"),
        ("another stage", "--ds.zero_stage is 2, but checkpoint saved/_actor/global_step7 was saved with 3"),
    ):
        code, _, err = real[name]
        assert code == 2 and err.count("\n") == 1
        assert err.startswith("deltal train: error: ") and says in err
    assert any(
        line.startswith("--deltal.max_length is 4096, a response may have ") for line in lines(real["another M"][1])
    )
    # An episode is longer than a turn.
    assert "--deltal.max_length is 4096, a response may have 4352 tokens: M is not the longest response" in lines(
        real["an agent with a turn's M"][1]
    )
    plain = real["math-deltal"][1]
    assert "resumes from" not in plain
    assert "is not the longest response" not in plain


def test_a_mode_that_gspo_replaces_is_said(real):
    note = "--actor.policy_loss_type gspo is seq-mean-token-mean in OpenRLHF; --loss_agg token-mean has no effect"
    assert note in lines(real["one GPU"][1]) and note not in lines(real["length"][1])


def test_a_damaged_checkpoint_is_said_and_the_one_before_is_taken_not_a_later_one(real):
    code, out, err = real["newest one damaged"]
    assert (code, err) == (0, "")
    assert (
        "BROKEN CHECKPOINT in damaged: global_step7 (checksums.json: broken); resuming from global_step5, the newest whole one"
        in " ".join(out.split())
    )
    assert "resumes from checkpoint global_step5 in damaged" in " ".join(out.split())


def test_without_a_whole_checkpoint_the_start_is_refused_in_one_line(real):
    code, out, err = real["all damaged"]
    assert (code, out) == (2, "")
    assert err == (
        "deltal train: error: no whole checkpoint is left in ruined/_actor: global_step7 (checksums.json: broken), global_step5 "
        "(checksums.json: broken); restore one, or start anew with another --ckpt.path\n"
    )
