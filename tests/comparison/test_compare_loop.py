"""The single-process loop of `deltal compare`: its updates against the real trainer's, and whole runs."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from support.loop_example import write_example

from deltal_openrlhf.parity import Case, run_on_ranks

TOLERANCE = 1e-5
ROLLOUTS = 3
EPS = 1e-5  # of AdamW: with 1e-8, elements whose gradient is rounding move by it
SGD_RATE = 0.02  # parity's own is for one rollout; twelve steps in a row of it run away

# One and four optimizer steps a rollout, every mode and scope, a clip that binds, SGD, a schedule, two epochs, filtering, dual clip.
CASES = [
    (Case(mode="deltal", adamw=True), 0.0),
    (Case(mode="deltal", alpha=0.75, steps=4, adamw=True), 0.0),
    (Case(mode="deltal", alpha=1.0, steps=4, adamw=True, decay=True), 0.05),
    (Case(mode="deltal", alpha=1.0, scope="rollout", steps=4, adamw=True), 0.0),
    (Case(mode="deltal", alpha=1.0, scope="group", steps=2, epochs=2, adamw=True), 0.0),
    (Case(mode="token-mean", steps=4, adamw=True), 0.1),
    (Case(mode="seq-mean-token-mean", steps=4, adamw=True, dual_clip=3.0), 0.0),
    (Case(mode="seq-mean-token-sum-norm", adamw=True, filtering=True), 0.0),
    (Case(mode="deltal", alpha=1.0, steps=4), 0.0),
    (Case(mode="seq-mean-token-sum-norm", steps=4), 0.2),
    # The end of an episode with dynamic sampling: 12 of 16 responses, of which micro batches of 8 leave out 4.
    (Case(mode="deltal", alpha=1.0, steps=2, short=True, adamw=True), 0.0),
    (Case(mode="token-mean", micro=8, short=True, adamw=True), 0.0),
]
CONTROLS = [
    (Case(mode="deltal", alpha=1.0, micro=2, steps=4, adamw=True, wrong="micro-batch"), 0.0),
    (Case(mode="deltal", alpha=1.0, steps=4, wrong="scale"), 0.0),
]

WITHOUT_SIGNAL = (Case(mode="deltal", alpha=0.5, adamw=True), 0.05)
"""Its responses have advantage 0 but for the last rollout: AdamW's step count corrects its averages."""


@pytest.fixture(scope="module")
def differences() -> dict:
    cases = [*CASES, *CONTROLS, WITHOUT_SIGNAL]
    return dict(zip(cases, run_on_ranks(1, _train_both, cases, timeout=110)[0], strict=True))


@pytest.mark.parametrize(("case", "max_norm"), CASES, ids=str)
def test_three_rollouts_leave_the_parameters_of_the_real_trainer(differences, case, max_norm):
    found = differences[case, max_norm]
    assert found["moved"] > 50 * TOLERANCE
    assert found["difference"] <= TOLERANCE
    assert found["norms"] == pytest.approx(found["trainer_norms"], rel=1e-4)
    if max_norm:
        assert found["clip_share"] > 0.5


def test_steps_without_signal_count_from_the_first(differences):
    found = differences[WITHOUT_SIGNAL]
    assert found["norms"][:2] == [0.0, 0.0] < found["norms"][2:]
    assert found["moved"] > 50 * TOLERANCE
    assert found["difference"] <= TOLERANCE


@pytest.mark.parametrize(("case", "max_norm"), CONTROLS, ids=str)
def test_a_trainer_with_a_mistake_is_noticed(differences, case, max_norm):
    assert differences[case, max_norm]["difference"] > 10 * TOLERANCE


def _train_both(rank: int, cases: list) -> list[dict]:
    return [_differences(*both, silent=2 if both == WITHOUT_SIGNAL else 0) for both in cases]


