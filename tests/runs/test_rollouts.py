"""Saved rollouts: what a run's controller writes is what comes back, and a broken file is refused with its line."""

import json
import os
from types import SimpleNamespace

import pytest
import torch
from openrlhf.trainer.ppo_utils.experience import Experience
from support.host_arguments import host_arguments

from deltal_openrlhf.host import rollout_files
from deltal_openrlhf.host.controller import ControllerMixin
from deltal_openrlhf.host.rollout_files import RolloutFiles
from deltal_openrlhf.host.settings import LossSettings
from deltal_openrlhf.runs import rollouts
from deltal_openrlhf.runs.rollouts import Header, Rollout
from deltal_openrlhf.train.checks import check_save_rollouts

HEADER = Header(step=3, model="runs/base", temperature=0.7, n_samples_per_prompt=2, max_new_tokens=8)
LOSS = {"mode": "deltal", "alpha": 0.75, "scope": "step", "max_length": 8}
PROMPTS = [([5, 6, 7], "first"), ([8, 9], "second")]


def example(log_probs=None):
    """Two prompts, two responses each; the last one has two turns with a token of the environment between them."""
    masks = [[0, 0, 1, 1], [0, 0, 1], [0, 1], [0, 1, 1, 0, 1]]
    return [
        Rollout(i // 2, i % 2, PROMPTS[i // 2][1], "7", list(range(10, 11 + len(mask))), mask, i / 4, i == 3, log_probs)
        for i, mask in enumerate(masks)
    ]


def test_round_trip(tmp_path):
    path = tmp_path / "new" / "step_000003.jsonl"
    rollouts.write(path, HEADER, example())
    assert rollouts.read(path) == (HEADER, example())
    assert [rollout.length for rollout in example()] == [2, 1, 1, 3]
    assert not list(path.parent.glob("*.tmp"))


def broken(line, **changes):
    """The file with fields of one line (0: the header) changed; a field that becomes `...` is left out."""
    lines = [rollouts.header_line(HEADER), *map(rollouts.rollout_line, example())]
    fields = json.loads(lines[line]) | changes
    lines[line] = json.dumps({name: value for name, value in fields.items() if value is not ...}) + "\n"
    return "".join(lines)


@pytest.mark.parametrize(
    "text, said",
    [
        ("", "empty"),
        ("{}\n", "line 1: not the header"),
        ("7\n", "line 1: not a JSON object"),
        ("{", "line 1"),
        (broken(0, format=2), "format is 2, allowed is 1"),
        (broken(0, temperature=0), "temperature is 0, allowed is a number above 0"),
        (broken(0, n_samples_per_prompt=3), "line 4: prompt_index 1, sample 0; expected are the 3 responses"),
        (broken(0, temperature="1"), "temperature is '1', allowed is a number above 0"),
        (broken(0, step="3"), "line 1: step is '3', allowed is an integer of 0 and more"),
        (broken(0, max_new_tokens="8"), "line 1: max_new_tokens is '8', allowed is null or an integer"),
        (broken(0, loss=[]), "line 1: loss is [], allowed is a JSON object"),
        (broken(0, loss={"mode": "deltal"}), "line 1: loss lacks 'alpha'"),
        (broken(0, loss=LOSS | {"mode": "deltl"}), "line 1: mode is 'deltl', allowed are token-mean"),
        (broken(0, loss=LOSS | {"alpha": 2}), "line 1: alpha is 2, allowed is a number from 0 to 1"),
        (broken(0, loss=LOSS | {"scope": "all"}), "line 1: scope is 'all', allowed are step"),
        (broken(0, loss=LOSS | {"max_length": 0}), "line 1: max_length (M) is 0"),
        (broken(0, loss=LOSS | {"mode": "token-mean"}), "mode token-mean has neither"),
        (broken(1, reward=...), "line 2: lacks 'reward'"),
        (broken(2, token_ids="abc"), "line 3: token_ids is a list"),
        (broken(2, token_ids=[3, -1]), "line 3: token_ids is a list"),
        (broken(3, action_mask=[1]), "line 4: action_mask is a list of 2 values"),
        (broken(3, action_mask=[0, 0]), "line 4: a response without a trained token"),
        (broken(3, reward=float("inf")), "line 4: reward is inf"),
        (broken(3, reward=None), "line 4"),
        (broken(4, log_probs=[0.1]), "line 5: log_probs has 1 values for 3 trained tokens"),
        (broken(4, images=True), "line 5: the prompt has images"),
        (rollouts.header_line(HEADER), "holds no responses"),
        ("".join(broken(0).splitlines(keepends=True)[:-1]), "the last prompt has 1 of 2 responses"),
    ],
)
def test_a_broken_file_is_refused_in_one_line(text, said, tmp_path):
    path = tmp_path / "file.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError) as error:
        rollouts.read(path)
    assert said in str(error.value) and str(path) in str(error.value) and "\n" not in str(error.value)


def host_samples(*, log_probs=True, images=None):
    """`example` as the host's sampler makes it: one Experience a response, tensors [1, T] and [1, T - 1]."""
    samples = []
    for rollout in example():
        mask = torch.tensor([rollout.action_mask])
        samples.append(
            Experience(
                sequences=torch.tensor([rollout.token_ids]),
                attention_mask=torch.ones(1, len(rollout.token_ids), dtype=torch.long),
                action_mask=mask,
                rollout_log_probs=-torch.arange(mask.numel()).float()[None] / 3 if log_probs else None,
                prompts=[rollout.prompt],
                labels=[rollout.label],
                images=[images],
                rewards=torch.tensor([rollout.reward]),
                response_length=mask.sum(-1),
                truncated=torch.tensor([rollout.truncated]),
                total_length=torch.tensor([len(rollout.token_ids)]),
                info={"reward": torch.tensor([rollout.reward])},
            )
        )
    return samples


def run_arguments(folder, *flags):
    return host_arguments(
        *"--actor.model_name_or_path runs/base --reward.remote_url r.py --rollout.n_samples_per_prompt 2".split(),
        *"--rollout.max_new_tokens 8 --rollout.temperature 0.7 --ckpt.output_dir".split(),
        str(folder),
        *flags,
    )


def text_of(token_ids):
    return " ".join(f"<{token}>" for token in token_ids)


def files_of(folder, *flags, resumed_step=0):
    args = run_arguments(folder, *flags)
    return RolloutFiles(args, LossSettings.from_args(args), text_of, resumed_step=resumed_step)


def saved_steps(folder):
    return [rollouts.read(path)[0].step for path in sorted(folder.iterdir())]


def test_a_run_saves_the_steps_that_follow_its_checkpoints(tmp_path):
    files = files_of(tmp_path, "--deltal.save_rollouts", "3", "--loss_agg", "deltal")
    for step in range(1, 8):
        files.save_if_due(host_samples(), step)
    names = sorted(path.name for path in (tmp_path / "rollouts").iterdir())
    assert names == ["step_000001.jsonl", "step_000004.jsonl", "step_000007.jsonl"]
    header, read = rollouts.read(tmp_path / "rollouts" / names[1])
    assert header.loss["mode"] == "deltal" and header.loss["max_length"] == 8 and header.step == 4
    assert header == Header(4, "runs/base", 0.7, 2, 8, header.loss)
    for rollout, expected in zip(read, example(), strict=True):
        places = [t for t, trained in enumerate(expected.action_mask) if trained]
        assert rollout.log_probs == [round(-t / 3, 6) for t in places]
        assert rollout == Rollout(**vars(expected) | {"log_probs": rollout.log_probs, "response": rollout.response})
    # From the first trained token on, with what stands between two turns.
    assert [rollout.response for rollout in read] == ["<13> <14>", "<13>", "<12>", "<12> <13> <14> <15>"]


def test_a_fresh_run_moves_the_files_of_an_earlier_one_aside(tmp_path):
    for begun in (111, 222):
        files = files_of(tmp_path, "--deltal.save_rollouts", "3")
        assert not (tmp_path / "rollouts").exists()
        for step in range(1, 8):
            files.save_if_due(host_samples(), step)
        os.utime(tmp_path / "rollouts" / "step_000001.jsonl", (begun, begun + 0.5))
    files_of(tmp_path).save_if_due(host_samples(), 1)  # also where this run saves none
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rollouts.111", "rollouts.222"]
    assert saved_steps(tmp_path / "rollouts.111") == saved_steps(tmp_path / "rollouts.222") == [1, 4, 7]


def test_a_resumed_run_drops_the_steps_after_its_checkpoint(tmp_path):
    files = files_of(tmp_path, "--deltal.save_rollouts", "1")
    for step in range(1, 8):
        files.save_if_due(host_samples(), step)
    files_of(tmp_path, "--deltal.save_rollouts", "3", resumed_step=4).save_if_due(host_samples(), 7)
    assert [path.name for path in tmp_path.iterdir()] == ["rollouts"]
    assert saved_steps(tmp_path / "rollouts") == [1, 2, 3, 4, 7]


def test_only_files_of_steps_are_saved_responses(tmp_path):
    for step in (10, 9, 1_000_000):
        rollouts.write(rollouts.path_of(tmp_path, step), HEADER, example())
    for name in ("step_old.jsonl", "step_000003.jsonl.7.tmp", "step_000003 (copy).jsonl", "my_step_000003.jsonl"):
        (tmp_path / "rollouts" / name).write_text("")
    assert list(rollouts.saved(tmp_path)) == [9, 10, 1_000_000]
    assert rollouts.saved(tmp_path / "nowhere") == {}


def test_without_the_flag_nothing_is_saved(tmp_path):
    files_of(tmp_path).save_if_due(host_samples(), 1)
    assert not (tmp_path / "rollouts").exists()


def test_rewards_carry_the_length_penalties_and_the_samples_stay_as_they_were(tmp_path):
    """Overlong: by a buffer of 7 of 8 tokens, -(length - 1) / 7, and -1 for the last one, which was cut off."""
    files = files_of(tmp_path, *"--deltal.save_rollouts 1 --reward.overlong_buffer_len 7".split())
    samples = host_samples(log_probs=False)
    files.save_if_due(samples, 1)
    read = rollouts.read(tmp_path / "rollouts" / "step_000001.jsonl")[1]
    assert [r.reward for r in read] == pytest.approx(
        [e.reward - (1 if e.truncated else (e.length - 1) / 7) for e in example()]
    )
    assert [s.rewards.item() for s in samples] == [s.info["reward"].item() for s in samples] == [0, 0.25, 0.5, 0.75]
    assert all(rollout.log_probs is None for rollout in read)


def test_images_are_marked_and_refused_when_read(tmp_path):
    files = files_of(tmp_path, "--deltal.save_rollouts", "1")
    files.save_if_due(host_samples(images=["cat.png"]), 1)
    path = tmp_path / "rollouts" / "step_000001.jsonl"
    with pytest.raises(ValueError, match="line 2: the prompt has images"):
        rollouts.read(path)
    assert len(rollouts.read(path, images=True)[1]) == 4


def test_a_full_disk_is_said_once_and_the_run_goes_on(tmp_path, monkeypatch):
    files = files_of(tmp_path, "--deltal.save_rollouts", "1")
    said = []
    monkeypatch.setattr(rollout_files.logger, "warning", said.append)
    with monkeypatch.context() as patch:

        def full(*_):
            raise OSError(28, "No space left on device")

        patch.setattr(rollouts, "write_atomically", full)
        files.save_if_due(host_samples(), 1)
        files.save_if_due(host_samples(), 2)
    assert len(said) == 1 and "step 1" in said[0] and "No space left" in said[0]
    files.save_if_due(host_samples(), 3)  # there is room again
    assert [path.name for path in (tmp_path / "rollouts").iterdir()] == ["step_000003.jsonl"]


def test_a_label_that_json_cannot_hold_does_not_end_the_run(tmp_path, monkeypatch):
    files = files_of(tmp_path, "--deltal.save_rollouts", "1")
    said = []
    monkeypatch.setattr(rollout_files.logger, "warning", said.append)
    samples = host_samples()
    samples[0].labels = [{7}]
    files.save_if_due(samples, 1)
    assert len(said) == 1 and "set is not JSON serializable" in said[0]
    assert not (tmp_path / "rollouts").exists()


def test_the_controller_saves_what_it_trains_on(tmp_path):
    class Host:
        def train_step(self, rollout_samples, global_step):
            return {"deltal/weight_sum_x_M": 1.0}, global_step + 1

    class Controller(ControllerMixin, Host):
        pass

    controller = Controller()
    controller.args = run_arguments(tmp_path, "--deltal.save_rollouts", "20")
    controller.settings = LossSettings.from_args(controller.args)
    controller.rollout_files = RolloutFiles(controller.args, controller.settings, text_of, resumed_step=0)
    for steps_taken in (0, 19, 20):
        controller.train_step(host_samples(), steps_taken)
    names = sorted(path.name for path in (tmp_path / "rollouts").iterdir())
    assert names == ["step_000001.jsonl", "step_000021.jsonl"]


@pytest.mark.parametrize(
    "flags, said",
    [
        ("--deltal.save_rollouts -1 --reward.remote_url r.py", "--deltal.save_rollouts is -1, allowed is 0 (off) or"),
        ("--deltal.save_rollouts 5 --reward.model_name_or_path rm", "5, but rewards come from a reward model"),
    ],
)
def test_flags_that_cannot_be(flags, said):
    with pytest.raises(ValueError, match=".") as error:
        check_save_rollouts(host_arguments(*flags.split()))
    assert said in str(error.value)


def test_flags_that_can_be():
    check_save_rollouts(host_arguments("--reward.model_name_or_path", "rm"))
    args = SimpleNamespace(
        deltal=SimpleNamespace(save_rollouts=5),
        reward=SimpleNamespace(remote_url=None),
        train=SimpleNamespace(agent_func_path="agent.py"),
    )
    check_save_rollouts(args)
