"""`deltal report`: the page says what the run's files say, opens without a network, and runs nothing that a response holds."""

import base64
import hashlib
import json
import re
import xml.etree.ElementTree as ElementTree

import pytest
from support import training_run
from support.report_page import HOSTILE, Page

from deltal_openrlhf.cli import report
from deltal_openrlhf.training_report import plots
from deltal_openrlhf.training_report.folder import labels, read_runs
from deltal_openrlhf.training_report.panels import sections


class RunPage(Page):
    """Also the rows of the sampled responses, each with its data and its texts."""

    def __init__(self, path):
        self.responses, self.scripts = [], []
        self.html = path.read_text(encoding="utf-8")
        facts, _, rest = self.html.partition('<table id="samples">')
        super().__init__(facts + '<table id="samples"><caption>responses</caption>' + rest if rest else facts)

    def handle_starttag(self, tag, attrs):
        super().handle_starttag(tag, attrs)
        if tag == "tr" and "data-step" in dict(attrs):
            self.responses.append({key.removeprefix("data-"): float(value) for key, value in attrs})
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data):
        if "script" in self.open:
            self.scripts[-1] += data
        else:
            super().handle_data(data)

    @property
    def plots(self):
        """Title -> SVG."""
        return {
            image["alt"].split(" (")[0]: base64.b64decode(image["src"].split(",")[1]).decode() for image in self.images
        }


def made(*folders, out=None):
    assert report.main([*map(str, folders), *(["--out", str(out)] if out else [])]) == 0
    return RunPage(out or folders[0] / "report.html")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return training_run.write(tmp_path_factory.mktemp("runs") / "mine")


@pytest.fixture(scope="module")
def page(run):
    return made(run)


def test_the_page_needs_nothing_but_itself(page):
    assert all(address.startswith("data:image/svg+xml;base64,") for address in page.addresses)
    assert not {"link", "iframe", "object", "form"} & set(page.tags)
    assert "url(" not in page.html.split("</style>")[0] and "None" not in page.words and "nan" not in page.words.split()
    (script,) = page.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page.html.replace("&#39;", "'"))
    assert policy == f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def test_plots_are_drawings_that_turn_dark_and_say_what_they_show(page):
    assert {"Reward", "Evaluation: math", "Response length", "Effective sample size", "Entropy", "Throughput"} <= set(
        page.plots
    )
    for svg in page.plots.values():
        ElementTree.fromstring(svg)
        assert "prefers-color-scheme: dark" in svg and "<script" not in svg and 'href="http' not in svg
    (norm,) = [image["alt"] for image in page.images if image["alt"].startswith("Gradient norm")]
    assert norm == "Gradient norm (before clipping) against the PPO step: norm from 1.10 to 0.133."
    assert all(name in page.plots["Response length"] for name in ("max", "95 %", "mean", "median"))


def test_the_summary_says_what_was_trained_and_what_came_of_it(page):
    facts = {row[0]: row[1] for row in page.tables["Runs"]}
    assert facts["steps"] == "30 of 30, done"
    assert facts["aggregation"] == "deltal, α 0.75, scope step, M 64"
    assert facts["model"] == "runs/base" and facts["learning rate"] == "2e-4"
    assert facts["last evaluation, math"] == "0.500 [0.450, 0.540]"  # 0.2 + 30 / 100


