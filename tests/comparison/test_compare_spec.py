"""The file of `deltal compare`: what it comes to, and every refusal in one line."""

import subprocess
import sys

import pytest

from deltal_openrlhf.comparison.grid import check_names, grid_jobs, rate_jobs, slug, start_names
from deltal_openrlhf.comparison.spec import read_spec

WHOLE = """
starts: [s/0, s/1]
seeds: [0, 1]
flags:
  actor: {adam.lr: 1e-6, max_norm: 1}
  data.prompt_dataset: train.jsonl
methods:
  GRPO norm: {loss_agg: seq-mean-token-mean}
  "∆L 1": {loss_agg: deltal, alpha: 1.0}
  "∆L 0.75": {actor.loss_agg_mode: deltal, deltal.alpha: 0.75}
families: {one: [GRPO norm, "∆L 1"], other: ["∆L 0.75"]}
learning_rate: {choices: [4e-4, 1e-4], seeds: [100, 101]}
arms:
  one step: {}
  SGD:
    flags: {deltal.sgd: true}
    learning_rate: {choices: [0.1, 1, 10], starts: [s/1], by: final}
    methods: ["∆L 0.75", GRPO norm]
    seeds: [5]
  fixed: {learning_rate: null, starts: [s/1]}
  single: {learning_rate: {choices: [3e-4]}, families: {all: [GRPO norm, "∆L 1", "∆L 0.75"]}}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("s/0", "s/1", "t/1"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.json").touch()
    return tmp_path


def spec(folder, text=WHOLE, **arguments):
    (folder / "c.yaml").write_text(text, encoding="utf-8")
    return read_spec("c.yaml", **arguments)


def test_the_whole_file(folder):
    found = spec(folder)
    one, sgd, fixed, single = found.arms
    assert found.engine == "loop"
    assert one.flags == {"actor.adam.lr": 1e-6, "actor.max_norm": 1, "data.prompt_dataset": "train.jsonl"}
    assert one.methods["∆L 1"] == {"actor.loss_agg_mode": "deltal", "deltal.alpha": 1.0}
    assert (one.learning_rate.flag, one.learning_rate.choices, one.learning_rate.by) == (
        "actor.adam.lr",
        (1e-4, 4e-4),
        "auc",
    )
    assert (one.learning_rate.starts, one.learning_rate.seeds) == (("s/0",), (100, 101))
    # An arm takes what it does not set from the whole, also within learning_rate.
    assert sgd.flags == one.flags | {"deltal.sgd": True}
    assert (sgd.learning_rate.choices, sgd.learning_rate.seeds, sgd.learning_rate.starts) == (
        (0.1, 1, 10),
        (100, 101),
        ("s/1",),
    )
    assert (list(sgd.methods), sgd.families) == (
        ["GRPO norm", "∆L 0.75"],
        {"one": ("GRPO norm",), "other": ("∆L 0.75",)},
    )
    assert (sgd.seeds, sgd.starts) == ((5,), ("s/0", "s/1"))
    assert fixed.learning_rate is None and fixed.starts == ("s/1",)
    assert single.families == {"all": ("GRPO norm", "∆L 1", "∆L 0.75")}


def test_runs_of_an_arm(folder):
    found = spec(folder)
    one, _, fixed, single = found.arms
    names = start_names(found)
    trials = rate_jobs(one, "one", names)
    assert [job.name for job in trials] == [
        f"learning_rates/one-step/one/lr{rate}/0/seed{seed}" for seed in (100, 101) for rate in ("0.0001", "0.0004")
    ]
    assert {job.method for job in trials} == {"GRPO norm"}
    assert trials[1].flags["actor.adam.lr"] == 4e-4
    runs = grid_jobs(one, "one", 4e-4, names)
    assert [job.name for job in runs[:4]] == [
        f"runs/one-step/{start}/{method}/seed0" for start in "01" for method in ("grpo-norm", "deltal-1")
    ]
    # Two methods of one start and seed differ in their own flags only.
    a, b = runs[0].flags, runs[1].flags
    assert {key for key in a | b if a.get(key) != b.get(key)} == {"actor.loss_agg_mode", "deltal.alpha"}
    assert (a["train.seed"], a["actor.model_name_or_path"], a["actor.adam.lr"]) == (0, "s/0", 4e-4)
    assert rate_jobs(fixed, "one", names) == [] == rate_jobs(single, "all", names)
    assert grid_jobs(fixed, "one", None, names)[0].flags["actor.adam.lr"] == 1e-6


def test_the_command_line_wins_also_over_arms(folder):
    found = spec(folder, engine="pipeline", starts=["t/1"], seeds=[7])
    assert found.engine == "pipeline"
    assert {arm.starts for arm in found.arms} == {("t/1",)} and {arm.seeds for arm in found.arms} == {(7,)}
    assert [arm.learning_rate.starts for arm in found.arms[:2]] == [("t/1",), ("t/1",)]  # the second sets its own
    assert [arm.name for arm in found.chosen_arms(["fixed", "SGD"])] == ["SGD", "fixed"]


def test_without_arms_families_and_rates_there_is_one_arm_of_single_methods(folder):
    (arm,) = spec(folder, "{starts: [s/0], seeds: [0], methods: {a: {x: 1}, b: {}}}").arms
    assert (arm.name, arm.families, arm.learning_rate) == ("main", {"a": ("a",), "b": ("b",)}, None)


def test_names_of_folders():
    assert [slug(label) for label in ("∆L 0.75", "Dr. GRPO norm", "Δ/x: y", "a--b")] == [
        "deltal-0.75",
        "dr.-grpo-norm",
        "delta-x-y",
        "a-b",
    ]


def test_starts_of_one_name_take_their_whole_path(folder):
    assert start_names(spec(folder, starts=["s/1", "t/1", "s/0"])) == {"s/1": "s-1", "t/1": "t-1", "s/0": "0"}


REFUSED = [
    ("seeds: [0, 1]", "seed: [0, 1]", "c.yaml: key 'seed' is unknown; the nearest known one is 'seeds'"),
    ("seeds: [5]", "steps: 3", "arm 'SGD': key 'steps' is unknown"),
    ("by: final", "bye: final", "arm 'SGD': learning_rate: key 'bye' is unknown; the nearest known one is 'by'"),
    ("starts: [s/0", "engine: lopp\nstarts: [s/0", "engine is 'lopp', allowed are loop, pipeline"),
    ("by: final", "by: last", "arm 'SGD': learning_rate: by is 'last', allowed are auc, final"),
    ('other: ["∆L 0.75"]', "other: [GRPO norm]", "method 'GRPO norm' is in two families, 'one' and 'other'"),
    (', other: ["∆L 0.75"]', "", "families: method '∆L 0.75' is in no family"),
    ('other: ["∆L 0.75"]', 'other: ["∆L 0.7"]', "method '∆L 0.7' is unknown; the nearest known one is '∆L 0.75'"),
    ("  GRPO norm:", '  "∆L 1": {}\n  GRPO norm:', "c.yaml:10: '∆L 1' is there twice"),
    ("  GRPO norm:", "  ∆l 1: {}\n  GRPO norm:", "is in no family"),
    ("s/1]\nseeds", "s/2]\nseeds", "start s/2 is not a folder with a config.json"),
    ("starts: [s/0, s/1]\n", "", "starts is None, wanted is a list with at least one name"),
    ("[100, 101]", "[100, 1]", "arm 'one step': learning_rate: seed 1 is one of the comparison's seeds"),
    (", seeds: [100, 101]", "", "learning_rate: seeds is None, wanted is a list of different whole numbers"),
    ("seeds: [0, 1]", "seeds: [0, 0]", "seeds is [0, 0], wanted is a list of different whole numbers"),
    ("seeds: [0, 1]", "seeds: [0, -1]", "seeds is [0, -1]"),
    ("[4e-4, 1e-4]", "[4e-4, 0]", "choices is [0.0004, 0], wanted are numbers above 0"),
    ("[4e-4, 1e-4]", "[4e-4, 4e-4]", "choices [0.0004, 0.0004] has one twice"),
    ("[4e-4, 1e-4]", "[4e-4, 4.0000001e-4]", "choices [0.0004, 0.00040000001] has one twice, to six digits"),
    ("alpha: 1.0", "actor.adam.lr: 1", "method '∆L 1' sets actor.adam.lr, which learning_rate chooses"),
    ("deltal.sgd: true", "deltal.alpha: 1", "arm 'SGD' sets deltal.alpha, and so does method '∆L 0.75'"),
    (
        "max_norm: 1",
        "max_norm: 1, model_name_or_path: x",
        "actor.model_name_or_path is set by the starts; leave it out",
    ),
    ("alpha: 1.0", "alpha: 1.0, deltal.alpha: 1", "method '∆L 1': deltal.alpha is set twice"),
    ("one step: {}", "one step: 3", "arm 'one step' is 3, wanted are keys"),
    ("methods:", "methods: [", "c.yaml:9: not YAML"),
]


@pytest.mark.parametrize(("old", "new", "says"), REFUSED, ids=[says for *_, says in REFUSED])
def test_refusals(folder, old, new, says):
    assert old in WHOLE
    with pytest.raises(ValueError) as error:
        spec(folder, WHOLE.replace(old, new, 1))
    assert says in str(error.value) and "\n" not in str(error.value)


def test_labels_that_would_share_a_folder(folder):
    with pytest.raises(ValueError, match="methods of arm 'main': 'A b' and 'a-B' would share the folder a-b"):
        check_names(spec(folder, "{starts: [s/0], seeds: [0], methods: {A b: {}, a-B: {}}}"))
    with pytest.raises(ValueError, match="'%' has no letter or digit"):
        check_names(spec(folder, "{starts: [s/0], seeds: [0], methods: {'%': {}}}"))


def test_the_command_ends_with_status_2_and_one_line(folder):
    (folder / "c.yaml").write_text(WHOLE, encoding="utf-8")
    words = [sys.executable, "-m", "deltal_openrlhf.cli.main", "compare", "c.yaml", "--out", "o", "--arm", "SDG"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "deltal compare: error: --arm 'SDG' is unknown; the nearest known one is 'SGD'\n"
    assert not (folder / "o").exists()
