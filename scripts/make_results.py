"""Makes the pages of docs/evidence that come from `deltal diagnose` and `deltal compare`: one line per claim, with interval and verdict.
No number of a table is typed by hand.

    python scripts/make_results.py --bench countdown --compare runs/compare \
        --diagnose "start=runs/diagnose/start" "after 20 PPO steps=runs/diagnose/mid"
    python scripts/make_results.py --bench alpha-auto --compare runs/compare-alpha

The page and its plots are made from the part of the numbers that they show, which is kept next to the page. That part can be given in
place of the folders, and gives the same page and the same plots: --diagnose "start=docs/evidence/results/diagnose_start.json". The words
around the numbers are in result_pages.py.
"""

import argparse
import html
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from claims import CLAIMS, MEASURED, OVER_STARTS, REFERENCE, Diagnosis, direction, text, training_rows
from result_pages import EQUALITIES, PAGES, VERDICTS

from deltal_openrlhf.comparison.plots import HEADLINES, METRICS, plots
from deltal_openrlhf.diagnostics.method_plots import CV_RATIO, by_alpha
from deltal_openrlhf.diagnostics.plots import variance
from deltal_openrlhf.reports.figures import NoPlot, Plot, draw
from deltal_openrlhf.runs.files import records, write_all_atomically

ARM_PLOTS = ("accuracy", "difference_final")
"""They are shown for every arm."""
CHANGED = ("train.batch_size", "deltal.sgd", "actor.max_norm")
"""Flags in which arms differ."""
LAYERS = "β by layer type, without and with the advantage. A β near 0 means that the variance does not grow with length on the whole:"
COLUMNS = ("final", "auc", "largest_drop", "monotonicity", "length", "entropy", "grad_norm", "clip_share")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def methods_table(arm: Mapping[str, Any]) -> str:
    rows = [
        [
            entry["name"],
            f"{entry['learning_rate']:g}",
            str(entry["runs"]) + (f" ({len(entry['crashed'])} crashed)" if entry["crashed"] else ""),
            *(text(entry[name]) for name in COLUMNS),
        ]
        for entry in arm["methods"]
        if entry["runs"]
    ]
    return table(["method", "learning rate", "runs", *(name.replace("_", " ") for name in COLUMNS)], rows)


def sample_text(name: str, findings: Mapping[str, Any]) -> str:
    sample, source = findings["sample"], findings["source"]
    lengths = sample["lengths"]
    return (
        f"- **{name}**: `{source['command']}`, {source['seconds']:.0f} s. {sample['responses']} responses to {sample['prompts']} prompts, "
        f"{source['parameters']:,} parameters, accuracy on them {sample['reward_mean']:.3f}, lengths p5 {lengths['p5']:.0f}, median "
        f"{lengths['p50']:.0f}, p95 {lengths['p95']:.0f}, max {lengths['max']:.0f}, {sample['truncated']:.1%} cut off, "
        f"{sample['prompts_without_signal']:.1%} of the prompts without signal. Which alpha: {findings['recommendation']['text']}"
    )


def arm_text(arm: Mapping[str, Any], plots: Sequence[Plot]) -> str:
    flags = ", ".join(f"`--{name} {arm['flags'][name]}`" for name in CHANGED if name in arm["flags"])
    notes = [f"- {warning}." for warning in arm.get("warnings", [])]
    return "\n\n".join(
        [
            f"### {arm['name']}",
            f"{arm['steps']} PPO steps, {flags}; {_took(arm)}.",
            *(["\n".join(notes)] if notes else []),
            table(["claim", "paired difference"], [row.cells() for row in training_rows(arm)]),
            methods_table(arm),
            pictures(plots),
        ]
    )


def is_measured(arm: Mapping[str, Any]) -> bool:
    return any(entry["runs"] for entry in arm["methods"])


def _took(arm: Mapping[str, Any]) -> str:
    rates, runs = arm["cpu_seconds_of_rates"], sum(entry["runs"] + len(entry["crashed"]) for entry in arm["methods"])
    grid = f"{runs} runs in {(arm['cpu_seconds'] - rates) / 60:.0f} core-minutes"
    return f"{grid}, the choice of learning rates before them in {rates / 60:.0f}" if rates else grid


def pictures(plots: Sequence[Plot]) -> str:
    """Side by side, each at half of the page's width."""
    return "\n".join(
        f'<img src="plots/{plot.name}.png" width="49%" align="top" alt="{html.escape(plot.alt)}">' for plot in plots
    )


