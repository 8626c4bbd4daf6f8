"""The report of `deltal diagnose`: it stands alone, holds the numbers, and says no more than the intervals."""

import copy

import pytest
from support import report_examples as examples
from support.report_page import (
    HOSTILE,
    Page,
    numbers,
    read,
    same_bytes,
    shows,
    stands_alone,
    write_all,
    write_in_another_style,
)

from deltal_openrlhf.diagnostics import method_plots, plots
from deltal_openrlhf.diagnostics.answer import bias, growth, noise, sentences
from deltal_openrlhf.diagnostics.method_plots import by_alpha, by_method, sorted_methods
from deltal_openrlhf.diagnostics.page import page_parts, write_report
from deltal_openrlhf.reports import figures, html

DIAGNOSES = {"whole": examples.findings, "unresolved": examples.unresolved_findings, "null": examples.null_findings}

TABLES = {
    "Noise of a batch gradient": {
        "CV": "cv",
        "CV / CV of Dr. GRPO norm": "cv_ratio",
        "E cos(G, E G)": "batch_cosine",
        "E cos(G, E G_ref)": "batch_cosine_reference",
        "ESS (responses)": "ess",
    },
    "Bias against Dr. GRPO norm": {
        "cosine": "cosine",
        "relative norm": "relative_norm",
        "relative bias": "relative_bias",
    },
    "Norm of a batch gradient": {
        "norm": "norm",
        "short responses": "norm_short",
        "long responses": "norm_long",
        "long / short": "norm_ratio",
    },
}


@pytest.fixture(scope="module")
def diagnoses(tmp_path_factory):
    return write_all(tmp_path_factory.mktemp("diagnoses"), DIAGNOSES, write_report)


@pytest.mark.parametrize("name", DIAGNOSES)
def test_stands_alone(name, diagnoses):
    stands_alone(diagnoses / name)


def test_the_same_findings_give_the_same_bytes(tmp_path, diagnoses):
    write_in_another_style(write_report, examples.unresolved_findings(), tmp_path)
    assert same_bytes(tmp_path, diagnoses / "unresolved")
    assert not (tmp_path / "report.html").read_bytes() == (diagnoses / "whole" / "report.html").read_bytes()


def test_names_are_text(tmp_path):
    found = examples.unresolved_findings()
    found["source"] |= {"model": HOSTILE, HOSTILE: [HOSTILE], "command": HOSTILE}
    found["recommendation"] |= {"text": HOSTILE, "criterion": HOSTILE}
    found["estimators"][0]["name"] = HOSTILE
    found["obstacles"] = [{"key": "cut_off", "text": HOSTILE}]
    found["responses"][0] |= {"prompt": HOSTILE, "response": HOSTILE}
    found["sample"]["advantage"] = HOSTILE
    for key in ("variance", "covariance"):
        for by_type in found[key].values():
            by_type[HOSTILE] = copy.deepcopy(by_type["mlp"])
    write_report(found, tmp_path)
    page = read(tmp_path)
    assert "script" not in page.tags and page.words.count(HOSTILE) >= 12


@pytest.mark.parametrize("name", DIAGNOSES)
def test_the_tables_hold_every_estimate_of_the_findings(name, diagnoses):
    page, found = read(diagnoses / name), DIAGNOSES[name]()

    def check(cell, estimate):
        missing = all(estimate[key] is None for key in ("value", "low", "high"))
        assert cell == "–" if missing else shows(cell, estimate), (cell, estimate)

    for method in found["estimators"]:
        label = method["name"] + ("" if method["comparable_scale"] else " *")
        for caption, columns in TABLES.items():
            row = page.row_of(caption, label)
            for column, key in columns.items():
                if row[column] != "reference":
                    check(row[column], method[key])
        power = page.row_of("Bias against Dr. GRPO norm", label)["detectable bias"]
        known = [] if method["detectable_bias"] is None else [method["detectable_bias"]]
        assert numbers(power) == pytest.approx(known, rel=0.01)
    for key, words in (("with_advantage", "with advantage"), ("without_advantage", "without advantage")):
        for name, fit in found["variance"][key].items():
            row = page.row_of("Growth of the variance with the length, Var(g) = c·L^β", f"{name}, {words}")
            check(row["β"], fit["beta"])
            assert (numbers(row["responses"]), numbers(row["prompts"])) == ([fit["responses"]], [fit["prompts"]])
        for i, one in enumerate(found["variance"][key]["all"]["bins"], start=1):
            check(page.row_of("Variance by length (all parameters)", f"{i}, {words}")["Var(g)"], one["variance"])
        for name, covariance in found["covariance"][key].items():
            row = page.row_of("Correlation of the gradients of two responses", f"{name}, {words}")
            check(row["same prompt"], covariance["within"])
            check(row["different prompts"], covariance["between"])
            check(row["same less different"], covariance["excess"])


