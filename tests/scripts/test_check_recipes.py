"""scripts/check_recipes.py runs outside of the tests; what it looks for in a run's metrics and log, and its last result."""

import yaml
from support.recipe_settings import CONFIGS, MADE_OF
from support.scripts import in_scripts

STEP = {
    "rollout/num_samples": 32.0,
    "deltal/optimizer_steps": 4.0,
    "actor_lr": 1e-6,
    "deltal/weight_sum_x_M": 2.1,
    "deltal/weight_sum_x_M_min": 1.5,
    "deltal/weight_sum_x_M_max": 2.9,
    "deltal/response_length_mean": 12.0,
    "deltal/ess": 8.0,
    "score": 0.25,
    "rollout/reward_mean": -0.1,
    "rollout/truncated_rate": 0.2,
    "deltal/filtered_share": 0.0,
    "deltal/groups_without_signal": 0.0,
    "deltal/grad_norm": 1.5,
    "dynamic_filtering_pass_rate": 500.0,
}
LOG = """rank 0: loss aggregation token-mean, OpenRLHF's own
Filtered out: avg_reward=0.00, threshold=(0.00, 1.00)
[DAPO Overlong Penalty] 18/32 samples penalized, buffer_len=16.0, factor=1.0
Namespace(estimator='group_norm', dual_clip=10.0, eps_clip_low_high=[0.2, 0.3], betas=[0.9, 0.999],
weight_decay=0.01, lr_scheduler='constant')
'eval_math500_pass8' 'eval_aime2024_pass8' 'eval_amc_pass8' 'eval_minerva_pass8'
"""


NAME = "math-dapo-soft-punishment"
MISSED = [
    ({"rollout/num_samples": 16.0}, "", "32 responses a rollout"),
    ({"deltal/optimizer_steps": 1.0}, "", "4 optimizer steps a rollout"),
    ({"actor_lr": 5e-7}, "", "learning rate 1e-6 in every step"),
    ({"deltal/weight_sum_x_M": 1.0, "deltal/weight_sum_x_M_min": 1.0}, "", "the weights of that mode"),
    ({"score": 0.0, "rollout/reward_mean": -0.5}, "", "right and wrong answers"),
    ({"deltal/groups_without_signal": 0.25}, "", "no prompt without signal is left"),
    ({"deltal/filtered_share": 0.2}, "", "nothing is filtered"),
    ({"rollout/reward_mean": 0.25}, "", "long responses are punished"),
    ({}, "rank 0: loss aggregation token-mean", "a worker says 'loss aggregation token-mean'"),
    ({}, "dual_clip=10.0", "the arguments that leave no trace in metrics"),
    ({}, "Filtered out", "dynamic sampling replaced prompts"),
    ({}, "'eval_amc_pass8'", "evaluation of every set"),
    ({}, "[DAPO Overlong Penalty]", "long responses are punished"),
]
"""(what is otherwise in a step's metrics, what is gone from the log, what has to be said to be missing)."""


def missed(*runs: tuple[str, dict, str]) -> list[list[str]]:
    """What is not seen of the recipes in runs of two equal steps, given as (recipe, step, log)."""
    recipes = [yaml.safe_load((CONFIGS / f"{name}.yaml").read_text(encoding="utf-8")) for name, _, _ in runs]
    code = """
from recipe_findings import findings
result = []
for (name, step, log), recipe in zip(*data):
    result.append([what for what, seen in findings(name, recipe, [step, step], log).items() if not seen])
"""
    return in_scripts(code, [runs, recipes])


def test_the_check_of_a_run_passes_what_the_recipe_should_show():
    assert missed((NAME, STEP, LOG)) == [[]]
    code = "from recipe_findings import findings\nresult = findings('math-deltal', {}, [data], '')"
    assert in_scripts(code, STEP) == {"2 PPO steps": False}


def test_the_check_of_a_run_sees_what_is_missing():
    found = missed(*((NAME, STEP | step, LOG.replace(gone, "") if gone else LOG) for step, gone, _ in MISSED))
    for (step, gone, what), said in zip(MISSED, found, strict=True):
        assert said == [what], (step, gone)


def test_the_check_tells_the_recipes_apart():
    assert all(missed(*((name, STEP, LOG) for name in MADE_OF if name != NAME)))
    weights = {"deltal/weight_sum_x_M_min": 1.0, "deltal/weight_sum_x_M_max": 1.0, "deltal/weight_sum_x_M": 1.0}
    log = LOG.replace("loss aggregation token-mean, OpenRLHF's own", "∆L is active: alpha 0.75, scope step, M 24")
    log = log.replace("[DAPO Overlong Penalty]", "")
    deltal, equal = (
        ("math-dapo-deltal", STEP | weights | {"deltal/ess": ess}, log) for ess in (5.0, STEP["deltal/ess"])
    )
    # With equal weights it was no ∆L, whatever the log says.
    assert missed(deltal, equal) == [[], ["the weights of that mode"]]


def test_the_page_has_the_table_of_the_last_check_and_it_was_of_these_recipes():
    code = """
from check_recipes import PAGE, RESULT, fingerprint, table
results = json.loads(RESULT.read_text(encoding="utf-8"))
shown = table(results) in PAGE.read_text(encoding="utf-8")
result = shown, results, {name: fingerprint(name) for name in results}
"""
    shown, results, fingerprints = in_scripts(code)
    assert shown
    assert {name for name, entry in results.items() if entry["passed"]} == set(MADE_OF)
    for name in MADE_OF:
        assert results[name]["fingerprint"] == fingerprints[name], f"run scripts/check_recipes.py {name}"