def _differences(case: Case, max_norm: float, silent: int) -> dict:
    """silent: rollouts at the beginning whose advantages are 0."""
    from deltal_openrlhf.comparison.updates import PolicyUpdater
    from deltal_openrlhf.host.scope_means import attach_scope_means
    from deltal_openrlhf.parity import host_update
    from deltal_openrlhf.parity.cases import GROUP_SIZE, NUM_SHORT, make_batch, make_model

    host_update.learning_rate = lambda case: SGD_RATE
    trainer = host_update.build_trainer(case, max_norm=max_norm, eps=EPS)
    model = make_model(lora=False)
    before = torch.cat([p.detach().flatten().clone() for p in model.parameters()])
    updater = PolicyUpdater(model, _loop_arguments(case, max_norm, trainer.args), trainer.settings, total_steps=10)
    norms, trainer_norms, clipped = [], [], []
    for seed in range(ROLLOUTS):
        rows = make_batch(holes=False, seed=seed)[: NUM_SHORT if case.short else None]
        if seed < silent:
            rows = [row | {"advantage": 0.0} for row in rows]
        _set_old_log_probs(rows, host_update.parameters(trainer.actor))
        samples = host_update.experiences(case, rows)
        attach_scope_means(samples, trainer.settings, GROUP_SIZE)
        for sample in samples:
            trainer.replay_buffer.append(sample)
        status = trainer.ppo_train(0.0)
        trainer.replay_buffer.clear()
        found = updater.update(*_for_the_loop(case, rows, trainer.trained_on))
        norms.append(found["deltal/grad_norm"])
        trainer_norms.append(status["deltal/grad_norm"])
        clipped.append(found["deltal/clip_share"])
    theirs = torch.cat([p.flatten() for p in host_update.parameters(trainer.actor).values()])
    ours = torch.cat([p.detach().flatten() for p in model.parameters()])
    return {
        "difference": (ours - theirs).abs().max().item(),
        "moved": (ours - before).abs().max().item(),
        "norms": norms,
        "trainer_norms": trainer_norms,
        "clip_share": sum(clipped) / len(clipped),
    }


def _loop_arguments(case: Case, max_norm: float, args) -> SimpleNamespace:
    """What build_trainer gives the engine, as the flags that would say it."""
    args.deltal.sgd = not case.adamw
    rate = 1e-3 if case.adamw else SGD_RATE
    args.actor.adam = SimpleNamespace(lr=rate, betas=(0.9, 0.95), eps=EPS, weight_decay=0.0)
    args.actor.lr_scheduler = "linear" if case.decay else "constant"
    args.actor.lr_warmup_ratio, args.actor.max_norm, args.actor.eps_clip = 0.0, max_norm, 0.2
    return args


def _set_old_log_probs(rows: list[dict], parameters: dict) -> None:
    """Of the policy before this rollout's updates, one response at a time."""
    from deltal_openrlhf.parity.cases import make_model

    model = make_model(lora=False)
    model.load_state_dict(parameters, strict=False)
    for row in rows:
        with torch.no_grad():
            logits = model(input_ids=row["ids"][None]).logits[0, :-1]
        row["old"] = logits.log_softmax(-1).gather(-1, row["ids"][1:, None])[:, 0]


def _for_the_loop(case: Case, rows: list[dict], trained_on: list[list[int]]) -> tuple:
    from deltal_openrlhf.comparison.updates import Rollout

    lengths = torch.tensor([0 if case.filtering and row["truncated"] else int(row["mask"].sum()) for row in rows])
    rollout = Rollout(
        sequences=[row["ids"].tolist() for row in rows],
        prompt_lengths=[
            len(row["ids"]) if not row["mask"].any() else int(row["mask"].nonzero()[0]) + 1 for row in rows
        ],
        lengths=lengths,
        advantages=torch.tensor([row["advantage"] for row in rows]),
    )
    flat = [row for step in trained_on for row in step]
    taken = len(flat) // case.epochs
    assert taken == len(rows) - len(rows) % case.micro
    return rollout, [flat[i : i + taken] for i in range(0, len(flat), taken)]


# ── Whole runs ──


@pytest.fixture(scope="module")
def task_flags(tmp_path_factory) -> dict:
    return write_example(tmp_path_factory.mktemp("loop"))


def run_loop(flags: dict, folder) -> tuple[list[dict], list[dict]]:
    """(metrics, evaluations) without the times."""
    from deltal_openrlhf.comparison import loop

    assert loop.run(flags, folder) == {"steps": 2}
    metrics, evals = ([json.loads(line) for line in open(folder / name)] for name in ("metrics.jsonl", loop.EVALS))
    return [{k: v for k, v in row.items() if not k.startswith("tim")} for row in metrics], evals


def test_a_run_is_repeatable_and_methods_share_prompts_and_draws(task_flags, tmp_path):
    metrics, evals = run_loop(task_flags, tmp_path / "a")
    assert (metrics, evals) == run_loop(task_flags, tmp_path / "b")
    other, _ = run_loop({**task_flags, "loss_agg": "token-mean", "alpha": None}, tmp_path / "c")
    assert [row["step"] for row in metrics] == [1, 2] and [row["step"] for row in evals] == [2]
    shared = ("rollout/reward_mean", "rollout/response_length_mean", "entropy_loss")
    assert all(metrics[0][key] == other[0][key] for key in shared)
    assert metrics[1]["entropy_loss"] != other[1]["entropy_loss"]
    seed, _ = run_loop({**task_flags, "train.seed": 4}, tmp_path / "d")
    assert metrics[0]["entropy_loss"] != seed[0]["entropy_loss"]


