"""Interactions: differences of differences against scipy and planted effects, in the report, and with runs of unequal length."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats
from support import comparison_examples as examples
from support.report_page import read, shows, stands_alone

from deltal_openrlhf.comparison import page, summary
from deltal_openrlhf.comparison.grid import grid_jobs, start_names
from deltal_openrlhf.comparison.interactions import METRICS, interactions
from deltal_openrlhf.comparison.run import overview
from deltal_openrlhf.comparison.spec import read_spec

SPEC = """
starts: [s/0, s/1, s/2]
seeds: [0, 1, 2, 3, 4]
methods: {DAPO: {}, GRPO: {}, ∆L: {}}
interactions_with: plain
arms:
  plain: {}
  sampling: {flags: {algo.dynamic_filtering_enable: true}}
  two: {methods: [∆L, DAPO], seeds: [3, 4, 5]}
  one: {methods: [∆L]}
"""


@pytest.fixture
def spec(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in "012":
        (tmp_path / "s" / name).mkdir(parents=True)
        (tmp_path / "s" / name / "config.json").write_text("{}")

    def read_it(text=SPEC):
        (tmp_path / "c.yaml").write_text(text, encoding="utf-8")
        return read_spec("c.yaml")

    return read_it


def planted(spec, leads, noise, rng):
    """Values of (arm, method, metric): noise of the pair, which all share, and of the run; a lead over the first method by arm."""
    shared = {(start, seed): rng.normal(0, 1) for start in spec.arms[0].starts for seed in range(6)}
    found = {
        (arm.name, method): {
            (start, seed): shared[start, seed] + leads.get((arm.name, method), 0.0) + rng.normal(0, noise)
            for start in arm.starts
            for seed in arm.seeds
        }
        for arm in spec.arms
        for method in arm.methods
    }
    return lambda arm, method, metric: found[arm.name, method]


def test_an_interaction_is_the_difference_of_paired_differences(spec):
    spec = spec()
    values = planted(spec, {("plain", "∆L"): 0.1, ("sampling", "∆L"): 0.4}, 0.05, np.random.default_rng(0))
    found = interactions(spec.arms, spec.interactions_with, values)
    assert [(e["arm"], e["a"], e["b"]) for e in found if e["metric"] == "final"] == [
        ("sampling", "DAPO", "GRPO"),
        ("sampling", "DAPO", "∆L"),
        ("sampling", "GRPO", "∆L"),
        ("two", "DAPO", "∆L"),
    ]
    plain, sampling, *_ = spec.arms

    def table(arm, method):
        return np.array([[values(arm, method, "final")[start, seed] for seed in range(5)] for start in arm.starts])

    leads = [table(arm, "∆L") - table(arm, "DAPO") for arm in (plain, sampling)]
    for axis, key, count in ((0, "difference", 5), (1, "difference_over_starts", 3)):
        means = (leads[1] - leads[0]).mean(axis=axis)
        low, high = stats.t.interval(0.95, count - 1, loc=means.mean(), scale=stats.sem(means))
        entry = found[1]
        assert [entry[key][end] for end in ("value", "low", "high")] == pytest.approx([means.mean(), low, high])
    assert ((leads[1] - leads[0]).mean(axis=0) > 0).all() and entry["p"] == 2 / 2**5
    assert (entry["n"], entry["seeds"], entry["wins"]) == (15, 5, int((leads[1] > leads[0]).sum()))
    assert entry["in_reference"]["value"] == pytest.approx(leads[0].mean())
    assert entry["in_arm"]["value"] == pytest.approx(leads[1].mean())
    assert entry["difference"]["resolved"] and not found[0]["difference"]["resolved"]
    # p of four tests of a metric, by Holm.
    assert entry["comparisons"] == 4 and entry["p_holm"] == pytest.approx(4 * entry["p"])
    two = found[3]  # seeds 3 and 4 are in both arms
    assert (two["n"], two["seeds"]) == (6, 2)
    assert two["difference"]["value"] == pytest.approx(two["in_arm"]["value"] - two["in_reference"]["value"])


def test_the_interval_covers_and_a_lead_in_both_arms_is_no_interaction(spec):
    """500 comparisons in which ∆L leads by 0.3 everywhere: what is resolved is chance, and what the arms share does not widen it."""
    spec, rng = spec(), np.random.default_rng(1)
    resolved, led, wide = 0, 0, 0
    for _ in range(500):
        values = planted(spec, {(arm, "∆L"): 0.3 for arm in ("plain", "sampling")}, 0.05, rng)
        entry = interactions(spec.arms, spec.interactions_with, values)[1]
        resolved += entry["difference"]["resolved"]
        led += entry["in_arm"]["resolved"]
        wide += entry["difference"]["high"] - entry["difference"]["low"] > 0.5
    assert 10 <= resolved <= 40  # 25 +- 3 standard errors
    assert led == 500 and wide == 0


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("with: plain", "with: plan", "interactions_with: arm 'plan' is unknown; the nearest known one is 'plain'"),
        ("with: plain", "with: one", "interactions_with: no other arm has two methods of arm 'one'"),
    ],
)
def test_refusals(spec, old, new, says):
    with pytest.raises(ValueError, match=says):
        spec(SPEC.replace(old, new))
    assert spec(SPEC.replace("interactions_with: plain", "")).interactions_with is None


# ── In comparison.json and the report ──


def made_up_schedule(spec, folder, steps, evaluated):
    """Finished runs whose accuracy is the step / 100. steps, evaluated: of (arm, seed), their number and the steps with an evaluation."""
    results, jobs = {}, {}
    for arm in spec.arms:
        jobs[arm.name] = [job for f in arm.families for job in grid_jobs(arm, f, None, start_names(spec))]
        for job in jobs[arm.name]:
            (folder / job.name).mkdir(parents=True)
            rows = [{"step": s, "rollout/reward_mean": s / 100} for s in range(1, steps(arm.name, job.seed) + 1)]
            evals = [{"step": s, "eval_x_pass1": s / 1000} for s in evaluated(arm.name, job.seed)]
            for name, found in (("metrics", rows), ("evals", evals)):
                (folder / job.name / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
            results[job.name] = {"seconds": 1.0, "cpu_seconds": 1.0}
    return SimpleNamespace(spec=spec, out=folder, results=results, chosen={}, of=lambda arm: jobs[arm.name])


def test_runs_of_unequal_length_are_compared_over_the_steps_that_all_have(spec, tmp_path):
    """With dynamic sampling, seed 1 takes 9 steps and is evaluated after the 8th too, seed 2 takes 3 and is never evaluated. Arm two has no
    evaluation at all."""

    def steps(arm, seed):
        return {1: 9, 2: 3}.get(seed, 5) if arm == "sampling" else 6

    def evaluated(arm, seed):
        return [step for step in (4, 8) if step <= steps(arm, seed)] if arm != "two" else []

    spec = spec()
    found = summary.summarize(made_up_schedule(spec, tmp_path / "out", steps, evaluated))
    plain, sampling, *_ = found["arms"]
    assert (plain["steps"], plain["final_step"], plain["warnings"]) == (6, 4, [])
    assert (sampling["steps"], sampling["final_step"]) == (3, 4)
    assert [text.split(";")[0] for text in sampling["warnings"]] == [
        "runs have 3 to 9 PPO steps, because dynamic sampling used up their prompts",
        "9 runs ended before the first evaluation, without a final accuracy",
    ]
    for method in sampling["methods"]:
        assert method["auc"]["value"] == pytest.approx(0.02) and method["auc"]["low"] == method["auc"]["high"]
        assert method["final"]["value"] == pytest.approx(0.004)
        assert method["curves"]["accuracy"]["step"] == [1, 2, 3]
    pair = next(pair for pair in sampling["pairs"] if pair["metric"] == "final")
    assert (pair["n"], pair["seeds"]) == (12, 4)
    pairs = {(entry["arm"], entry["metric"]): entry["n"] for entry in found["interactions"]}
    # The final accuracy of arm two would be that of the rewards. In arm sampling, only kept prompts have rewards.
    assert pairs == {("sampling", "final"): 12, ("sampling", "auc"): 0, ("two", "final"): 0, ("two", "auc"): 6}
    assert found["spec"]["interactions_with"] == "plain"


def test_rewards_of_kept_prompts_are_compared_with_their_like_only(spec, tmp_path):
    """Without evaluations every accuracy is one of the training prompts."""
    one_arm = SPEC.replace("  two:", "  off: {flags: {algo.dynamic_filtering_enable: false}}\n  two:")
    most_arms = "flags: {algo.dynamic_filtering_enable: true}\n" + one_arm
    one_method = SPEC.replace("GRPO: {}", "GRPO: {algo.dynamic_filtering_enable: true}").replace(
        "sampling: {flags: {algo.dynamic_filtering_enable: true}}", "sampling: {}"
    )
    cases = (one_arm, {"off", "two"}), (most_arms, {"sampling", "two"}), (one_method, {"sampling", "two"})
    for number, (text, compared) in enumerate(cases):
        made = made_up_schedule(spec(text), tmp_path / str(number), lambda arm, seed: 5, lambda arm, seed: [])
        entries = summary.summarize(made)["interactions"]
        for metric in METRICS:
            assert {e["arm"] for e in entries if e["metric"] == metric and e["n"]} == compared, (number, metric)


def with_interactions():
    found = examples.comparison()
    found["spec"]["interactions_with"] = "one step"
    pairs = [pair for pair in found["arms"][1]["pairs"] if pair["metric"] in METRICS]
    found["interactions"] = [
        pair | {"arm": "four steps", "in_arm": examples.est(0.07, 0.01), "in_reference": examples.est(0.02, 0.03)}
        for pair in pairs
    ]
    return found


@pytest.fixture
def no_plots(monkeypatch):
    monkeypatch.setattr(page, "plots", lambda comparison: [[] for _ in comparison["arms"]])


def test_the_report_has_every_interaction_and_says_first_what_is_resolved(tmp_path, no_plots):
    found = with_interactions()
    page.write_report(found, tmp_path)
    stands_alone(tmp_path)
    shown, resolved = read(tmp_path), 0
    for entry in found["interactions"]:
        name = {"final": "final accuracy", "auc": "mean accuracy over all steps"}[entry["metric"]]
        row = shown.row_of(f"Interactions with arm one step in {name}", f"four steps: {entry['b']} − {entry['a']}")
        for column, key in (
            ("interaction", "difference"),
            ("in the arm", "in_arm"),
            ("in one step", "in_reference"),
            ("over starting points", "difference_over_starts"),
        ):
            assert shows(row[column], entry[key]), column
        assert (row["pairs"], row["X − Y higher in"]) == (str(entry["n"]), f"{entry['wins']} of {entry['n']}")
        resolved += entry["metric"] == "final" and entry["difference"]["resolved"]
    assert 0 < resolved < len(found["interactions"]) / 2
    assert f"Final accuracy: of 10 interactions {resolved} " in shown.words.split("How it was computed")[0]
    assert "interactions with one step" in overview(found)
    plain = examples.comparison()
    page.write_report(plain, tmp_path / "plain")
    assert "Interactions with" not in read(tmp_path / "plain").words and "interactions" not in overview(plain)


def test_final_accuracies_after_different_steps_are_pointed_out(tmp_path, no_plots):
    found = with_interactions()
    found["arms"][1] |= {"final_from": "held_out", "final_step": 24}
    page.write_report(found, tmp_path / "unequal")
    said = "after different numbers of PPO steps: one step 60, four steps 24"
    assert said in read(tmp_path / "unequal").words
    found["arms"][1]["final_step"] = 60
    page.write_report(found, tmp_path / "equal")
    assert said not in read(tmp_path / "equal").words
