"""Makes docs/evidence/results from the output of `deltal diagnose` and `deltal compare`: one line per claim, with interval and verdict. No
measurement is typed by hand.

    python scripts/make_results.py --diagnose "starting model=runs/diagnose/start" "after 20 steps=runs/diagnose/mid" \
        --compare runs/compare
    python scripts/make_results.py --bench smollm2 --diagnose "start=runs/diagnose/start"

The page and its plots are made from the part of the numbers that they show, which is kept next to the page. That part can be given in
place of the folders, and gives the same page and the same plots: --diagnose "start=docs/evidence/results/diagnose_start.json".
"""

import argparse
import html
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from claims import CLAIMS, MEASURED, OVER_STARTS, Diagnosis, text, training_rows
from result_pages import PAGES, VERDICTS

from deltal_openrlhf.comparison.plots import plots
from deltal_openrlhf.diagnostics.method_plots import CV_RATIO, by_alpha
from deltal_openrlhf.diagnostics.plots import variance
from deltal_openrlhf.reports.figures import NoPlot, Plot, draw
from deltal_openrlhf.runs.files import records, write_all_atomically

ARM_PLOTS = ("accuracy", "difference_final")
"""They are shown for every arm."""
CHANGED = ("train.batch_size", "deltal.sgd", "actor.max_norm")
"""Flags in which arms differ."""
LAYERS = "β by layer type, without the advantage. Where it is 0, the variance of a response's gradient does not depend on its length:"
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
        f"{source['parameters']:,} parameters, accuracy {sample['reward_mean']:.3f}, lengths p5 {lengths['p5']:.0f}, median "
        f"{lengths['p50']:.0f}, p95 {lengths['p95']:.0f}, max {lengths['max']:.0f}, {sample['truncated']:.1%} cut off, "
        f"{sample['prompts_without_signal']:.1%} of the prompts without signal. Which alpha: {findings['recommendation']['text']}"
    )


def arm_text(arm: Mapping[str, Any], plots: Sequence[Plot]) -> str:
    flags = ", ".join(f"`--{name} {arm['flags'][name]}`" for name in CHANGED if name in arm["flags"])
    notes = [f"- {warning}" for warning in arm.get("warnings", [])]
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


def ratios(samples: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """Name of each method of scope step, and of each comparison -> its cv_ratio in every sample."""
    rows: dict[str, list[str]] = {}
    for findings in samples.values():
        for entry in findings["estimators"]:
            if entry["scope"] in (None, "step"):
                rows.setdefault(entry["name"], []).append(text(entry["cv_ratio"]))
    return rows


def betas(samples: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """Layer type -> its β without the advantage in every sample."""
    rows: dict[str, list[str]] = {}
    for findings in samples.values():
        for layers, fit in findings["variance"]["without_advantage"].items():
            rows.setdefault(layers, []).append(text(fit["beta"]))
    return rows


def one_update(samples: Mapping[str, Mapping[str, Any]], plots: Sequence[Plot]) -> str:
    layers = [[name, *cells] for name, cells in betas(samples).items()]
    return "\n\n".join(
        [
            "## One update: `deltal diagnose`",
            "\n".join(sample_text(name, findings) for name, findings in samples.items()),
            table(["claim", *samples], [row.cells() for row in Diagnosis(samples).rows()]),
            "Coefficient of variation of one batch's gradient, as a ratio to that of Dr. GRPO norm:",
            table(["method", *samples], [[name, *cells] for name, cells in ratios(samples).items()]),
            *([LAYERS, table(["layers", *samples], layers)] if len(layers) > 1 else []),
            pictures(plots),
        ]
    )


def training(comparison: Mapping[str, Any], plots: Sequence[Sequence[Plot]]) -> str:
    """plots: of each arm, in its order."""
    parts = [arm_text(arm, of_arm) for arm, of_arm in zip(comparison["arms"], plots, strict=True) if is_measured(arm)]
    said = f"`{comparison['command']}`, {len(comparison['starts'])} starting points."
    if comparison["unfinished"]:
        said += f" **Not finished: {len(comparison['unfinished'])} runs are missing.**"
    said += (
        " Intervals are over seeds, and over starting points if there are three. The learning rates are those with which each family's "
        "first method did best on two other seeds. So a difference between families is also one of the chosen rates."
    )
    return "\n\n".join(["## Training: `deltal compare`", said, *parts])


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
    return {**only(comparison, ["command", "starts", "unfinished"]), "arms": [*map(kept_arm, comparison["arms"])]}


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
    parser.add_argument("--diagnose", nargs="+", required=True, metavar="NAME=DIR", help="results of deltal diagnose")
    parser.add_argument("--bench", choices=PAGES, default="countdown", help="what was run, for the words of the page")
    parser.add_argument("--compare", type=Path, metavar="DIR", help="result of deltal compare")
    parser.add_argument("--out", type=Path, metavar="DIR", help="(default: where the page stands in docs)")
    args = parser.parse_args()

    def read(path: Path, name: str) -> dict[str, Any]:
        return json.loads((path / name if path.is_dir() else path).read_text(encoding="utf-8"))

    given = {name: Path(path) for name, _, path in (entry.partition("=") for entry in args.diagnose)}
    samples = {name: kept_findings(read(path, "findings.json")) for name, path in given.items()}
    first = next(iter(samples.values()))
    drawn = shown(draw([partial(variance, first), partial(by_alpha, first, plot=CV_RATIO)]))
    files = {f"diagnose_{name.replace(' ', '_')}.json": records(found, 2) for name, found in samples.items()}
    page = PAGES[args.bench]
    out = args.out or Path(page.folder)
    parts = [page.opening, VERDICTS, page.limits, one_update(samples, drawn)]
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
