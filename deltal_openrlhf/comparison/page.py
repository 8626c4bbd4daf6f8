"""Writes the report of `deltal compare`, report.html and plots/*.png, from comparison.json alone."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from deltal_openrlhf.comparison.answer import differences, interactions, unfinished
from deltal_openrlhf.comparison.plots import METRICS, plots
from deltal_openrlhf.comparison.spec import shared_flags
from deltal_openrlhf.reports import html
from deltal_openrlhf.reports.figures import NoPlot, Plot
from deltal_openrlhf.reports.numbers import count, rate, seconds

Arm = Mapping[str, Any]

ENGINES = {
    "loop": "a single-process loop that makes the same updates as the OpenRLHF pipeline",
    "pipeline": "the OpenRLHF pipeline",
}

SIZES = {
    "rollout.batch_size": "{} prompts",
    "data.prompt_dataset": "from {}",
    "rollout.n_samples_per_prompt": "{} responses to each",
    "rollout.max_new_tokens": "of at most {} tokens",
    "train.batch_size": "{} responses an optimizer step",
}
"""How a flag that says what one PPO step is reads in a sentence."""

MEASURES = {
    "final": "final accuracy",
    "auc": "mean accuracy over all steps",
    "largest_drop": "largest drop",
    "monotonicity": "monotonicity",
    "length": "length (tokens)",
    "entropy": "entropy (nats a token)",
    "grad_norm": "gradient norm",
    "clip_share": "share of steps clipped",
}

DEFINITIONS = """\
Run
    One method from one starting point with one seed. With one seed all methods see the same prompts in the same order, for the same
    number of steps.
Learning rate
    Chosen for each family of methods by the highest score of its first method, on seeds that no other run uses. The intervals of
    differences hold at the chosen learning rates. They do not include the chance in that choice.
Accuracy
    Mean reward of the responses sampled in one PPO step. Held-out accuracy is over prompts that are not trained on.
Final accuracy
    Held-out accuracy after the last step at which it was measured, else the mean reward of the last fifth of the steps.
Mean accuracy over all steps (AUC)
    Mean of the accuracy curve.
Largest drop
    Largest fall of the smoothed accuracy curve below its running maximum.
Monotonicity
    Spearman's rank correlation of accuracy with the step.
Length, entropy, gradient norm
    Means of the last fifth of the steps. The gradient norm is taken before clipping.
Difference
    X − Y is the value of X minus that of Y in pairs of runs with the same starting point and seed. It is the mean over seeds of a seed's
    mean over the starting points.
Over starting points
    Mean and t interval over the means of the starting points. This interval speaks for other starting points.
Interaction
    X − Y in an arm minus X − Y in the arm that the file names for this, in pairs of runs with the same starting point and seed. If it is
    resolved, the arm's conditions change the lead of X over Y.
Dynamic sampling
    Accuracy on the training prompts is that of the prompts that were kept. It cannot be compared with that of another arm; held-out
    accuracy can.
Intervals
    95 % t intervals, over runs for values and over seeds for differences. They speak for new seeds, not for other starting points. They
    are not corrected for their number: of 20 differences that are zero, one is resolved on average.
p
    Sign-flip permutation test of the seeds' differences. With n seeds it is at least 2^(1 − n). p (Holm) is corrected for the number of
    comparisons of this metric.
Not resolved
    The interval of the difference includes 0, or there is no interval. These runs cannot tell the two apart, which does not prove that
    they are equal.