def test_metrics_are_those_of_the_responses(task_flags, tmp_path):
    (first, _), (held_out,) = run_loop(task_flags, tmp_path / "run")
    assert 0 < first["rollout/reward_mean"] < 1
    assert first["rollout/num_samples"] == 16 and first["deltal/optimizer_steps"] == 2
    assert first["deltal/weight_sum_x_M"] == pytest.approx(1)
    # An untrained model of 96 words is close to uniform over them.
    assert 3 < first["entropy_loss"] < 4.6
    assert held_out["eval_num_samples"] == 24
    assert {"eval_set0_pass1", "eval_set1_pass1", "eval_set0_pass3"} <= set(held_out)
    assert held_out["eval_set0_pass3"] >= held_out["eval_set0_pass1"]


@pytest.mark.parametrize(
    ("named", "of_tokenizer", "ends"), [([5, 7], True, {1, 5, 7}), (5, True, {1, 5}), (None, False, set())]
)
def test_a_response_ends_at_every_token_that_the_folder_names(named, of_tokenizer, ends, task_flags, tmp_path):
    """As in vLLM: those of generation_config.json and the tokenizer's. Without any it runs to the limit."""
    from deltal_openrlhf.comparison import loop
    from deltal_openrlhf.comparison.arguments import check_loop_flags

    start = tmp_path / "start"
    shutil.copytree(task_flags["actor.model_name_or_path"], start)
    files = {"generation_config.json": named, "config.json": named} | (
        {} if of_tokenizer else {"tokenizer_config.json": None}
    )
    for name, value in files.items():
        key = "eos_token" if name.startswith("tokenizer") else "eos_token_id"
        (start / name).write_text(json.dumps(json.loads((start / name).read_text()) | {key: value}))
    flags = task_flags | {"actor.model_name_or_path": str(start)}
    assert set(loop.Run(*check_loop_flags(flags)).eos) == ends


def test_advantages_are_those_of_the_host(task_flags):
    """By hand: rewards 1, 0, 0, 1 have mean 0.5 and standard deviation 0.57735 (n - 1)."""
    from deltal_openrlhf.comparison import loop
    from deltal_openrlhf.comparison.arguments import check_loop_flags
    from deltal_openrlhf.models.sampling import Response

    run = loop.Run(*check_loop_flags(task_flags))
    prompts = [prompt for prompt in run.inputs.prompts[:2] for _ in range(4)]
    responses = [
        Response([5] * length, finished=length < 8, entropy=0.0, energy=1.0) for length in (1, 2, 3, 4, 5, 6, 7, 8)
    ]
    rewards = torch.tensor([1.0, 0, 0, 1, 1, 1, 1, 1])
    rollout, spread = run.rollout(loop.Graded(prompts, responses, rewards, rewards))
    a = 0.5 / 0.57735
    assert rollout.advantages.tolist() == pytest.approx([a, -a, -a, a, 0, 0, 0, 0], rel=1e-4)
    assert rollout.lengths.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert spread.tolist() == pytest.approx([0.57735] * 4 + [0] * 4, rel=1e-4)


def test_an_alpha_that_follows_the_responses(task_flags):
    """Two rollouts of 8 prompts, in which the energies of responses do not grow with length, so that alpha 0 has the least noise."""
    from deltal_openrlhf.comparison import loop
    from deltal_openrlhf.comparison.arguments import check_loop_flags
    from deltal_openrlhf.models.sampling import Response

    flags = task_flags | {"loss_agg": "deltal", "alpha": "auto", "deltal.alpha_window": 2}
    run = loop.Run(*check_loop_flags(flags))
    prompts = [prompt for prompt in run.inputs.prompts for _ in range(4)]
    rewards, cuts = torch.tensor([1.0, 0, 0, 1]).repeat(8), torch.Generator().manual_seed(0)
    rows = []
    for first in (1, 2):
        lengths = [(first + 3 * i) % 8 + 1 for i in range(len(prompts))]
        responses = [Response([5] * length, finished=True, entropy=0.0, energy=1.0) for length in lengths]
        rows.append(run.learn(loop.Graded(prompts, responses, rewards, rewards), cuts))
    assert [row["deltal/alpha"] for row in rows] == [0.75, 0.75]
    assert "deltal/alpha_best" not in rows[0] and rows[1]["deltal/alpha_best"] <= 0.1
    run.learn(loop.Graded(prompts, responses, rewards, rewards), cuts)
    assert run.updater.settings.alpha == run.maker.adaptive.alpha == rows[1]["deltal/alpha_best"]


