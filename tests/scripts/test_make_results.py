"""scripts/make_results.py: verdicts follow from intervals alone, and what is kept makes the same page again."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import comparison_examples
from support import report_examples as examples
from support.report_page import same_bytes

ROOT = Path(__file__).parents[2]
e = examples.est

# Of the samples: CV of ∆L 1 over that of Dr. GRPO norm (claimed: < 1), norm of long over short batches (claimed: 1), β (claimed: 1).
SAMPLES = {
    "one": (e(0.8, 0.1), e(1.1, 0.05), e(1.05, 0.1), 0),
    "two": (e(1.3, 0.1), e(1.1, 0.2), e(1.05, 0.1), 3),
    "three": (e(0.95, 0.1), e(1.1, 0.3), e(1.3, 0.1), 0),
    "four": (e(0.8, low=0.5, high=None), e(1.1, low=1.034, high=None), e(1.3, 0.4), 1),
}
# Differences over seeds and over starting points, claimed to be above 0.
DIFFERENCES = [
    ((0.05, 0.01), (0.05, 0.02), "holds"),
    ((0.05, 0.01), (0.05, 0.2), "holds with these starting points; for others not resolved"),
    ((0.05, 0.06), (0.05, 0.2), "not resolved"),
    ((-0.05, 0.01), (-0.05, 0.02), "does not hold"),
]
TURNED = ", the other way round"


def sample(cv_ratio: dict, norm_ratio: dict, beta: dict, bins_off: int) -> dict:
    found = examples.findings(types=("q",))
    found["source"]["parameters"] = 186_624
    found["variance"]["with_advantage"]["all"] |= {"beta": beta, "bins_off": bins_off}
    for entry in found["estimators"]:
        if entry["key"] == "deltal-1-step":
            entry |= {"cv_ratio": cv_ratio, "norm_ratio": norm_ratio}
            if cv_ratio["high"] is None:
                entry["detectable_bias"] = None
    return found


def comparison() -> dict:
    """Two arms of the examples, and for each of the differences two that have it alone, one of them the other way round."""
    found = comparison_examples.comparison() | {"command": "deltal compare x.yaml"}
    second = found["arms"][1]
    second["cpu_seconds_of_rates"] = 0
    methods = [{**method, "curves": {}} for method in second["methods"]]
    second["methods"][0]["crashed"] = [{"run": "x", "reason": "y"}]
    for i, (seeds, starts, _) in enumerate(DIFFERENCES):
        pair = {"metric": "final", "a": "GRPO norm", "b": "∆L 1", "n": 15, "wins": 9}
        pair |= {"difference": e(*seeds), "difference_over_starts": e(*starts)}
        turned = pair | {"a": "∆L 1", "b": "GRPO norm", "wins": 6}
        for key in ("difference", "difference_over_starts"):
            turned[key] = e(-pair[key]["value"], low=-pair[key]["high"], high=-pair[key]["low"])
        for name, one in ((f"case {i}", pair), (f"case {i}{TURNED}", turned)):
            found["arms"].append({**second, "name": name, "methods": methods, "families": [], "pairs": [one]})
    return found


def make(folder: Path, samples: list[str], compared: Path | None, bench: str = "countdown") -> Path:
    words = [sys.executable, "scripts/make_results.py", "--bench", bench, "--out", folder]
    words += ["--diagnose", *samples] if samples else []
    words += ["--compare", compared] if compared else []
    done = subprocess.run([*map(str, words)], cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    for name, numbers in SAMPLES.items():
        (folder / name).mkdir()
        (folder / name / "findings.json").write_text(json.dumps(sample(*numbers)))
    (folder / "comparison.json").write_text(json.dumps(comparison()))
    return make(folder / "docs", [f"{name}={folder / name}" for name in SAMPLES], folder)


@pytest.fixture(scope="module")
def page(results) -> str:
    return (results / "README.md").read_text(encoding="utf-8")


def cells(text: str, claim: str) -> list[str]:
    """What stands beside the first claim that begins so."""
    return re.search(rf"^\| {re.escape(claim)}.*?\| (.*) \|$", text, re.MULTILINE)[1].split(" | ")


def verdicts(text: str, claim: str) -> list[str]:
    return [re.search(r"\*\*(.*)\*\*$", cell)[1] for cell in cells(text, claim)]


def test_verdicts(page):
    below = ["holds", "does not hold", "not resolved", "not resolved"]
    assert verdicts(page, "∆L 1 has a lower CV than Dr. GRPO norm") == below
    equal = ["does not hold", "holds", "not resolved", "not resolved"]
    assert verdicts(page, "the update of ∆L 1 does not depend on length: 1") == equal
    above = ["holds", "holds with these starting points; for others not resolved", "not resolved", "does not hold"]
    cases = [page.split(f"### case {case}\n")[1] for case in range(len(above))]
    assert [verdicts(case, "∆L 1 ends higher than GRPO norm")[0] for case in cases] == above


def test_layer_types_are_told_apart(page):
    variance = examples.findings(types=("q",))["variance"]
    expected = [f"{variance[f'{which}_advantage']['q']['beta']['value']:.3f}" for which in ("without", "with")]
    assert [cell.split(" [")[0] for cell in cells(page, "q")] == expected * len(SAMPLES)
    assert expected[0] != expected[1] and not set(cells(page, "q")) & set(cells(page, "all"))


def test_an_interval_without_an_end_and_an_unknown_power_are_said(page):
    assert cells(page, "the update of ∆L 1 does not depend on length: 1")[3].startswith("1.100 [1.034, ∞]:")
    said = cells(page, "∆L 1 is unbiased")
    assert ["such samples would show: not known" in cell for cell in said] == [False, False, False, True]
    assert verdicts(page, "∆L 1 is unbiased") == ["does not hold"] * 4


def test_an_exponent_of_1_with_bins_off_the_fit_is_no_proportion(page):
    claim = "the variance of a response's gradient grows in proportion to its length"
    assert verdicts(page, claim) == ["holds", "does not hold", "does not hold", "not resolved"]
    assert cells(page, claim)[0].startswith("1.050 [0.950, 1.150], 0 of 8 bins of lengths off the fit:")


def test_the_order_of_the_cv_is_tested_pair_by_pair(page):
    assert verdicts(page, "∆L 1 has a lower CV than ∆L 0.75: ratio < 1") == ["holds"] * 4
    assert verdicts(page, "DAPO norm has the CV of Dr. GRPO norm: ratio 1") == ["holds"] * 4


@pytest.mark.parametrize("case", range(len(DIFFERENCES)))
@pytest.mark.parametrize("turned", ["", TURNED])
def test_a_difference_speaks_for_other_starting_points_only_if_they_agree(page, case, turned):
    text = page.split(f"### case {case}{turned}\n")[1].split("###")[0]
    claim = "∆L 1 ends higher than GRPO norm"
    assert verdicts(text, claim) == [DIFFERENCES[case][2]]
    assert ", n = 15, 9 of them higher; over" in cells(text, claim)[0]
    assert text.count(": **") == 1  # the only claim that it has runs for


def test_an_arm_says_what_it_took_and_shows_its_own_plots(page, results):
    of_first, of_second = page.split("### case 0\n")[0].split("### four steps")
    # 2980.1 s in all, 610.2 s of them for the rates of the first; 5 methods with 15 runs each
    assert "75 runs in 39 core-minutes, the choice of learning rates before them in 10." in of_first
    assert "76 runs in 50 core-minutes." in of_second
    shown = [re.findall(r"plots/(.*?)\.png", text) for text in (of_first, of_second)]
    assert shown == [
        ["variance", "cv_ratio", "1_one-step_accuracy", "1_one-step_difference_final"],
        ["2_four-steps_accuracy", "2_four-steps_difference_final"],
    ]
    linked = re.findall(r'src="plots/(.*?)"', page)
    assert sorted(linked) == sorted(path.name for path in (results / "plots").iterdir())


def test_what_is_kept_makes_the_same_page_and_is_one_line_a_record(results, tmp_path):
    again = make(tmp_path / "again", [f"{n}={results}/diagnose_{n}.json" for n in SAMPLES], results / "comparison.json")
    assert same_bytes(results, again)
    arm = json.loads((results / "comparison.json").read_text(encoding="utf-8"))["arms"][0]
    assert set(arm["methods"][0]["curves"]) == {"accuracy"} and {pair["metric"] for pair in arm["pairs"]} == {
        "final",
        "auc",
    }
    lines = (results / "comparison.json").read_text(encoding="utf-8").splitlines()
    assert sum('"name": "GRPO norm"' in line and '"curves"' in line for line in lines) == 2 + 2 * len(DIFFERENCES)


INTERACTIONS = {"dynamic sampling": ((0.05, 0.01), "larger"), "punishment": ((-0.05, 0.01), "smaller")}
INTERACTIONS["filtering"] = ((0.05, 0.06), "not resolved")


def test_interactions_stand_before_the_arms_with_what_they_show(tmp_path):
    found = comparison() | {"spec": {"interactions_with": "one step", "arms": []}}
    for arm in found["arms"]:
        arm["cpu_seconds_of_rates"] = 0
    found["interactions"] = [
        {"arm": arm, "a": "GRPO norm", "b": "∆L 1", "metric": metric, "n": 10, "wins": 5, "p": 0.3, "p_holm": 0.6}
        | {"in_arm": e(0.1, 0.1), "in_reference": e(0.2, 0.1), "difference": e(*difference)}
        for metric in ("final", "auc")
        for arm, (difference, _) in INTERACTIONS.items()
    ]
    of_other_prompts = dict.fromkeys(("value", "low", "high")) | {"resolved": False}
    found["interactions"].append(
        found["interactions"][-1]
        | {"arm": "filtered", "n": 0, "p_holm": None}
        | dict.fromkeys(("in_arm", "in_reference", "difference"), of_other_prompts)
    )
    (tmp_path / "comparison.json").write_text(json.dumps(found))
    made = make(tmp_path / "docs", [], tmp_path, "interactions")
    page = (made / "README.md").read_text(encoding="utf-8")
    table = page.split("### Interactions with arm one step\n")[1].split("### one step")[0]
    for arm, ((value, _), said) in INTERACTIONS.items():
        rows = re.findall(rf"^\| {arm}: ∆L 1 − GRPO norm \| (.*) \|$", table, re.MULTILINE)
        assert len(rows) == 2 and all(f"{value:+.3f}" in row and row.endswith(f"| **{said}** | 0.6") for row in rows)
    assert "| filtered: " not in table and "not defined" not in table
    assert "The mean accuracy over all steps in filtered is of other prompts, so it is left out." in table
    assert "learning rates are those" not in page and "One update" not in page
    assert same_bytes(made, make(tmp_path / "again", [], made / "comparison.json", "interactions"))


def test_with_one_seed_the_interval_over_starting_points_decides(tmp_path):
    found = comparison()
    pair = next(arm for arm in found["arms"] if arm["name"] == "case 3")["pairs"][0]
    pair["difference"] = e(-0.05) | {"low": None, "high": None}
    (tmp_path / "comparison.json").write_text(json.dumps(found))
    page = (make(tmp_path / "docs", [], tmp_path) / "README.md").read_text(encoding="utf-8")
    (cell,) = cells(page.split("### case 3\n")[1], "∆L 1 ends higher than GRPO norm")
    assert cell == "-0.050 [-0.070, -0.030], n = 15, 9 of them higher: **does not hold**"


COMMITTED = {
    "countdown": ("results", {"start": "start", "after 20 PPO steps": "after_20_PPO_steps"}),
    "smollm2": ("results-smollm2", {"start": "start", "after 30 PPO steps": "after_30_PPO_steps"}),
    "alpha-auto": ("results-alpha-auto", {}),
    "interactions": ("results-interactions", {}),
}


@pytest.mark.parametrize("bench", COMMITTED)
def test_the_committed_page_is_made_of_the_committed_numbers(bench, tmp_path):
    name, kept = COMMITTED[bench]
    folder = ROOT / "docs" / "evidence" / name
    samples = [f"{sample}={folder}/diagnose_{file}.json" for sample, file in kept.items()]
    compared = folder / "comparison.json"
    made = make(tmp_path / "results", samples, compared if compared.exists() else None, bench)
    for path in (path for path in made.rglob("*") if path.suffix in (".md", ".json")):
        assert path.read_bytes() == (folder / path.relative_to(made)).read_bytes()
    assert {path.name for path in made.rglob("*.png")} == {path.name for path in folder.rglob("*.png")}