def test_the_page_of_a_diagnosis_begins_with_what_was_measured_and_the_answer(diagnoses):
    page = read(diagnoses / "whole")
    order = [
        "Model runs/starts/0.",
        "1,024 responses: 8 to each of 128 prompts, 8 to 134 trained tokens",
        "One batch: 16 prompts, 128 responses",
        "β = 1.23 [1.09, 1.37]. It grows faster than the length",
        "0.776 [0.726, 0.826] times the coefficient of variation",
        "less noisy",
        "∆L 1 is biased",
        "Recommendation: Between 0.75 and 1",
        "Flags to train with",
        "These values of X remain: 0.75, 1.",
        "deltal train --loss_agg deltal --alpha X",
        "Plots",
        "Some responses",
        "1. Reward 1, 8 tokens Prompt: 1 + 1? Response: 2<eos>",
        "2. Reward 0, 134 tokens, cut off at the limit Prompt: 1 + 2? Response: 2 or",
        "3. Reward 0, 1 token Prompt: 1 + 3? Response: The rollouts hold no text.",
        "Numbers",
        "How it was computed",
        "Settings",
        "projection.width",
        "deltal diagnose --model runs/starts/0",
    ]
    places = [page.words.index(words) for words in order]
    assert places == sorted(places)


def test_findings_without_values_have_sentences_in_place_of_plots(diagnoses):
    page = read(diagnoses / "null")
    assert (
        len(page.images) == 1 and page.words.count("Left out, for want of values") == 11
    )  # the histogram holds counts
    assert "could not be fitted" in page.words
    thirds = read(diagnoses / "unresolved")
    assert thirds.words.count("Left out, for want of values") == 2
    assert len(thirds.images) == 12 - 2 - thirds.words.count("Left out, for none of its")


def test_a_mean_that_cannot_be_told_from_0_is_said_before_what_is_relative_to_it():
    found = examples.findings()
    assert not any("too few" in sentence for sentence in sentences(found))
    reference = next(m for m in found["estimators"] if m["mode"] == "seq-mean-token-sum-norm")
    reference["cv"] = examples.est(1.8, low=1.3, high=None, resolved=False)
    assert "too few to tell the mean gradient of Dr. GRPO norm from 0" in sentences(found)[1]


def test_sentences_say_no_more_than_the_interval():
    e = examples.est
    method = examples.findings()["estimators"][0]

    def fit(*args, off=0, **more):
        return growth({"beta": e(*args, **more), "bins_off": off, "bins": [{}] * 8})

    assert "faster" in fit(1.5, 0.3) and "slower" in fit(0.5, 0.3)
    assert "inside" in fit(1.2, 0.3) and "faster" not in fit(1.2, 0.3)
    assert "not a power law: 3 of 8 bins" in fit(1.0, 0.1, off=3) and "inside" not in fit(1.0, 0.1, off=3)
    assert "inside" in fit(1.0, 0.1, off=1)
    assert "Not resolved" in fit(2.5, 0.9, resolved=False) and "faster" not in fit(2.5, 0.9, resolved=False)
    assert "less noisy" in noise({**method, "cv_ratio": e(0.8, 0.1)}) and "more noisy" in noise(
        {**method, "cv_ratio": e(1.2, 0.1)}
    )
    for ratio in (e(0.8, 0.3, resolved=False), e(0.4, low=0.2, high=None, resolved=False), examples.NOTHING):
        said = noise({**method, "cv_ratio": ratio})
        assert "not resolved" in said.lower() and "noisy." not in said
    unseen = {
        "relative_bias": e(0.05, low=0.0, high=0.2, resolved=False),
        "cosine": e(0.99, low=0.97, high=1.0, resolved=False),
        "relative_norm": e(1.1, 0.2, resolved=False),
        "detectable_bias": 0.23,
    }
    none = bias({**method, **unseen})
    assert "No bias" in none and "0.23" in none and "does not prove" in none
    assert "is biased" in bias({**method, **unseen, "relative_bias": e(0.4, 0.1)})
    assert "is biased" in bias({**method, **unseen, "cosine": e(0.9, 0.05)})
    # A mean of another length is a bias where the scale is meant to be the same, and only there.
    longer = {**method, **unseen, "relative_norm": e(1.19, low=1.06, high=1.33)}
    said = bias({**longer, "comparable_scale": True})
    assert "biased in length" in said and "1.19 [1.06, 1.33] times" in said and "No bias beyond that" in said
    assert bias({**longer, "comparable_scale": False}).startswith("No bias of")
    assert "not resolved" in bias({**method, "relative_bias": examples.NOTHING, "detectable_bias": None})
    assert "is unknown" in bias(
        {**method, **unseen, "relative_bias": e(0.1, low=0.0, high=None, resolved=False), "detectable_bias": None}
    )


