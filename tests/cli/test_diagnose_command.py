"""`deltal diagnose` from flags to files: errors, resuming after a kill at any moment, saved rollouts, memory."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from support import diagnose_child
from support.diagnose_example import write_example

from deltal_openrlhf.cli.diagnose import main
from deltal_openrlhf.diagnostics import gradients, plan, run
from deltal_openrlhf.diagnostics.folder import GRAM, JOURNAL, ROLLOUTS, ROWS
from deltal_openrlhf.diagnostics.gram import load_grams
from deltal_openrlhf.diagnostics.plan import ModelShape, make_plan
from deltal_openrlhf.diagnostics.progress import Progress
from deltal_openrlhf.diagnostics.rewarding import rewarder
from deltal_openrlhf.diagnostics.sources import FromSaved
from deltal_openrlhf.models.checkpoint import Prompt
from deltal_openrlhf.runs import rollouts

PROMPTS, N = 12, 3


@pytest.fixture
def quick(monkeypatch):
    diagnose_child.be_quick(monkeypatch.setattr)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """As in the child: sums over more threads have other last bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    folder = tmp_path_factory.mktemp("example")
    write_example(folder)
    return folder


def flags(example, out, **changes):
    values = {
        "model": example / "model",
        "data": example / "data.jsonl",
        "out": out,
        "reward": example / "reward.py",
        "prompts": PROMPTS,
        "n": N,
        "batch_prompts": 2,
        "max_new_tokens": 24,
        "batch_size": 12,
        "projection": 256,
    } | changes
    return [part for name, value in values.items() if value is not None for part in (f"--{name}", str(value))]


def saved_flags(example, path, out, **changes):
    of_data = dict.fromkeys(("data", "reward", "prompts", "n", "max_new_tokens", "batch_size"))
    return flags(example, out, **(of_data | {"rollouts": path} | changes))


@pytest.fixture(scope="module")
def finished(example, tmp_path_factory):
    """The folder of an undisturbed run."""
    out = tmp_path_factory.mktemp("finished") / "out"
    with pytest.MonkeyPatch.context() as patch:
        diagnose_child.be_quick(patch.setattr)
        assert main(flags(example, out)) == 0
    return out


def found(out):
    """findings.json without what differs from run to run."""
    values = json.loads((out / run.FINDINGS).read_text())
    source = values.pop("source")
    for name in ("seconds", "seconds_by_stage", "peak_memory_gb", "command"):
        assert source.pop(name)
    return values, source


def assert_same(a, b):
    for name in (ROLLOUTS, GRAM):
        assert (a / name).read_bytes() == (b / name).read_bytes()
    assert found(a)[0] == found(b)[0]