def test_what_a_run_reads_depends_on_the_flags_that_say_so_only(task_flags):
    """The check before all runs reads once for runs that agree in these flags."""
    from argparse import Namespace

    from openrlhf.utils.config import hierarchize

    from deltal_openrlhf import cpu
    from deltal_openrlhf.comparison.arguments import READ, check_loop_flags
    from deltal_openrlhf.comparison.inputs import Inputs

    args, _ = check_loop_flags(task_flags)
    alone = Inputs(hierarchize(Namespace(**{flag: cpu.lookup(args, flag) for flag in READ})))
    whole = Inputs(args)
    assert len(whole.prompts) == len(whole.held_out) == 8
    assert (alone.prompts, alone.held_out, alone.rollouts) == (whole.prompts, whole.held_out, whole.rollouts)


def test_max_samples_is_of_training_prompts_and_empty_lines_are_no_rows(task_flags, tmp_path):
    from deltal_openrlhf.comparison.arguments import check_loop_flags
    from deltal_openrlhf.comparison.inputs import Inputs

    path = tmp_path / "prompts.jsonl"
    path.write_bytes(b"\n" + Path(task_flags["data.prompt_dataset"]).read_bytes().replace(b"}\n", b"}\n\n"))
    args, _ = check_loop_flags(
        task_flags | {"data.prompt_dataset": str(path), "eval.dataset": str(path), "data.max_samples": 4}
    )
    found = Inputs(args)
    assert (len(found.prompts), len(found.held_out)) == (4, 8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"algo.kl.init_coef": 0.1}, "--algo.kl.init_coef is 0.1, allowed in the single-process loop is 0"),
        (
            {"algo.advantage.estimator": "gae"},
            "--algo.advantage.estimator is gae, allowed in the single-process loop is",
        ),
        ({"actor.entropy_coef": 0.1}, "allowed in the single-process loop is 0 or to leave it out"),
        ({"critic.adam.lr": 1e-5}, "--critic.adam.lr is not followed by the single-process loop"),
        ({"train.batch_size": 7}, "--train.batch_size is 7, allowed is a divisor of the 16 responses"),
        ({"eval.dataset": "nowhere.jsonl"}, "--eval.dataset is nowhere.jsonl, allowed"),
        ({"reward.remote_url": "http://127.0.0.1:1"}, "--reward.remote_url is http://127.0.0.1:1, allowed"),
        ({"alpha": 2.0}, "--alpha is 2"),
        ({"rolout.batch_size": 4}, "unknown key 'rolout.batch_size'; the nearest known one is 'rollout.batch_size'"),
        ({"rollout.batch_size": "many"}, "rollout.batch_size"),
        ({"data.max_len": 24}, "line 1: the prompt has 6 tokens, allowed are 1 to 4"),
        ({"data.max_samples": 3}, "3 prompts (--data.max_samples 3), allowed in the single-process loop is a multiple"),
        ({"data.max_samples": 6}, "of --rollout.batch_size, 4"),
    ],
)
def test_what_the_loop_does_not_do_is_refused(task_flags, tmp_path, change, message):
    from deltal_openrlhf.comparison import loop

    with pytest.raises(ValueError) as refused:
        loop.run({**task_flags, **change}, tmp_path / "run")
    assert message in str(refused.value) and "\n" not in str(refused.value)


def test_a_reward_file_that_gives_no_numbers_is_named(task_flags, tmp_path):
    file = tmp_path / "bad.py"
    cases = {"[1] * 3": "3 reward(s) for 16", "[0] * 15 + [1e999]": "the reward inf,", "['x'] * 16": "the rewards"}
    for rewards, said in cases.items():
        file.write_text(f"def reward_func(queries, prompts, labels):\n    return {{'rewards': {rewards}}}\n")
        with pytest.raises(RuntimeError) as failed:
            run_loop({**task_flags, "reward.remote_url": str(file)}, tmp_path / "run")
        assert str(failed.value).startswith(f"{file}: ") and said in str(failed.value)
        assert len(str(failed.value)) < len(str(file)) + 120
