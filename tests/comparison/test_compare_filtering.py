"""Dynamic sampling in the single-process loop: its rollouts against those of the host's samples generator, and whole runs."""

import json
from pathlib import Path

import pytest
import torch
from support.controllers import arguments
from support.controllers import run as run_the_host
from support.killable import SAMPLES, Disk
from support.loop_example import write_example
from torchdata.stateful_dataloader import StatefulDataLoader

from deltal_openrlhf.comparison import filtering
from deltal_openrlhf.comparison.graded import Graded
from deltal_openrlhf.comparison.inputs import Prompt
from deltal_openrlhf.host.data_order import PromptOrder
from deltal_openrlhf.models.sampling import Response
from deltal_openrlhf.statistics.seeds import seed_of

PROMPTS, EPISODES = 45, 2
ENABLE = "algo.dynamic_filtering_enable"


class Replay:
    """What the host's run drew: the scores of each prompt, in the order of the episodes. seed: of the scores."""

    def __init__(self, seed: int, *flags: str) -> None:
        self.seed, self.scores = seed, {}
        flags = (f"--{ENABLE}", "--train.num_episodes", str(EPISODES), *flags)
        self.args, disk = arguments(*flags), Disk()
        assert run_the_host(disk, *flags, prompts=PROMPTS, score=self.score)
        self.steps = [disk.steps[step] for step in sorted(disk.steps)]

    def score(self, prompt: str, response_seed: int) -> float:
        """0, 0.5 or 1: many means are at the ends of the range."""
        score = seed_of(self.seed, prompt, response_seed) % 3 / 2
        self.scores.setdefault(prompt, []).append(score)
        return score

    def respond(self, prompts: list[Prompt]) -> Graded:
        """Raises IndexError or KeyError for a prompt that the host did not draw."""
        scores = [self.scores[prompt.text].pop(0) for prompt in prompts for _ in range(SAMPLES)]
        responses = [Response([1], finished=True, entropy=0.0, energy=0.0)] * len(scores)
        rows = [prompt for prompt in prompts for _ in range(SAMPLES)]
        return Graded(rows, responses, torch.zeros(len(scores)), torch.tensor(scores))

    def by_the_loop(self) -> list[list[str]]:
        order = PromptOrder(StatefulDataLoader([None] * PROMPTS), self.args.train.seed)
        steps = []
        for episode in range(EPISODES):
            prompts = iter([Prompt(f"p{row}", "", "", [1]) for row in order.rows(episode)])
            while drawn := filtering.draw_rollout(prompts, self.args, self.respond):
                steps.append([prompt.text for prompt in drawn.graded.prompts[::SAMPLES]])
        return steps


@pytest.mark.parametrize("ends", [(), ("0.2", "0.7")])
def test_rollouts_are_those_of_the_hosts_samples_generator(ends):
    sizes = set()
    for seed in range(3):
        replay = Replay(seed, *(("--algo.dynamic_filtering_range", *ends) if ends else ()))
        assert replay.by_the_loop() == replay.steps
        assert not any(replay.scores.values())  # the loop drew every prompt that the host drew
        sizes |= {len(step) for step in replay.steps}
    assert sizes > {4}  # whole rollouts, and a short one at an end


def test_a_filter_that_keeps_the_ends_of_the_range_or_replaces_nothing_is_noticed(monkeypatch):
    def with_ends(group, args):
        low, high = args.algo.dynamic_filtering_range
        return low <= group.scores.double().mean() <= high

    replay = Replay(0)
    with monkeypatch.context() as patched:
        patched.setattr(filtering, "passes", with_ends)
        assert replay.by_the_loop() != replay.steps
    replay = Replay(0)
    replay.args.rollout.batch_size *= 2  # as many prompts as the host draws on average, in one go
    assert replay.by_the_loop() != replay.steps


# ── Whole runs ──


@pytest.fixture(scope="module")
def flags(tmp_path_factory) -> dict:
    return write_example(tmp_path_factory.mktemp("loop")) | {ENABLE: True}


def run_loop(flags: dict, folder: Path) -> list[dict]:
    from deltal_openrlhf.comparison import loop

    assert loop.run(flags, folder) == {"steps": len((folder / "metrics.jsonl").read_text().splitlines())}
    return [json.loads(line) for line in open(folder / "metrics.jsonl")]


