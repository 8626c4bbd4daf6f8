"""scripts/bench_trl.py without TRL and without a run: what both sides are given, what is read of a run, and how cells are kept."""

import json

import pytest
from support.scripts import in_scripts, run_script

from deltal_openrlhf.quickstart.coin_reward import reward_func

GIVEN = """
from pathlib import Path
import trl_runs
bench = trl_runs.Bench(Path("out"), steps=6, threads=2, gpu=data["gpu"])
cell, folder = trl_runs.Cell("135M", 128), Path("folder")
result = {
    "words": trl_runs.our_words(bench, cell, Path("prompts"), folder)[3:],
    "config": trl_runs.trl_config(bench, cell, folder),
    "prompts": {name: trl_runs.prompts_of(name, 6) for name in trl_runs.MODELS},
}
"""


@pytest.mark.parametrize("gpu", [False, True])
def test_both_sides_are_given_the_same(gpu):
    given = in_scripts(GIVEN, {"gpu": gpu})
    words, theirs = given["words"], given["config"]
    ours = {
        word.removeprefix("--"): value
        for word, value in zip(words, [*words[1:], ""], strict=True)
        if word.startswith("--")
    }
    assert int(ours["rollout.max_new_tokens"]) == theirs["max_completion_length"] == 128
    responses = int(ours["rollout.batch_size"]) * int(ours["rollout.n_samples_per_prompt"])
    assert responses == int(ours["train.batch_size"]) == 32
    micro = theirs["per_device_train_batch_size"]
    assert responses == micro * theirs["gradient_accumulation_steps"]
    assert micro == int(ours["train.micro_batch_size"]) == int(ours["rollout.micro_batch_size"])
    assert int(ours["rollout.n_samples_per_prompt"]) == theirs["num_generations"]
    assert int(ours["data.max_samples"]) == theirs["max_steps"] * int(ours["rollout.batch_size"])
    assert float(ours["actor.adam.lr"]) == theirs["learning_rate"]
    assert float(ours["rollout.temperature"]) == theirs["temperature"]
    assert float(ours["algo.kl.init_coef"]) == theirs["beta"] == 0
    assert ours["actor.model_name_or_path"].endswith("models/135M") and ours["loss_agg"] == "deltal"
    assert "ckpt.save_steps" not in ours and "deltal.save_rollouts" not in ours and theirs["save_strategy"] == "no"
    assert theirs["use_vllm"] == gpu and ("vllm.enforce_eager" in ours) != gpu
    if gpu:
        assert int(ours["data.max_len"]) == theirs["vllm_max_model_length"]
        assert float(ours["vllm.gpu_memory_utilization"]) == theirs["vllm_gpu_memory_utilization"]
    else:
        assert theirs["generation_kwargs"]["min_new_tokens"] == 128
    for text in given["prompts"].values():
        rows = [json.loads(line) for line in text.splitlines()]
        assert len(rows) == 6 * 4
        assert len({row["input"] for row in rows}) > 20


FOLDER = """
from pathlib import Path
import trl_runs
from transformers import AutoTokenizer, LlamaConfig
folder = Path(data)
trl_runs.make_model("tiny", folder)
tokenizer, config = AutoTokenizer.from_pretrained(folder), LlamaConfig.from_pretrained(folder)
prompts = [json.loads(line)["input"] for line in trl_runs.prompts_of("tiny", 100).splitlines()]
result = {
    "ends": [tokenizer.eos_token_id, config.eos_token_id, json.loads((folder / "generation_config.json").read_text())["eos_token_id"]],
    "pad": tokenizer.pad_token_id,
    "longest": max(len(tokenizer(prompt).input_ids) for prompt in prompts),
    "room": config.max_position_embeddings - trl_runs.LONGEST,
}
"""


def test_the_folder_names_no_end_token_and_has_room_for_the_longest_response(tmp_path):
    found = in_scripts(FOLDER, str(tmp_path / "tiny"))
    assert found["ends"] == [None, None, None] and found["pad"] == 0
    assert 0 < found["longest"] <= found["room"]


RESULTS = """
import trl_runs
def read(function, found):
    try:
        return function(found, 5)
    except RuntimeError as error:
        return str(error)
result = [[read(trl_runs.our_result, rows) for rows in data["ours"]], [read(trl_runs.trl_result, one) for one in data["trl"]]]
"""