@pytest.mark.parametrize(
    ("loss", "weight"),
    [
        ({}, lambda of, all_of, _: of**-0.75 / sum(length**-0.75 for length in all_of) / 64),
        ({"mode": "token-mean", "alpha": None, "scope": None}, lambda of, all_of, _: 1 / sum(all_of)),
        (
            {"scope": "group"},
            lambda of, all_of, group: of**-0.75 / (sum(length**-0.75 for length in group) / 4) / (64 * len(all_of)),
        ),
    ],
    ids=["step", "token-mean", "group"],
)
def test_weights_are_those_of_the_formula(loss, weight, tmp_path):
    page = made(training_run.write(tmp_path / "run", 7, every=3, loss=loss))
    assert {row["step"] for row in page.responses} == {1, 4, 7} and len(page.responses) == 48
    for step in (1, 4, 7):
        saved = training_run.responses(step)
        lengths = [response.length for response in saved]
        expected = {}
        for i, response in enumerate(saved):
            group = lengths[i // 4 * 4 : i // 4 * 4 + 4]
            expected.setdefault((response.length, response.reward), weight(response.length, lengths, group))
        shown = [row for row in page.responses if row["step"] == step]
        assert sorted(row["length"] for row in shown) == sorted(lengths)
        if loss.get("scope") == "group":
            assert sorted(row["weight"] for row in shown) == pytest.approx(
                sorted(weight(n, lengths, lengths[i // 4 * 4 : i // 4 * 4 + 4]) for i, n in enumerate(lengths))
            )
        else:
            assert [row["weight"] for row in shown] == pytest.approx(
                [expected[row["length"], row["reward"]] for row in shown]
            )
    assert "effective sample size of these weights" not in page.words


def change_rows(run, change):
    rows = [change(json.loads(line)) for line in (run / "metrics.jsonl").read_text().splitlines()]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_step_whose_logged_sample_size_differs_is_named(tmp_path):
    run = training_run.write(tmp_path / "run", 3, every=2)
    change_rows(run, lambda row: row | {"deltal/ess": row["deltal/ess"] / (4 if row["step"] == 3 else 1)})
    assert "The effective sample size of these weights is not the logged one (steps 3)." in made(run).words


def test_nothing_that_a_response_holds_is_run(tmp_path):
    attack = f'</td></table></script><img src=x onerror="alert(1)">{HOSTILE}'
    run = training_run.write(tmp_path / "<b>run", 2, every=1, text=attack)
    page = made(run)  # Page asserts that there are no handlers and that tags close in order
    assert len(page.scripts) == 1 and page.tags.count("img") == len(page.plots)
    assert page.words.count(" ".join(attack.split())) == len(page.responses) == 32
    assert "<b>run" in page.words and "b" not in page.tags


def test_what_a_run_did_not_leave_is_said_with_its_flag(tmp_path, capsys):
    page = made(training_run.write(tmp_path / "bare", 2, every=0, evals=False))
    said = capsys.readouterr().out
    for text in (page.words, said):
        assert "No evaluations: --eval.dataset FILE --eval.steps 10" in text
        assert "No saved responses: --deltal.save_rollouts 20" in text
    assert "Sampled responses" not in page.words and not page.scripts and 'id="samples"' not in page.html
    assert said.splitlines()[-1] == f"report: {tmp_path / 'bare' / 'report.html'}"


def test_a_run_of_an_earlier_version_has_a_report(tmp_path):
    run = training_run.write(tmp_path / "old", 3, every=1, text=None)
    (run / "run_settings.json").unlink()
    page = made(run)
    assert "not said by this run" in page.words and "did not save the text" in page.words and page.responses


def test_several_runs_stand_side_by_side(tmp_path):
    one = training_run.write(tmp_path / "a" / "checkpoint", 6)
    two = training_run.write(
        tmp_path / "b" / "checkpoint",
        4,
        every=0,
        evals=False,
        loss={"mode": "token-mean", "alpha": None, "scope": None},
    )
    page = made(one, two, out=tmp_path / "both.html")
    header, *rows = page.tables["Runs"]
    assert header == ["", "a/checkpoint", "b/checkpoint"]
    assert rows[0] == ["steps", "6 of 30, not done", "4 of 30, not done"]
    assert all(name in page.plots["Effective sample size"] for name in header[1:])
    assert "b/checkpoint: no evaluations: --eval.dataset" in page.words
    assert "Response length: mean" in page.plots and "Response length: median" in page.plots


def test_a_run_without_cut_off_responses_stays_in_a_comparison(tmp_path):
    """Nothing was filtered in either run, so that this metric has no plot; a run of zeros is a curve next to another."""
    one, two = (training_run.write(tmp_path / name, 3, every=0) for name in ("a", "b"))
    change_rows(two, lambda row: row | {"rollout/truncated_rate": 0.0})
    page = made(one, two)
    (cut_off,) = [image["alt"] for image in page.images if image["alt"].startswith("Cut off")]
    assert cut_off.endswith("a from 0.250 to 0.250; b from 0 to 0.")


def test_a_long_curve_is_thinned_and_a_short_one_next_to_it_is_not(tmp_path):
    """Values equal to their steps lie on the diagonal only if a mean stands in the middle of its steps."""
    long, short = (training_run.write(tmp_path / name, 1, every=0, evals=False) for name in ("long", "short"))
    for run, steps in ((long, 1999), (short, 5)):
        rows = [{"step": step, "rollout/reward_mean": step} for step in range(1, steps + 1)]
        (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (long / "evals.jsonl").write_text(
        "".join(
            json.dumps({"step": i, "eval_math_pass1": i / 600, "eval_math_pass1_low": 0}) + "\n" for i in range(600)
        )
    )
    (reward, evaluation) = list(sections(read_runs([long, short])))[0][1]
    thinned, whole = map(plots.thinned, reward.series)
    assert len(thinned.steps) == 200 and thinned.steps == thinned.values and thinned.steps[:2] == [5.5, 15.5]
    assert thinned.steps[-1] == 1995  # the last stretch is 1991 to 1999
    assert whole.steps == whole.values == [1, 2, 3, 4, 5]
    assert len(plots.thinned(evaluation.series[0]).steps) == 600
    page = made(long, short)
    assert page.words.count("each point is the mean of") == 1
    assert "Mean over the responses of a step. long: each point is the mean of 10 steps." in page.words
    assert made(long).words.count("Each point is the mean of 10 steps.") == 1


def test_labels_are_the_shortest_ends_that_differ(tmp_path):
    assert labels([tmp_path / "x" / "a"]) == ["x/a"]
    assert labels([tmp_path / "x" / "a", tmp_path / "x" / "b"]) == ["a", "b"]
    assert labels([tmp_path / "x" / "a", tmp_path / "y" / "a"]) == ["x/a", "y/a"]


def test_a_run_in_progress(tmp_path):
    """Its last line is half written, the responses of the next step are there, and those of an earlier run are too."""
    run = training_run.write(tmp_path / "run", 3, every=1)
    for path in ("metrics.jsonl", "evals.jsonl"):
        with open(run / path, "a") as file:
            file.write('{"step": 4, "rew')
    saved = (run / "rollouts" / "step_000003.jsonl").read_text()
    (run / "rollouts" / "step_000004.jsonl").write_text(saved.replace('"step": 3', '"step": 4'))
    (run / "rollouts" / "step_000009.jsonl").write_text("left by an earlier run")
    (run / "rollouts" / "step_old.jsonl").write_text("put there by hand")
    page = made(run)
    assert page.row_of("Runs", "steps")[f"{tmp_path.name}/run"] == "3 of 30, not done"
    assert {row["step"] for row in page.responses} == {1, 2, 3, 4}


def test_a_large_run_stays_small_and_says_how_much_is_shown(tmp_path):
    text = "".join(f"<think> step {i} & so on </think> " for i in range(2000))
    run = training_run.write(tmp_path / "run", 30, every=1, prompts=8, n=8, text=text)
    page = made(run)
    assert len(page.html.encode()) < 3_000_000
    assert (
        f"{len(page.responses)} responses of the 768 in 12 files are shown, of prompts chosen at random" in page.words
    )
    assert "18 more files of saved responses are not read" in page.words and "characters are left out" in page.words
    steps = {row["step"] for row in page.responses}
    assert {1, 30} <= steps and len(steps) == 12


def test_the_same_run_gives_the_same_page(run, tmp_path):
    made(run, out=tmp_path / "one.html")
    made(run, out=tmp_path / "two.html")
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


def broken_line(run):
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text(lines[0] + "{]\n" + lines[1])


def broken_response(run):
    path = run / "rollouts" / "step_000001.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:4], "{}\n", *lines[5:]]))


def broken_header(run):
    path = run / "rollouts" / "step_000001.jsonl"
    header, _, rest = path.read_text().partition("\n")
    path.write_text(json.dumps(json.loads(header) | {"loss": {"mode": "deltal"}}) + "\n" + rest)


def broken_settings(run):
    path = run / "run_settings.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"loss": {"mode": "deltal"}}))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda run: (run / "metrics.jsonl").unlink(), "holds no metrics.jsonl; a run writes it after its first step"),
        (lambda run: (run / "metrics.jsonl").write_text(""), "metrics.jsonl: no step has finished yet"),
        (broken_line, "metrics.jsonl: line 2 is broken (not JSON)"),
        (broken_response, "step_000001.jsonl: line 5: lacks 'prompt_index'"),
        (broken_header, "step_000001.jsonl: line 1: loss lacks 'alpha'"),
        (broken_settings, "run_settings.json is broken; move it away: loss lacks 'alpha'"),
        (lambda run: (run / "report.html").mkdir(), "is a folder, wanted is a file"),
    ],
)
def test_bad_input_is_one_line(damage, said, tmp_path, capsys):
    run = training_run.write(tmp_path / "run", 2)
    damage(run)
    with pytest.raises(SystemExit) as ended:
        report.main([str(run)])
    error = capsys.readouterr().err
    assert ended.value.code == 2 and error.count("\n") == 1 and said in error and str(run) in error


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "nowhere: no such folder"),
        (["{0}", "{0}/"], "given twice"),
        (["{0}/.."], "holds no metrics.jsonl; there is one in {0}"),
        (["{0}"] * 9, "9 runs were given, allowed are up to 8"),
    ],
)
def test_bad_arguments_are_one_line(arguments, said, run, capsys):
    with pytest.raises(SystemExit) as ended:
        report.main([argument.format(run) for argument in arguments])
    error = capsys.readouterr().err.replace(f"{run}/../{run.name}", str(run))
    assert ended.value.code == 2 and error.count("\n") == 1 and said.format(run) in error