def without_times(rows: list[dict]) -> list[dict]:
    return [{key: value for key, value in row.items() if not key.startswith("tim")} for row in rows]


def test_a_run_trains_on_groups_with_signal_only_and_logs_the_hosts_pass_rate(flags, tmp_path):
    flags = flags | {"train.num_episodes": 2}
    rows = run_loop(flags, tmp_path / "filtered")
    everything = run_loop(flags | {ENABLE: False}, tmp_path / "plain")
    assert any(row["deltal/groups_without_signal"] > 0 for row in everything)
    assert [row["deltal/groups_without_signal"] for row in rows] == [0.0] * len(rows)
    assert len(rows) <= len(everything) == 4 and all("dynamic_filtering_pass_rate" not in row for row in everything)
    drawn = [row["rollout/num_samples"] / row["dynamic_filtering_pass_rate"] * 100 for row in rows]
    assert drawn == pytest.approx([round(number) for number in drawn]) and sum(drawn) <= 16
    assert max(drawn) > 4
    assert without_times(rows) == without_times(run_loop(flags, tmp_path / "again"))


def test_one_seed_gives_all_methods_the_same_first_rollout(flags, tmp_path):
    first, *_ = run_loop(flags, tmp_path / "deltal")
    other, *_ = run_loop(flags | {"loss_agg": "token-mean", "alpha": None}, tmp_path / "token-mean")
    shared = ("rollout/reward_mean", "rollout/response_length_mean", "entropy_loss", "dynamic_filtering_pass_rate")
    assert all(first[key] == other[key] for key in shared)
    assert first["deltal/grad_norm"] != other["deltal/grad_norm"]


def test_scores_decide_and_not_rewards(flags, tmp_path):
    file = tmp_path / "scored.py"
    scored = Path(flags["reward.remote_url"]).read_text().replace("}\n", ', "scores": [0.5] * len(queries)}\n')
    file.write_text(scored)
    rows = run_loop(flags | {"reward.remote_url": str(file)}, tmp_path / "run")
    assert [row["dynamic_filtering_pass_rate"] for row in rows] == [400.0, 400.0]
    assert any(row["deltal/groups_without_signal"] > 0 for row in rows)


def test_a_run_that_drops_every_prompt_ends_as_in_the_pipeline(flags, tmp_path):
    with pytest.raises(RuntimeError, match="nothing was trained: dynamic filtering left no prompt; .*, 2 to 3 "):
        run_loop(flags | {"algo.dynamic_filtering_range": [2, 3]}, tmp_path)


def test_a_short_rollout_leaves_out_what_fills_no_micro_batch(flags):
    """As the trainer does in test_compare_loop.py, where 8 of 12 responses are trained on."""
    from deltal_openrlhf.comparison import loop
    from deltal_openrlhf.comparison.arguments import check_loop_flags

    run = loop.Run(*check_loop_flags(flags | {"train.micro_batch_size": 3, "train.max_epochs": 2}))
    taken = []
    run.updater.update = lambda rollout, orders: taken.append(orders) or {}
    cuts = torch.Generator().manual_seed(0)
    for groups in (2, 4):
        rows = [prompt for prompt in run.inputs.prompts[:groups] for _ in range(4)]
        rewards = torch.arange(len(rows)) % 2.0
        responses = [Response([5, 6], finished=True, entropy=0.0, energy=1.0)] * len(rows)
        run.learn(Graded(rows, responses, rewards, rewards), cuts)
    short, whole = taken
    assert [len(set(order)) for order in short] == [6, 6] and short[0] != short[1]
    assert [sorted(order) for order in whole] == [list(range(16))] * 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"rollout.n_samples_per_prompt": 1, "train.batch_size": 4},
            "--rollout.n_samples_per_prompt is 1, allowed with",
        ),
        (
            {"algo.dynamic_filtering_range": [1, 0]},
            "--algo.dynamic_filtering_range is 1 0, allowed is a lower end below",
        ),
    ],
)
def test_what_the_host_refuses_is_refused(flags, change, message):
    from deltal_openrlhf.comparison.arguments import check_loop_flags

    with pytest.raises(ValueError) as refused:
        check_loop_flags(flags | change)
    assert message in str(refused.value) and "\n" not in str(refused.value)