def test_what_comes_out(example, finished):
    values, source = found(finished)
    header, read = rollouts.read(finished / ROLLOUTS)
    assert (header.n_samples_per_prompt, header.max_new_tokens, header.step) == (N, 24, 0) and len(read) == PROMPTS * N
    assert values["groups"] == [i // N for i in range(PROMPTS * N)] and values["lengths"] == [r.length for r in read]
    assert values["settings"] == {"advantage": "group_norm", "max_length": 24, "batch_prompts": 2, "seed": 0}
    lines = [json.loads(line)["input"] for line in (example / "data.jsonl").read_text().splitlines()]
    prompts = [read[i].prompt for i in range(0, len(read), N)]
    assert set(prompts) <= set(lines) and prompts != lines[:PROMPTS], "the first prompts of the file, not random ones"
    for rollout in read:
        assert rollout.truncated == (rollout.token_ids[-1] != 1) and rollout.length <= 24
        assert rollout.length == 24 or not rollout.truncated
    rewards = values["rewards"]
    assert 0 < sum(rewards) < len(rewards) and set(rewards) == {0.0, 1.0}
    assert source["projection"] == {"kind": "sketch", "width": 256, "relative_error": pytest.approx(0.0884, abs=1e-4)}
    assert not (finished / ROWS).exists() and set(load_grams(finished / GRAM)) == set(values["sums"])


def test_help_and_wrong_flags_do_not_wait_for_torch():
    code = """
import sys
from deltal_openrlhf.cli.main import main
for argv in (["diagnose", "--help"], ["diagnose", "--model", "m", "--data", "d", "--out", "o", "--n", "1"]):
    try:
        main(argv)
    except SystemExit as stop:
        print("code", stop.code)
print([name for name in ("torch", "numpy", "transformers") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.endswith("code 0\ncode 2\n[]\n"), done.stdout + done.stderr
    assert done.stderr == "deltal diagnose: error: --n is 1, allowed is 2 or more\n"


BAD_FLAGS = [
    (dict(data=None), "one of --data and --rollouts is needed"),
    (dict(rollouts="x.jsonl"), "one of --data and --rollouts is needed, not both"),
    (dict(data=None, rollouts="x.jsonl"), "--n goes with --data only"),
    (dict(prompts=0), "--prompts is 0, allowed is 1 or more"),
    (dict(prompts=99), "--prompts is 99"),
    (dict(prompts=7), "7 prompts make 3 disjoint batches of --batch_prompts 2, wanted are 4 at least: 8 prompts, or --batch_prompts up"),
    (dict(temperature=0), "--temperature is 0.0, allowed is a number above 0"),
    (dict(memory_gb="nan"), "--memory_gb is nan, allowed"),
    (dict(memory_gb=0.00001), "--memory_gb is 1e-05, which does not suffice for 36 responses"),
    (dict(max_length=-1), "--max_length is -1.0, allowed"),
    (dict(projection="half"), "--projection is half, allowed are auto, full and a width that is a power of two"),
    (dict(projection=1000), "--projection is 1000, allowed are"),
    (dict(advantage="gae"), "argument --advantage: invalid choice: 'gae'"),
    (dict(device="cuda:7"), "--device is cuda:7, allowed here are auto, cpu"),
    (dict(model="/nowhere"), "/nowhere: no such folder"),
    (dict(data="/nowhere.jsonl"), "/nowhere.jsonl: no such file"),
    (dict(reward="/nowhere.py"), "--reward: not there: /nowhere.py"),
    (dict(reward="http://host"), "--reward is http://host, allowed are auto and a .py file"),
    (dict(max_new_tokens=300), "the model has 256 positions"),
]  # fmt: skip


@pytest.mark.parametrize("changes, said", BAD_FLAGS, ids=[" ".join(c) for c, _ in BAD_FLAGS])
def test_bad_input_ends_in_one_line_before_the_model_is_read(changes, said, example, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run, "load_model", lambda *_: pytest.fail("the weights were read"))
    with pytest.raises(SystemExit) as stop:
        main(flags(example, tmp_path / "out", **changes))
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("deltal diagnose: error: ") and said in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def refused(capsys, argv):
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_other_places_where_input_is_checked(example, finished, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    assert "is a file, wanted is a folder" in refused(capsys, flags(example, tmp_path / "file"))
    (tmp_path / "raises.py").write_text("import nothing_of_this_name\n")
    assert "cannot be loaded: ModuleNotFoundError" in refused(
        capsys, flags(example, tmp_path / "out", reward=tmp_path / "raises.py")
    )
    (tmp_path / "other.py").write_text("def reward(queries): ...\n")
    assert "it has no function reward_func(queries, prompts, labels)" in refused(
        capsys, flags(example, tmp_path / "out", reward=tmp_path / "other.py")
    )
    missing = saved_flags(example, tmp_path / "none.jsonl", tmp_path / "out")
    assert "--rollouts: not there" in refused(capsys, missing)
    free = type("Usage", (), {"free": 1000})
    with monkeypatch.context() as patch:
        patch.setattr(plan.shutil, "disk_usage", lambda path: free)
        assert "take 0.0 GB on the disk, free are 0.0 GB" in refused(capsys, flags(example, tmp_path / "new"))
    assert not (tmp_path / "new").exists()


def test_a_reward_file_that_fails_stops_the_run_with_one_line(example, tmp_path, quick, capsys):
    (tmp_path / "reward.py").write_text(
        "def reward_func(queries, prompts, labels):\n    raise OSError('no\\nservice')\n"
    )
    assert main(flags(example, tmp_path / "out", reward=tmp_path / "reward.py")) == 1
    error = capsys.readouterr().err
    assert error.endswith("no service\n") and error.startswith("deltal diagnose: stopped: no reward from ")
    (tmp_path / "list.py").write_text("def reward_func(queries, prompts, labels):\n    return [1.0]\n")
    assert main(flags(example, tmp_path / "out_of_list", reward=tmp_path / "list.py")) == 1
    assert "reward_func gave list, wanted is a dict with 'rewards'" in capsys.readouterr().err
    (tmp_path / "nan.py").write_text(
        "def reward_func(queries, prompts, labels):\n    return {'rewards': [float('nan')]}\n"
    )
    assert main(flags(example, tmp_path / "nan", reward=tmp_path / "nan.py")) == 1
    assert "allowed is one finite number" in capsys.readouterr().err


def test_without_signal_no_gradient_is_computed(example, tmp_path, monkeypatch, capsys):
    """--reward auto: a random model solves none of the problems."""
    monkeypatch.setattr(run, "Scores", lambda *_: pytest.fail("gradients were computed"))
    assert "the same reward, for each of 12 prompts (mean reward 0)" in refused(
        capsys, flags(example, tmp_path / "out", reward="auto")
    )


@pytest.mark.parametrize(
    "text, label, reward",
    [
        ("so \\boxed{7}", "7", 1.0),
        ("so \\boxed{8}", "7", 0.0),
        ("1 + 2 <answer> (1 + 2) * 3 </answer>", '{"numbers": [1, 2, 3], "target": 9}', 1.0),
        ("1 + 2 <answer> (1 + 2) + 3 </answer>", '{"numbers": [1, 2, 3], "target": 9}', 0.0),
    ],
)
def test_rewards_by_label_are_those_of_deltal_eval(text, label, reward):
    tokenizer = SimpleNamespace(
        decode=lambda tokens, skip_special_tokens: text if skip_special_tokens else text + "<eos>"
    )
    assert rewarder("auto", tokenizer)(Prompt("p", [1]), label, [[2, 3]]) == [reward]


@pytest.mark.parametrize(
    "changes, said",
    [
        (dict(n=4), "begun with --n 3, not 4"),
        (dict(max_new_tokens=25), "begun with --max_new_tokens 24, not 25"),
        (dict(temperature=0.9), "begun with --temperature 1.0, not 0.9"),
        (dict(seed=1), "begun with --seed 0, not 1"),
        (dict(projection="full"), "begun with --projection 256, not full"),
        (dict(reward="auto"), "begun with --reward"),
    ],
)
def test_a_folder_with_other_settings_is_refused(changes, said, example, finished, capsys):
    before = {path.name: path.read_bytes() for path in finished.iterdir()}
    assert said in refused(capsys, flags(example, finished, **changes))
    assert {path.name: path.read_bytes() for path in finished.iterdir()} == before


def test_another_model_or_a_folder_in_use_is_refused(example, finished, tmp_path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    for path in (example / "model").iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    (other / "generation_config.json").write_text('{"eos_token_id": 1, "temperature": 0.5}')
    assert "another model: generation_config.json differs" in refused(capsys, flags(example, finished, model=other))
    holder = diagnose_child.hold(finished, json.loads((finished / "settings.json").read_text()))
    try:
        assert "another diagnosis is writing there" in refused(capsys, flags(example, finished))
    finally:
        holder.kill()
        holder.join()


def test_statistics_may_change_and_need_no_model(example, finished, tmp_path, quick, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    for name in ("settings.json", JOURNAL, ROLLOUTS, GRAM):
        (out / name).write_bytes((finished / name).read_bytes())
    monkeypatch.setattr(run, "load_model", lambda *_: pytest.fail("the weights were read"))
    assert main(flags(example, out, advantage="rloo", max_length=100, batch_prompts=3)) == 0
    values = found(out)[0]
    assert values["settings"] == {"advantage": "rloo", "max_length": 100, "batch_prompts": 3, "seed": 0}
    assert values["sums"] == found(finished)[0]["sums"]


def wait_until(condition, process):
    for _ in range(20_000):
        if condition() or process.exitcode is not None:
            return
        time.sleep(0.001)
    raise AssertionError("nothing happened")


def size(path):
    return path.stat().st_size if path.exists() else 0


def test_killed_again_and_again_it_goes_on_and_ends_bit_for_bit_the_same(example, finished, tmp_path, quick):
    """kill -9 from outside: in the sampling, in the gradients, and again in each of them where the last one left off."""
    out, log = tmp_path / "out", tmp_path / "log"
    lines = []
    for name in (ROLLOUTS, ROLLOUTS, ROWS, ROWS, ROWS):
        before = size(out / name)
        process = diagnose_child.start(flags(example, out), log)
        wait_until(lambda name=name, before=before: size(out / name) > before, process)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, log.read_text()
        lines.append(len((out / JOURNAL).read_text().splitlines()))
    assert lines == sorted(lines) and lines[-1] > lines[0]
    assert not (out / run.FINDINGS).exists()
    assert main(flags(example, out)) == 0
    assert_same(out, finished)


def test_half_written_files_are_cut_back(example, finished, tmp_path, quick):
    """What a kill within a write leaves: half a line of a response and of the journal, half a row."""
    out = tmp_path / "out"
    process = diagnose_child.start(flags(example, out), tmp_path / "log")
    wait_until(lambda: size(out / ROWS) > 3 * 4 * 100, process)
    process.kill()
    process.join()
    for name, text in ((ROWS, b"\1\2\3"), (JOURNAL, b'{"stage": "gra')):
        with open(out / name, "ab") as file:
            file.write(text)
    assert main(flags(example, out)) == 0
    assert_same(out, finished)
    begun = tmp_path / "begun"
    begun.mkdir()
    (begun / "settings.json").write_bytes((finished / "settings.json").read_bytes())
    content = (finished / ROLLOUTS).read_bytes().splitlines(keepends=True)
    (begun / ROLLOUTS).write_bytes(
        b"".join(content[:15]) + content[15][:20]
    )  # 14 of 36 responses: a batch of 12, and 2 of the next
    assert main(flags(example, begun)) == 0
    assert_same(begun, finished)


def test_broken_files_are_named(example, finished, tmp_path, capsys):
    for name, content, said in (
        (JOURNAL, b'{"stage": 1}\n', "line 1 is broken; take another --out"),
        ("settings.json", b"{", "not JSON; take another --out"),
        ("settings.json", None, "holds journal.jsonl without settings.json"),
    ):
        out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        out.mkdir()
        for path in finished.iterdir():
            (out / path.name).write_bytes(path.read_bytes())
        (out / name).unlink() if content is None else (out / name).write_bytes(content)
        assert said in refused(capsys, flags(example, out))
    for name in (ROLLOUTS, GRAM, ROWS):
        out = tmp_path / f"only_{name}"
        out.mkdir()
        (out / name).write_bytes(b"x")
        assert f"holds {name} without settings.json" in refused(capsys, flags(example, out))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_says_how_to_go_on(number, example, finished, tmp_path, quick):
    out, log = tmp_path / "out", tmp_path / "log"
    process = diagnose_child.start(flags(example, out), log)
    wait_until(lambda: size(out / ROWS) > 0, process)
    os.kill(process.pid, number)
    process.join(30)
    assert process.exitcode == 130
    assert log.read_text().endswith("deltal diagnose: interrupted; the same command goes on where it was\n")
    assert main(flags(example, out)) == 0
    assert_same(out, finished)


def test_saved_rollouts_give_the_same_gradients_as_fresh_ones(example, finished, tmp_path, quick, capsys):
    assert main(saved_flags(example, finished / ROLLOUTS, tmp_path / "out")) == 0
    assert "the rollouts hold no log-probabilities, so it cannot be checked" in capsys.readouterr().out
    assert (tmp_path / "out" / GRAM).read_bytes() == (finished / GRAM).read_bytes()
    values, source = found(tmp_path / "out")
    assert values == found(finished)[0] and source["step"] == 0 and source["log_prob_difference"] is None


def test_all_prompts_of_saved_rollouts_are_in_one_order_asked_for_or_not(finished):
    """The settings of the two are the same, so the folder of one goes on with the other: rows must mean the same responses."""
    whole, asked = (FromSaved(finished / ROLLOUTS, prompts, seed=0) for prompts in (None, PROMPTS))
    assert whole.settings == asked.settings
    assert whole.read(None, None, "") == asked.read(None, None, "") == rollouts.read(finished / ROLLOUTS)[1]
    fewer = FromSaved(finished / ROLLOUTS, PROMPTS - 1, seed=0)
    assert len(fewer.read(None, None, "")) == (PROMPTS - 1) * N


def test_saved_rollouts_of_a_run(example, finished, tmp_path, quick, capsys):
    """Their temperature and M count; log-probabilities of another model are noticed, those of the same one are not."""
    header, read = rollouts.read(finished / ROLLOUTS)
    header = replace(header, step=20, temperature=0.8, loss={"max_length": 77.0})
    read = [replace(r, log_probs=[0.0] * r.length) for r in read]
    path = tmp_path / "step_000020.jsonl"
    rollouts.write(path, header, read)
    assert main(saved_flags(example, path, tmp_path / "other", prompts=8)) == 0
    assert "it is not the model that sampled these rollouts" in capsys.readouterr().out
    values, source = found(tmp_path / "other")
    assert values["settings"]["max_length"] == 77 and len(values["lengths"]) == 8 * N
    assert source["temperature"] == 0.8 and source["log_prob_difference"] < -1
    # What the model itself says, rounded as a run saves it, each token by an independent forward pass.
    model = gradients.load_model(example / "model", torch.device("cpu")).requires_grad_(False)
    ours = []
    for rollout in read:
        logits = (model(input_ids=torch.tensor([rollout.token_ids])).logits[0] / 0.8).log_softmax(-1)
        trained = [t for t, trained in enumerate(rollout.action_mask) if trained]
        values = [round(logits[t, rollout.token_ids[t + 1]].item(), 6) for t in trained]
        ours.append(replace(rollout, log_probs=values))
    rollouts.write(path, header, ours)
    assert main(saved_flags(example, path, tmp_path / "same")) == 0
    assert "warning" not in capsys.readouterr().out
    assert abs(found(tmp_path / "same")[1]["log_prob_difference"]) < 1e-5


def test_saved_rollouts_that_cannot_be(example, finished, tmp_path, capsys):
    header, read = rollouts.read(finished / ROLLOUTS)
    path = tmp_path / "file.jsonl"
    rollouts.write(path, header, [replace(r, token_ids=[*r.token_ids[:-1], 5000]) for r in read])
    assert "holds token 5000, the model has" in refused(capsys, saved_flags(example, path, tmp_path / "out"))
    rollouts.write(path, replace(header, max_new_tokens=None), read)
    assert "--max_length M in tokens is needed" in refused(capsys, saved_flags(example, path, tmp_path / "out"))
    rollouts.write(
        path,
        replace(header, n_samples_per_prompt=1),
        [replace(r, prompt_index=i, sample=0) for i, r in enumerate(read)],
    )
    assert "gives no advantage" in refused(capsys, saved_flags(example, path, tmp_path / "out"))


GPT2 = ModelShape(
    {"qkv": 21_261_312, "o": 7_087_104, "mlp": 56_669_184, "embedding": 39_383_808, "norm": 38_400}, 38_597_376, 50_257
)


def test_the_plan_follows_the_memory():
    """Of a GPT-2: 256 whole rows would take 127 GB, sketched ones at most 34 MB."""
    assert make_plan(GPT2, 256, 400, "auto").width is None and make_plan(GPT2, 256, 4, "auto").width == 8192
    assert make_plan(GPT2, 256, 4, "full").rows_bytes == 256 * 4 * GPT2.parameters
    even = ModelShape(dict.fromkeys(("q", "k", "v", "o", "mlp", "embedding", "norm", "head"), 10**7), 10**6, 10**4)
    assert [make_plan(even, 512, memory, "auto").width for memory in (0.3, 0.2, 0.1, 0.07)] == [8192, 4096, 2048, 2048]
    bounded = make_plan(GPT2, 256, 2, "auto")
    assert 3 * 4 * bounded.tokens_a_pass * GPT2.vocabulary <= 0.25 * 2e9


def test_the_plan_follows_what_a_gpu_has_free():
    free = make_plan(GPT2, 256, 40, "auto")
    assert make_plan(GPT2, 256, 40, "auto", 80 * 10**9) == free  # of an H100
    # 1.3 GB there take model and gradients; of the other 3.7 GB logits get a quarter, though 40 are allowed.
    bounded = make_plan(GPT2, 256, 40, "auto", 5 * 10**9)
    assert bounded.width == free.width and bounded.tokens_a_pass < free.tokens_a_pass
    assert 0.7e9 < 3 * 4 * bounded.tokens_a_pass * GPT2.vocabulary <= 0.25 * 5e9
    with pytest.raises(
        ValueError, match=r"the GPU has 1.2 GB free, needed are 1.\d for 124,439,808 parameters in float32"
    ):
        make_plan(GPT2, 256, 40, "auto", 12 * 10**8)


def test_a_plan_that_does_not_fit_says_what_would():
    with pytest.raises(ValueError) as error:
        make_plan(GPT2, 256, 0.1, "auto")
    least = float(str(error.value).split("allowed is ")[1].split()[0])
    assert 0.3 < least < 0.6 and make_plan(GPT2, 256, least, "auto")
    with pytest.raises(ValueError, match="does not suffice"):
        make_plan(GPT2, 256, least * 0.8, "auto")
    with pytest.raises(ValueError, match="does not suffice"):
        make_plan(GPT2, 20_000, 4, "auto")  # Gram matrices of 1.6 GB each


def test_the_time_left_is_estimated_by_cost_and_without_what_was_there_before():
    progress = Progress("deltal diagnose: gradients", "responses", [100, 100, 10, 10, 80], done=1)
    assert progress.text(1, 0.0) == "1/5 responses, 0:00:00"
    assert progress.text(2, 10.0) == "2/5 responses, 0:00:10, about 0:00:10 left"
    # Now two unknowns can be told apart: 10 s a response, whatever its cost.
    assert progress.text(3, 20.0) == "3/5 responses, 0:00:20, about 0:00:20 left"
    assert progress.text(5, 41.0) == "5/5 responses, 0:00:41"


@pytest.mark.parametrize("each, a_token", [(0.0, 0.1), (2.0, 0.0), (1.0, 0.02)])
def test_the_estimate_is_right_for_costs_of_both_kinds(each, a_token):
    """Longest responses last, the worst order: seconds = each + a_token x tokens, in steps of one response or several."""
    tokens = sorted(20 + 13 * i % 300 for i in range(60))
    seconds = [0.0]
    for count in tokens:
        seconds.append(seconds[-1] + each + a_token * count)
    progress = Progress("", "", tokens)
    assert progress.seconds_left(2, seconds[2]) > 0  # one observation of two unknowns
    for done in (4, 5, 9, 17, 30):
        left = progress.seconds_left(done, seconds[done])
        assert left == pytest.approx(seconds[-1] - seconds[done], rel=1e-3)


def test_the_output_in_a_file(finished, example, tmp_path, quick, capsys):
    assert main(flags(example, Path(tmp_path / "out"))) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith("deltal diagnose: ") for line in lines) and "\r" not in "".join(lines)
    assert "12 prompts, 3 responses to each; gradients of" in lines[0]
    assert any(line.startswith("deltal diagnose: gradients: 36/36 responses, ") for line in lines)