def test_methods_are_sorted_by_kind_scope_and_alpha():
    names = [method["name"] for method in sorted_methods(examples.findings()["estimators"])]
    assert set(names[:3]) == {"DAPO norm", "GRPO norm", "Dr. GRPO norm"}
    assert names[3:9] == ["∆L 0.25", "∆L 0.5", "∆L 0.75", "∆L 1", "∆L 1.25", "∆L 1.5"]
    assert names[9] == "∆L 0.25 (rollout)" and names[20] == "∆L 1.5 (group)"


def test_what_is_wrong_stands_before_everything_else(tmp_path):
    found = examples.findings()
    texts = ["119 of 192 responses were cut off.", "The lengths are too alike."]
    keys = ("cut_off", "lengths_alike")
    found["obstacles"] = [{"key": key, "text": text} for key, text in zip(keys, texts, strict=True)]
    words = html_of(found)
    places = [words.index(text) for text in (*texts, "Model runs/starts/0.", "Recommendation: ")]
    assert places == sorted(places) and "Any aggregation will do" in words and "--alpha X" not in words
    assert texts[0] not in html_of(examples.findings())


def html_of(found):
    """The words of the page, without its plots, which take long and say nothing here."""
    return Page(html.page("", page_parts(found, []))).words


def rows_drawn(monkeypatch):
    """What figures.rows and figures.values_at are given from now on: every estimate, and every label."""
    estimates, labels = [], []
    rows, values_at = figures.rows, figures.values_at

    def spy_rows(axes, names, series, *args, **more):
        labels.extend(names)
        estimates.extend(e for one in series for e in one.estimates if e is not None)
        return rows(axes, names, series, *args, **more)

    def spy_values(axes, series, *args):
        estimates.extend(e for _, one in series for e in one.estimates)
        return values_at(axes, series, *args)

    monkeypatch.setattr(figures, "rows", spy_rows)
    monkeypatch.setattr(figures, "values_at", spy_values)
    return estimates, labels


def spoil(found, keys, field):
    for method in found["estimators"]:
        if method["key"] in keys:
            method[field] = examples.est(1.1, 0.4, resolved=False)


def test_rows_that_are_not_resolved_are_counted_and_not_drawn(monkeypatch):
    found = examples.findings()
    for method in found["estimators"]:
        method["cv"] = examples.est(2.0, 0.1)
        method["cv_ratio"] = examples.est(0.8, 0.1)
    with figures.drawing():
        whole = by_method(found, method_plots.CV), by_alpha(found, method_plots.CV_RATIO)
        assert not any("not resolved" in plot.alt for plot in whole)  # negative control
        spoil(found, ("opo", "deltal-0.5-step", "token-mean"), "cv")
        spoil(found, ("deltal-0.5-step", "deltal-1-group", "token-mean"), "cv_ratio")
        estimates, labels = rows_drawn(monkeypatch)
        by_row = by_method(found, method_plots.CV)
        assert by_row.alt.endswith(" 3 of 25 rows are not resolved.") and len(labels) == len(estimates) == 22
        assert not {"OPO *", "∆L 0.5", "DAPO norm *"} & set(labels)
        estimates.clear()
        of_alpha = by_alpha(found, method_plots.CV_RATIO)
        assert of_alpha.alt.endswith(" 3 of 20 rows are not resolved.") and len(estimates) == 17
        assert all(estimate["resolved"] for estimate in estimates)
        spoil(found, {m["key"] for m in found["estimators"]}, "cv")
        none = by_method(found, method_plots.CV)
        assert none.reason.startswith("Left out, for none of its 25 rows is resolved: Coefficient of variation")


def test_a_line_does_not_bridge_an_alpha_that_is_not_resolved(monkeypatch):
    found = examples.findings()
    for method in found["estimators"]:
        method["cv_ratio"] = examples.est(0.8, 0.1)
    spoil(found, ("deltal-0.75-step",), "cv_ratio")
    runs = []
    values_at = figures.values_at

    def spy(axes, series, *args):
        runs.extend([round(x) if x > 2 else round(x, 1) for x in xs] for xs, one in series if one.label == "step")
        return values_at(axes, series, *args)

    monkeypatch.setattr(figures, "values_at", spy)
    with figures.drawing():
        by_alpha(found, method_plots.CV_RATIO)
    assert [len(run) for run in runs] == [2, 3]  # 0.25 and 0.5; 1, 1.25 and 1.5


def test_an_exponent_and_bins_that_are_not_resolved_are_not_drawn(monkeypatch):
    found = examples.unresolved_findings()
    bars = []
    bar = figures.bar
    monkeypatch.setattr(
        figures, "bar", lambda axes, x, e, *args, **more: (bars.append(e), bar(axes, x, e, *args, **more))
    )
    with figures.drawing():
        plot = plots.variance(found)
    assert plot.alt.endswith(" 4 of 16 rows are not resolved.") and len(bars) == 12
    assert all(estimate["resolved"] for estimate in bars)