def ratios(samples: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Name of each method of scope step, and of each comparison, and its cv_ratio in every sample."""
    found = [
        {
            entry["name"]: "1" if entry["key"] == REFERENCE else text(entry["cv_ratio"])
            for entry in findings["estimators"]
            if entry["scope"] in (None, "step")
        }
        for findings in samples.values()
    ]
    return side_by_side(found)


def betas(samples: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Layer type, and in every sample its β without the advantage and with it."""
    return side_by_side(
        [
            {layers: text(fit["beta"]) for layers, fit in findings["variance"][f"{advantage}_advantage"].items()}
            for findings in samples.values()
            for advantage in ("without", "with")
        ]
    )


def side_by_side(columns: Sequence[Mapping[str, str]]) -> list[list[str]]:
    """Rows of a table: each name and its cell in every column."""
    names = dict.fromkeys(itertools.chain(*columns))
    return [[name, *(column.get(name, "not measured") for column in columns)] for name in names]


def one_update(samples: Mapping[str, Mapping[str, Any]], plots: Sequence[Plot]) -> str:
    layers = betas(samples)
    of_layers = [f"{name}, {advantage}" for name in samples for advantage in ("without", "with")]
    return "\n\n".join(
        [
            "## One update: `deltal diagnose`",
            "\n".join(sample_text(name, findings) for name, findings in samples.items()),
            table(["claim", *samples], [row.cells() for row in Diagnosis(samples).rows()]),
            "Coefficient of variation of one batch's gradient, as a ratio to that of Dr. GRPO norm:",
            table(["method", *samples], ratios(samples)),
            *([LAYERS, table(["layers", *of_layers], layers)] if len(layers) > 1 else []),
            pictures(plots),
        ]
    )


def training(comparison: Mapping[str, Any], plots: Sequence[Sequence[Plot]]) -> str:
    """plots: of each arm, in its order."""
    parts = [arm_text(arm, of_arm) for arm, of_arm in zip(comparison["arms"], plots, strict=True) if is_measured(arm)]
    said = f"`{comparison['command']}`, {len(comparison['starts'])} starting points."
    if comparison["unfinished"]:
        said += f" **Not finished: {len(comparison['unfinished'])} runs are missing.**"
    said += " Intervals are over seeds, and over starting points if there are three. With one seed, they are over starting points."
    if any(arm["cpu_seconds_of_rates"] for arm in comparison["arms"]):
        said += (
            " The learning rates are those with which each family's first method did best in runs with other seeds. So a difference "
            "between families is also one of the chosen rates."
        )
    return "\n\n".join(["## Training: `deltal compare`", said, *interactions(comparison), *parts])


def interactions(comparison: Mapping[str, Any]) -> list[str]:
    """Whether the differences of the reference arm are others in the other arms, a table for each metric."""
    entries = comparison.get("interactions")
    if not entries:
        return []
    reference = comparison["spec"]["interactions_with"]
    header = ["arm: X − Y", "in the arm", f"in {reference}", "interaction", "verdict", "p (Holm)"]
    said, tables = ["The verdict depends on the interval alone; p is corrected for the number of rows."], []
    for metric in HEADLINES:
        of_metric = [entry for entry in entries if entry["metric"] == metric]
        if apart := dict.fromkeys(entry["arm"] for entry in of_metric if entry["difference"]["value"] is None):
            said.append(f"The {METRICS[metric]} in {' and '.join(apart)} is of other prompts, so it is left out.")
        rows = [
            [
                f"{entry['arm']}: {entry['b']} − {entry['a']}",
                *(text(entry[key], "+") for key in ("in_arm", "in_reference", "difference")),
                f"**{direction(entry['difference'])}**",
                "" if entry["p_holm"] is None else f"{entry['p_holm']:.2g}",
            ]
            for entry in of_metric
            if entry["arm"] not in apart
        ]
        tables += [f"In {METRICS[metric]}:", table(header, rows)]
    return [f"### Interactions with arm {reference}", " ".join(said), *tables]


# ── What is kept ──


def only(entry: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    return {key: entry[key] for key in keys if key in entry}


def kept_findings(findings: Mapping[str, Any]) -> dict[str, Any]:
    """The part of findings.json that the page and its plots show."""
    described = ("key", "name", "mode", "alpha", "scope", "kind", "comparable_scale")
    excess = only(findings["covariance"]["with_advantage"]["all"], ["excess"])
    return {
        "source": only(findings["source"], ["command", "parameters", "seconds"]),
        "sample": findings["sample"],
        "recommendation": only(findings["recommendation"], ["text"]),
        "variance": {advantage: kept_variance(by_type) for advantage, by_type in findings["variance"].items()},
        "covariance": {"with_advantage": {"all": excess}},
        "ordering": findings["ordering"],
        "estimators": [only(entry, [*described, *MEASURED]) for entry in findings["estimators"]],
    }


def kept_variance(by_type: Mapping[str, Any]) -> dict[str, Any]:
    """Of all layers together everything, of a type its β."""
    return {layers: fit if layers == "all" else only(fit, ["beta"]) for layers, fit in by_type.items()}


def kept_comparison(comparison: Mapping[str, Any]) -> dict[str, Any]:
    """The part of comparison.json that the page and its plots show."""
    kept = only(comparison, ["command", "starts", "unfinished"])
    if comparison.get("interactions"):
        entry = ("arm", "a", "b", "metric", "in_arm", "in_reference", "difference", "p_holm")
        kept["spec"] = only(comparison["spec"], ["interactions_with"])
        kept["interactions"] = [only(found, entry) for found in comparison["interactions"]]
    return {**kept, "arms": [*map(kept_arm, comparison["arms"])]}


def kept_arm(arm: Mapping[str, Any]) -> dict[str, Any]:
    described = ("name", "family", "learning_rate", "runs", "crashed")
    entry = ("a", "b", "metric", "difference", OVER_STARTS, "n", "wins")
    claimed = {(claim.kind, claim.metric) for claim in CLAIMS}
    return {
        **only(arm, ["name", "steps", "cpu_seconds", "cpu_seconds_of_rates", "warnings"]),
        "flags": only(arm["flags"], CHANGED),
        "learning_rates": [],
        "methods": [
            {**only(method, [*described, *COLUMNS]), "curves": only(method["curves"], ["accuracy"])}
            for method in arm["methods"]
        ],
        **{
            kind: [only(pair, entry) for pair in arm[kind] if (kind, pair["metric"]) in claimed]
            for kind in ("families", "pairs")
        },
    }


def shown(found: Iterable[Plot | NoPlot], names: Iterable[str] = ("",)) -> list[Plot]:
    """The plots whose names end so."""
    return [plot for plot in found if isinstance(plot, Plot) and plot.name.endswith(tuple(names))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--diagnose", nargs="+", default=[], metavar="NAME=DIR", help="results of deltal diagnose")
    parser.add_argument("--bench", choices=PAGES, required=True, help="what was run, for the words of the page")
    parser.add_argument("--compare", type=Path, metavar="DIR", help="result of deltal compare")
    parser.add_argument("--out", type=Path, metavar="DIR", help="(default: where the page stands in docs)")
    args = parser.parse_args()
    if not (args.diagnose or args.compare):
        parser.error("give --diagnose, --compare or both")

    def read(path: Path, name: str) -> dict[str, Any]:
        return json.loads((path / name if path.is_dir() else path).read_text(encoding="utf-8"))

    given = {name: Path(path) for name, _, path in (entry.partition("=") for entry in args.diagnose)}
    samples = {name: kept_findings(read(path, "findings.json")) for name, path in given.items()}
    files = {f"diagnose_{name.replace(' ', '_')}.json": records(found, 2) for name, found in samples.items()}
    page = PAGES[args.bench]
    out = args.out or Path(page.folder)
    drawn, parts = [], [page.opening, VERDICTS, *([EQUALITIES] if samples else []), page.limits]
    if samples:
        first = next(iter(samples.values()))
        drawn += shown(draw([partial(variance, first), partial(by_alpha, first, plot=CV_RATIO)]))
        parts.append(one_update(samples, drawn))
    if args.compare:
        comparison = kept_comparison(read(args.compare, "comparison.json"))
        of_arms = [shown(of_arm, ARM_PLOTS) for of_arm in plots(comparison)]
        parts.append(training(comparison, of_arms))
        files["comparison.json"] = records(comparison, 4)
        drawn += [plot for of_arm in of_arms for plot in of_arm]
    else:
        parts.append("## Training: `deltal compare`\n\nNot part of this page yet.")
    files["README.md"] = "\n\n".join([*parts, page.against]) + "\n"
    contents = {out / name: content.encode("utf-8") for name, content in files.items()}
    write_all_atomically(contents | {out / "plots" / f"{plot.name}.png": plot.png for plot in drawn})


if __name__ == "__main__":
    main()
