"""The report of `deltal compare`: it stands alone, holds the numbers, and says first what is missing."""

import pytest
from support import comparison_examples as examples
from support.report_page import HOSTILE, read, same_bytes, shows, stands_alone, write_all, write_in_another_style

from deltal_openrlhf.comparison.answer import differences
from deltal_openrlhf.comparison.page import write_report
from deltal_openrlhf.comparison.plots import METRICS
from deltal_openrlhf.comparison.run import overview

COMPARISONS = {
    "whole": examples.comparison,
    "interrupted": examples.interrupted_comparison,
    "smallest": examples.smallest_comparison,
    "one seed": examples.one_seed_comparison,
}

MEASURES = {
    "final accuracy": "final",
    "mean accuracy over all steps": "auc",
    "largest drop": "largest_drop",
    "monotonicity": "monotonicity",
    "length (tokens)": "length",
    "entropy (nats a token)": "entropy",
    "gradient norm": "grad_norm",
    "share of steps clipped": "clip_share",
}


@pytest.fixture(scope="module")
def comparisons(tmp_path_factory):
    return write_all(tmp_path_factory.mktemp("comparisons"), COMPARISONS, write_report)


@pytest.mark.parametrize("name", COMPARISONS)
def test_stands_alone(name, comparisons):
    stands_alone(comparisons / name)


def test_the_same_comparison_gives_the_same_bytes_and_leaves_matplotlib_alone(tmp_path, comparisons):
    write_in_another_style(write_report, examples.one_seed_comparison(), tmp_path)
    assert same_bytes(tmp_path, comparisons / "one seed")


def test_names_are_text(tmp_path):
    found = examples.one_seed_comparison()
    found["starts"] = found["unfinished"] = [HOSTILE]
    found["spec"], found["command"] = {HOSTILE: HOSTILE}, HOSTILE
    arm = found["arms"][0]
    arm["name"], arm["warnings"], arm["flags"] = HOSTILE, [HOSTILE], {HOSTILE: HOSTILE}
    arm["methods"][0] |= {"name": HOSTILE, "family": HOSTILE, "crashed": [{"run": HOSTILE, "reason": HOSTILE}]}
    arm["pairs"][0]["a"] = arm["families"][0]["a"] = arm["learning_rates"][0]["family"] = HOSTILE
    write_report(found, tmp_path)
    page = read(tmp_path)
    assert "script" not in page.tags and page.words.count(HOSTILE) >= 12


@pytest.mark.parametrize("name", COMPARISONS)
def test_the_tables_hold_every_estimate_of_the_comparison(name, comparisons):
    page, found = read(comparisons / name), COMPARISONS[name]()
    for arm in found["arms"]:
        for method in arm["methods"]:
            row = page.row_of(f"Methods, arm {arm['name']}", method["name"])
            assert (row["family"], row["runs"], row["crashed"]) == (
                method["family"],
                str(method["runs"]),
                str(len(method["crashed"])),
            )
            for column, key in MEASURES.items():
                assert row[column] == "–" if method[key]["value"] is None else shows(row[column], method[key])
        for key, kind in (("families", "family "), ("pairs", "")):
            for pair in arm[key]:
                row = page.row_of(
                    f"Paired differences in {METRICS[pair['metric']]}, arm {arm['name']}",
                    f"{kind}{pair['b']} − {kind}{pair['a']}",
                )
                difference = pair["difference"]
                assert row["difference"] == "–" if difference["value"] is None else shows(row["difference"], difference)
                assert (row["pairs"], row["X higher in"]) == (str(pair["n"]), f"{pair['wins']} of {pair['n']}")
        rows = page.tables.get(f"Choice of the learning rate, arm {arm['name']}", [[]])[1:]
        assert [(row[0], float(row[1]), row[-1]) for row in rows] == [
            (one["family"], one["lr"], "chosen" if one["chosen"] else "") for one in arm["learning_rates"]
        ]