def test_the_first_step_is_not_counted_and_other_lengths_are_refused():
    def rows(longest: int) -> list[dict]:
        lengths = {"deltal/response_length_mean": 5, "deltal/response_length_max": longest}
        parts = ("generation", "make_experience", "ppo_train", "broadcast")
        seconds = {1: 90.0, 2: 0.5, 3: 1.5}
        times = {1: 100.0, 2: 104.0, 3: 116.0}  # 16 s for two steps
        return [
            {"step": step, "time": times[step], **lengths, **{f"timing/{part}": seconds[step] for part in parts}}
            for step in (1, 2, 3)
        ]

    def theirs(last: int) -> dict:
        found = {
            "ended": [100.0, 104.0, 116.0],
            "generation": [90.0, 2.0, 4.0],
            "lengths": [[5] * 32, [5] * 31 + [last]],
        }
        return found | {"threads": 2, "dtype": "bfloat16", "versions": {"trl": "1.16.0"}}

    ours, trl = in_scripts(RESULTS, {"ours": [rows(5), rows(6)], "trl": [theirs(5), theirs(4)]})
    for right, wrong in (ours, trl):
        assert right["step_seconds"] == pytest.approx(8)
        assert right["tokens_per_second"] == pytest.approx(32 * 5 / 8)
        assert "all should have 5" in wrong
    assert ours[0]["parts"]["generation"] == pytest.approx(1)
    assert trl[0]["parts"] == {"generation": pytest.approx(3), "ppo_train": pytest.approx(5)}


TRL_MODULE = """
import torch
class GRPOConfig(dict):
    def __init__(self, **given):
        super().__init__(given)
class GRPOTrainer:
    def __init__(self, *, model, reward_funcs, args, train_dataset, processing_class, callbacks):
        self.args, self.callbacks, self.prompts = args, callbacks, train_dataset
        self.model = torch.nn.Linear(1, 1)
        self.model.dtype = torch.bfloat16
        assert processing_class.eos_token == processing_class.pad_token
    def _generate_and_score_completions(self, inputs):
        return {"completion_mask": torch.ones(2, self.args["max_completion_length"], dtype=torch.int)}
    def train(self):
        assert self.prompts.to_list() == [{"prompt": "1 2 3 = 6"}]
        for _ in range(self.args["max_steps"]):
            self._generate_and_score_completions([])
            for one in self.callbacks:
                one.on_step_end(None, None, None)
"""
SIDE = """
import importlib.metadata
from pathlib import Path
folder = Path(data["folder"])
sys.path.insert(0, str(folder))
import trl_runs, trl_side
trl_runs.make_model("tiny", folder / "model")
importlib.metadata.version = lambda package: "of " + package
config = {"max_completion_length": 7, "max_steps": 3, "use_vllm": False}
given = {"model": str(folder / "model"), "prompts": str(folder / "prompts"), "config": config, "result": str(folder / "result")}
(folder / "settings.json").write_text(json.dumps(given))
sys.argv = ["trl_side.py", str(folder / "settings.json")]
trl_side.main()
result = [trl_runs.trl_result(json.loads((folder / "result").read_text()), 7), trl_side.reward(data["prompts"], data["completions"])]
"""


def test_trls_side_with_a_stand_in_for_trl(tmp_path):
    """It writes what is read of it, and rewards as our side does."""
    (tmp_path / "trl.py").write_text(TRL_MODULE)
    (tmp_path / "prompts").write_text(json.dumps({"input": "1 2 3 = 6", "label": ""}) + "\n")
    prompts, completions = ["a b"] * 200, [f" {i}" for i in range(200)]
    data = {"folder": str(tmp_path), "prompts": prompts, "completions": completions}
    result, rewards = in_scripts(SIDE, data)
    assert result["tokens_per_second"] > 0 and result["dtype"] == "bfloat16"
    assert result["versions"] == {name: f"of {name}" for name in ("torch", "transformers", "trl")}
    queries = [prompt + completion for prompt, completion in zip(prompts, completions, strict=True)]
    assert rewards == reward_func(queries, prompts, ["none"] * 200)["rewards"].tolist()
    assert 50 < sum(rewards) < 150