"""


def write_report(comparison: dict, folder: Path) -> None:
    """Write folder/report.html and folder/plots/*.png. comparison: comparison.json of `deltal compare`."""
    found = plots(comparison)
    common = shared_flags([arm["flags"] for arm in comparison["arms"]])
    parts = html.warnings([unfinished(comparison["unfinished"])] if comparison["unfinished"] else [])
    parts += [html.paragraph(what_was_measured(comparison)), _answer(comparison)]
    for arm, of_arm in zip(comparison["arms"], found, strict=True):
        parts += _arm(arm, of_arm, common)
    parts += _interactions(comparison)
    parts += [
        html.heading("How it was computed"),
        html.definitions(DEFINITIONS),
        html.heading("Settings"),
        *([html.preformatted(comparison["command"])] if "command" in comparison else []),
        html.preformatted(json.dumps(comparison["spec"], indent=2, ensure_ascii=False)),
    ]
    html.write_report(folder, "Training runs side by side", parts, [plot for of_arm in found for plot in of_arm])


def what_was_measured(comparison: Mapping[str, Any]) -> str:
    arms, starts = comparison["arms"], comparison["starts"]
    methods = list(dict.fromkeys(m["name"] for arm in arms for m in arm["methods"]))
    each_arm = "; ".join(f"{arm['name']}, {count(arm['steps'], 'PPO step')} a run" for arm in arms)
    runs = sum(m["runs"] for arm in arms for m in arm["methods"])
    crashed = sum(len(m["crashed"]) for arm in arms for m in arm["methods"])
    common = shared_flags([arm["flags"] for arm in arms])
    sizes = [words.format(common[flag]) for flag, words in SIZES.items() if flag in common]
    return " ".join(
        [
            f"{count(len(methods), 'method')} ({', '.join(methods)}) in {count(len(arms), 'arm')} ({each_arm}),",
            f"from {count(len(starts), 'starting point')} ({', '.join(starts)}), in {ENGINES[comparison['engine']]}.",
            *([f"Each step: {', '.join(sizes)}."] if sizes else []),
            f"{count(runs, 'run')} finished, {crashed or 'none'} crashed; {seconds(comparison['seconds'])} in all runs,",
            f"{seconds(comparison['cpu_seconds'])} of processor time.",
        ]
    )


def _answer(comparison: Mapping[str, Any]) -> Markup:
    parts: list[Markup] = []
    said = [(f"Arm {arm['name']}", differences(arm)) for arm in comparison["arms"]]
    if found := interactions(comparison):
        said.append((_with(comparison), found))
    for heading, sentences in said:
        parts.append(html.heading(heading, 3))
        for sentence, listed in sentences:
            parts.append(html.paragraph(sentence))
            if listed:
                parts.append(html.bullets(listed))
    note = (
        "X − Y is the value of X minus that of Y. Brackets hold 95 % intervals, not corrected for the number of comparisons. "
        "Not resolved means that these runs cannot tell the two apart."
    )
    return html.box("answer", [*parts, html.paragraph(note, "note")])


def _arm(arm: Arm, found: Sequence[Plot | NoPlot], common: Mapping[str, Any]) -> list[Markup]:
    crashed = sum(len(method["crashed"]) for method in arm["methods"])
    warnings = list(arm.get("warnings", []))
    if crashed:
        said = (
            f"{count(crashed, 'run')} crashed and {'is' if crashed == 1 else 'are'} left out of all means and differences. The table of "
            "crashed runs says why."
        )
        warnings.insert(0, said)
    about = f"{count(arm['steps'], 'PPO step')} a run; {seconds(arm['seconds'])} in all runs, "
    about += f"{seconds(arm['cpu_seconds'])} of processor time"
    if arm["cpu_seconds_of_rates"]:
        about += f", {seconds(arm['cpu_seconds_of_rates'])} of it to choose learning rates"
    about += "."
    if own := [f"{flag} {value}" for flag, value in arm["flags"].items() if flag not in common]:
        about += f" Flags of its own: {', '.join(own)}."
    end = (
        f"held-out, after step {arm['final_step']}"
        if arm["final_from"] == "held_out"
        else "mean reward of the last fifth of the steps"
    )
    about += f" Final accuracy: {end}."
    return [
        html.heading(f"Arm {arm['name']}"),
        html.paragraph(about),
        *html.warnings(warnings),
        html.plots(found),
        *_tables(arm),
    ]


def _tables(arm: Arm) -> list[Markup]:
    name = arm["name"]
    metrics = dict.fromkeys(pair["metric"] for pair in [*arm["families"], *arm["pairs"]])
    described = ["method", "family", "learning rate", "runs", "crashed"]
    methods = [
        [m["name"], m["family"], _rate(m["learning_rate"]), m["runs"], len(m["crashed"]), *(m[key] for key in MEASURES)]
        for m in arm["methods"]
    ]
    crashed = [[crash["run"], m["name"], html.Text(crash["reason"])] for m in arm["methods"] for crash in m["crashed"]]
    return [
        html.table(f"Methods, arm {name}", [*described, *MEASURES.values()], methods),
        *(_pairs(arm, metric) for metric in metrics),
        *_learning_rates(arm),
        *([html.table(f"Crashed runs, arm {name}", ["run", "method", "reason"], crashed)] if crashed else []),
    ]


def _pairs(arm: Arm, metric: str) -> Markup:
    """The differences of families, then those of methods."""
    rows = []
    for key, kind in (("families", "family "), ("pairs", "")):
        for pair in arm[key]:
            if pair["metric"] == metric:
                name = f"{kind}{pair['b']} − {kind}{pair['a']}"
                wins = f"{pair['wins']} of {pair['n']}"
                over_starts = pair.get("difference_over_starts")
                rows.append([name, pair["difference"], over_starts, pair["n"], wins, pair["p"], pair.get("p_holm")])
    header = ["X − Y", "difference", "over starting points", "pairs", "X higher in", "p", "p (Holm)"]
    return html.table(f"Paired differences in {METRICS.get(metric, metric)}, arm {arm['name']}", header, rows)


def _with(comparison: Mapping[str, Any]) -> str:
    return f"Interactions with arm {comparison['spec']['interactions_with']}"


def _interactions(comparison: Mapping[str, Any]) -> list[Markup]:
    """Whether differences of methods depend on the arm, a table for each metric."""
    entries = comparison["interactions"]
    if not entries:
        return []
    reference = comparison["spec"]["interactions_with"]
    steps = {arm["name"]: arm["final_step"] or arm["steps"] for arm in comparison["arms"]}
    warnings = []
    if len(set(steps.values())) > 1:
        after = ", ".join(f"{name} {step}" for name, step in steps.items())
        warnings.append(f"The arms' final accuracies are after different numbers of PPO steps: {after}.")
    header = ["arm: X − Y", "in the arm", f"in {reference}", "interaction", "over starting points", "pairs"]
    header += ["X − Y higher in", "p", "p (Holm)"]
    tables = []
    for metric in dict.fromkeys(entry["metric"] for entry in entries):
        rows = [
            [
                f"{entry['arm']}: {entry['b']} − {entry['a']}",
                *(entry[key] for key in ("in_arm", "in_reference", "difference")),
                *(entry.get("difference_over_starts"), entry["n"], f"{entry['wins']} of {entry['n']}"),
                *(entry["p"], entry["p_holm"]),
            ]
            for entry in entries
            if entry["metric"] == metric
        ]
        tables.append(html.table(f"Interactions with arm {reference} in {METRICS.get(metric, metric)}", header, rows))
    return [html.heading(_with(comparison)), *html.warnings(warnings), *tables]


def _learning_rates(arm: Arm) -> list[Markup]:
    if not arm["learning_rates"]:
        return [html.paragraph("No learning rate was chosen here: all runs take the one in their flags.", "note")]
    rows = [
        [of["family"], _rate(of["lr"]), of["score"], of["runs"], of.get("crashed", 0), "chosen" if of["chosen"] else ""]
        for of in arm["learning_rates"]
    ]
    header = ["family", "learning rate", "score", "runs", "crashed", ""]
    return [html.table(f"Choice of the learning rate, arm {arm['name']}", header, rows)]


def _rate(value: float | None) -> str | None:
    return None if value is None else rate(value)