def test_unfinished_and_crashed_runs_are_said_first(comparisons):
    page = read(comparisons / "interrupted")
    order = [
        "Not finished: 15 runs are missing",
        "5 methods (",
        "2 crashed",
        "Final accuracy: of 1 difference between families",
        "highest of those tried",
    ]
    places = [page.words.index(words) for words in order]
    assert places == sorted(places)
    reasons = {row[0]: row[2] for row in page.tables["Crashed runs, arm one step"][1:]}
    assert reasons["one step/0/∆L 1/seed3"] == 'killed (out of memory?) while "sampling" <step 12> & more'
    assert "Not finished" not in read(comparisons / "whole").words


def test_a_comparison_of_nothing_and_of_one(tmp_path, comparisons):
    """No arm with a run; one method with one seed; one seed: no interval, and nothing is resolved."""
    write_report({**examples.comparison(), "arms": [], "unfinished": ["runs/a"]}, tmp_path)
    assert "Not finished: 1 run is missing" in read(tmp_path).words and not (tmp_path / "plots").exists()
    assert "no two methods have runs with the same starting point and seed" in read(comparisons / "smallest").words
    words = read(comparisons / "one seed").words
    assert "of 10 differences between methods none is resolved" in words and "nothing can be resolved" in words
    assert "no interval" in words


def test_the_answer_lists_resolved_differences_with_interval_and_n():
    arm = examples.comparison()["arms"][0]
    sentence, listed = differences(arm)[0]
    final = [pair for pair in arm["pairs"] if pair["metric"] == "final"]
    resolved = [pair for pair in final if pair["difference"]["resolved"]]
    assert (
        f"of {len(final)} differences between methods {len(resolved)} are resolved" in sentence
        and "15 pairs" in sentence
    )
    assert len(listed) == 1 + len(resolved) and all("n = 15" in line and "[" in line for line in listed)
    for pair, line in zip(resolved, listed[1:], strict=True):
        assert line.startswith(f"{pair['b']} − {pair['a']}: {pair['difference']['value']:+.3f}")


def test_the_answer_says_where_a_difference_is_not_resolved_over_starting_points():
    arm = examples.comparison()["arms"][0]
    resolved = [pair for pair in arm["pairs"] if pair["metric"] == "final" and pair["difference"]["resolved"]]
    for i, pair in enumerate(resolved):
        pair["difference_over_starts"]["resolved"] = i == 0
    sentence, listed = differences(arm)[0]
    assert f"{len(resolved)} are resolved (1 of them over starting points too)" in sentence
    assert [line.endswith(", not resolved") for line in listed[1:]] == [False] + [True] * (len(resolved) - 1)
    for pair in arm["families"] + arm["pairs"]:
        del pair["difference_over_starts"]
    assert "over starting points" not in " ".join([differences(arm)[0][0], *differences(arm)[0][1]])


def test_a_single_evaluation_is_no_curve(tmp_path):
    comparison = examples.comparison()
    comparison["arms"] = comparison["arms"][:1]
    for arm in comparison["arms"]:
        for method in arm["methods"]:
            curve = method["curves"]["held_out"]
            method["curves"]["held_out"] = {k: v[-1:] if isinstance(v, list) else v for k, v in curve.items()}
    write_report(comparison, tmp_path)
    assert "Left out, for there is one step: held-out accuracy" in (tmp_path / "report.html").read_text()
    assert not list((tmp_path / "plots").glob("*held_out*")) and list((tmp_path / "plots").glob("*accuracy*"))


def test_the_console_says_the_paired_differences(tmp_path):
    comparison = examples.comparison()
    pair = next(p for p in comparison["arms"][0]["pairs"] if p["metric"] == "final")
    pair["difference"] = examples.est(0.03, 0.4, resolved=False)
    said = overview(comparison)
    assert f"final, {pair['b']} - {pair['a']}: 0.03 [-0.37, 0.43], {pair['n']} pairs, not resolved" in said