BENCH = """
import contextlib, io
import bench_trl, trl_runs

def measure(side, bench, cell, log):
    calls.append(f"{side} {cell.model} {cell.length}")
    if len(calls) == run.get("fails_at"):
        raise RuntimeError("the run ended with 1")
    found = {"tokens_per_second": run[side].pop(0), "step_seconds": 2.0, "parts": {"generation": 1.5}}
    return found | {"threads": 2, "dtype": "bfloat16", "versions": {"trl": "1.16.0"}}

trl_runs.measure = measure
trl_runs.make_model = lambda name, folder: folder.mkdir(parents=True)
bench_trl.make_environment = lambda folder, calls: None
bench_trl.parameters = lambda folder: 187_000
result = []
for run in data["runs"]:
    sys.argv = ["bench_trl.py", "--out", data["out"], *run["words"]]
    out, err, calls = io.StringIO(), io.StringIO(), []
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = bench_trl.main()
        except SystemExit as stop:
            code = stop.code
    result.append([code, calls, out.getvalue(), err.getvalue()])
"""


def test_runs_take_turns_are_kept_and_make_the_table(tmp_path):
    tiny = ["--models", "tiny", "--lengths", "32"]
    two = ["--models", "10M", "tiny", "--lengths", "32", "--rounds", "1"]
    runs = [
        {"words": tiny, "deltal": [100, 300], "loop": [25, 400], "trl": [50], "fails_at": 6},
        {"words": tiny, "deltal": [90], "loop": [15], "trl": [100, 30]},
        {"words": two, "deltal": [7], "loop": [21], "trl": [14]},
        {"words": tiny},
        {"words": [*tiny, "--steps", "7"]},
    ]
    failed, resumed, other, again, refused = in_scripts(BENCH, {"out": str(tmp_path), "runs": runs})
    assert failed[0] == 1 and failed[3] == "bench_trl: the run ended with 1\n"
    assert failed[1] == ["deltal tiny 32", "loop tiny 32", "trl tiny 32"] * 2
    assert resumed[:2] == [0, ["trl tiny 32", "deltal tiny 32", "loop tiny 32", "trl tiny 32"]]
    assert other[:2] == [0, ["deltal 10M 32", "loop 10M 32", "trl 10M 32"]]
    assert "| 10M | 0.187M | 32 | 7 | 21 | 14 | 0.50, 0.50 to 0.50 | 1.50, 1.50 to 1.50 |" in other[2]

    # By hand: the ratios are 100/50, 300/100 and 90/30. Their median is 3; that of the medians, 100 and 50, would be 2. The loop's: 25/50,
    # 400/100 and 15/30.
    row = "| tiny | 0.187M | 32 | 100 | 25 | 50 | 3.00, 2.00 to 3.00 | 0.50, 0.50 to 4.00 |"
    assert again[:2] == [0, []] and [line.split()[1] for line in again[2].splitlines()[2:4]] == ["tiny", "10M"]
    assert row in again[2] and row in (tmp_path / "trl.md").read_text()
    cell, _ = json.loads((tmp_path / "trl.json").read_text())["cells"]
    assert (cell["rounds"], cell["ratio"]["deltal"], cell["ratio_range"]["deltal"]) == (3, 3, [2, 3])
    assert cell["tokens_per_second"] == {"deltal": 100, "loop": 25, "trl": 50} and cell["parts"]["trl"] == {
        "generation": 1.5
    }

    assert refused[:2] == [2, []] and len(refused[3].splitlines()) == 1 and "steps 6 (now 7)" in refused[3]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["--lengths", "0"], "--lengths"),
        (["--lengths", "2049"], "1 to 2048"),
        (["--models", "7b"], "10M"),
        (["--rounds", "0"], "--rounds"),
        (["--steps", "1"], "2 or more"),
    ],
)
def test_bad_arguments_are_refused_in_a_line(words, names, tmp_path):
    ended = run_script("bench_trl.py", "--out", tmp_path / "out", *words)
    assert ended.returncode == 2 and len(ended.stderr.splitlines()) == 1 and names in ended.stderr
    assert not (tmp_path / "out").exists()


LOOP = """
import bench_models, trl_runs
from pathlib import Path
folder = Path(data)
bench = trl_runs.Bench(folder, steps=3, threads=1, gpu=False)
trl_runs.make_model("tiny", folder / "models" / "tiny")
result = trl_runs.measure("loop", bench, trl_runs.Cell("tiny", 4), folder / "log.txt")
"""


def test_the_loop_takes_our_flags_and_a_folder_without_an_end_token(tmp_path):
    found = in_scripts(LOOP, str(tmp_path))
    assert found["tokens_per_second"] == pytest.approx(32 * 4 / found["step_seconds"]) and found["parts"] == {}
