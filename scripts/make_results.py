"""docs/results from the output of `deltal diagnose` and `deltal compare`: one line for each claim, with interval and verdict. No
measurement is typed by hand.

    python scripts/make_results.py --diagnose "starting model=runs/diagnose/start" "after 20 steps=runs/diagnose/mid" \
        --compare runs/compare --out docs/results

A verdict follows from the 95 % interval alone: the claim holds if the whole interval agrees with it, does not if none of it does, and is
not resolved otherwise. That a number is a certain value holds if a narrow enough interval contains it.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from deltal_openrlhf.comparison.plots import plot_prefix
from deltal_openrlhf.runs.files import write_all_atomically

HOLDS, FAILS, OPEN = "holds", "does not hold", "not resolved"
PLOTS = ("variance.png", "cv_ratio.png")
"""Of the first sample; they are shown."""
ARM_PLOTS = ("accuracy", "difference_final")
"""Of every arm; they are shown."""
WIDEST = 0.5
"""An exponent whose interval is wider says nothing about being 1."""

HEAD = """# The paper's claims, measured

Claims of arXiv 2509.07558 on a small but real task: countdown with three numbers, responses of 1 to 256 tokens, a Llama of 187 thousand
parameters with a short supervised start, binary rewards, 16 prompts x 8 responses a step. Small models answer questions about the
estimator; they do not tell how a 7B model trains. All of it comes from these commands on 2 cores without a GPU:

    python scripts/make_starts.py --seeds 0 1 2 --out runs/starts
    deltal compare configs/compare/countdown.yaml --out runs/compare
    python -m deltal_openrlhf.quickstart --steps 20 --out runs/mid          # a model in mid-training, from the real pipeline
    deltal diagnose --model runs/starts/start0 --data runs/starts/train.jsonl --prompts 256 --max_new_tokens 256 --out runs/diagnose/start
    deltal diagnose --model runs/mid/checkpoint --data runs/starts/train.jsonl --prompts 256 --max_new_tokens 256 --out runs/diagnose/mid
    python scripts/make_results.py --diagnose "start=runs/diagnose/start" "after 20 PPO steps=runs/diagnose/mid" --compare runs/compare

Every number stands with its 95 % interval. A verdict follows from the interval alone: the claim holds if all of it agrees, does not if
none of it does, and is not resolved otherwise. That a number equals a value (β = 1, a ratio of 1, a difference of 0) no interval can show:
"holds" says there that the interval contains it and is no wider than 0.5 (β, norms) or 0.1 (CV of DAPO norm, correlation). That there is
no bias is never said to hold. Intervals are not corrected for the number of claims. The same bench for one GPU (34M parameters, 3 to 4
numbers, responses to 2,048 tokens) is in configs/compare/countdown-gpu.yaml; no GPU was at hand, it was not run."""

AGAINST = """## What goes against the method

- **GRPO norm and ∆L with alpha = 1 have the same direction** in every optimizer step: their weights differ by one positive factor. Adam
  mostly cancels it, so what separates them is the size of the step, under clipping, with SGD, or between the steps of one rollout. What
  ∆L 1 gains over Dr. GRPO norm in one step, GRPO norm gains too.
- The paper's reviewers noted that on CountDown with the 7B model GRPO norm is ahead of ∆L
  ([OpenReview](https://openreview.net/forum?id=weM68cZfMl)). Nothing here says otherwise.
- "Unbiased" holds under the paper's assumption, that the expected gradient of a response does not depend on its length. The table shows how
  far it is met here."""

REFERENCE = "seq-mean-token-sum-norm"
OVER_STARTS = "difference_over_starts"
SAME_CV = 0.1
"""An interval of a CV ratio that holds 1 and is no wider says that the two are as good as equal."""

Estimate = Mapping[str, Any]


class Row(NamedTuple):
    """A claim, and of each sample what was measured and its verdict."""

    claim: str
    measured: list[str]
    verdicts: list[str]

    def cells(self) -> list[str]:
        return [self.claim, *(f"{m}: **{v}**" for m, v in zip(self.measured, self.verdicts, strict=True))]


def text(estimate: Estimate, sign: str = "") -> str:
    """0.559 [0.488, 0.646]"""
    if estimate["value"] is None:
        return "not defined"
    ends = (("low", "-∞"), ("high", "∞"))
    low, high = (without if estimate[end] is None else f"{estimate[end]:{sign}.3f}" for end, without in ends)
    return f"{estimate['value']:{sign}.3f} [{low}, {high}]"


def below(limit: float) -> Callable[[Estimate], str]:
    """Verdict on "the number is below limit"."""

    def verdict(estimate: Estimate) -> str:
        if estimate["high"] is not None and estimate["high"] < limit:
            return HOLDS
        return FAILS if estimate["low"] is not None and estimate["low"] > limit else OPEN

    return verdict


def above(limit: float) -> Callable[[Estimate], str]:
    def verdict(estimate: Estimate) -> str:
        if estimate["low"] is not None and estimate["low"] > limit:
            return HOLDS
        return FAILS if estimate["high"] is not None and estimate["high"] < limit else OPEN

    return verdict


def equal_to(value: float, widest: float) -> Callable[[Estimate], str]:
    """Verdict on "the number is value": holds if the interval contains it and is not wider than `widest`."""

    def verdict(estimate: Estimate) -> str:
        low, high = estimate["low"], estimate["high"]
        if low is None or high is None:
            return OPEN
        if not low <= value <= high:
            return FAILS
        return HOLDS if high - low <= widest else OPEN

    return verdict


class Diagnosis:
    """findings.json of each sample. name -> findings."""

    def __init__(self, samples: Mapping[str, Mapping[str, Any]]) -> None:
        self.samples = samples

    def estimates(self, read: Callable[[Mapping[str, Any]], Estimate]) -> list[Estimate]:
        return [read(findings) for findings in self.samples.values()]

    def row(self, claim: str, read: Callable[[Mapping[str, Any]], Estimate], verdict: Callable[[Estimate], str]) -> Row:
        found = self.estimates(read)
        return Row(claim, [text(estimate) for estimate in found], [verdict(estimate) for estimate in found])

    def of_method(self, claim: str, key: str, field: str, verdict: Callable[[Estimate], str]) -> Row:
        return self.row(claim, lambda findings: method(findings, key)[field], verdict)

    def growth(self, claim: str, advantage: str) -> Row:
        """Holds if β may be 1 and the bins of lengths lie on the fit but for one, as chance has it."""
        fits = [findings["variance"][advantage]["all"] for findings in self.samples.values()]
        verdicts = [FAILS if fit["bins_off"] > 1 else equal_to(1, WIDEST)(fit["beta"]) for fit in fits]
        measured = [
            f"{text(fit['beta'])}, {fit['bins_off']} of {len(fit['bins'])} bins of lengths off the fit" for fit in fits
        ]
        return Row(claim, measured, verdicts)

    def ordering(self) -> list[Row]:
        """Neighbours in the paper's order of the CV, paired."""
        rows = []
        for i, entry in enumerate(next(iter(self.samples.values()))["ordering"]):
            a, b = (method(next(iter(self.samples.values())), entry[key])["name"] for key in "ab")
            same = {entry["a"], entry["b"]} & {"seq-mean-token-mean", "token-mean"}
            claim = f"{a} has the CV of {b}: ratio 1" if same else f"{a} has a lower CV than {b}: ratio < 1"
            verdict = equal_to(1, SAME_CV) if same else below(1)
            rows.append(self.row(claim, lambda f, i=i: f["ordering"][i]["cv_ratio"], verdict))
        return rows

    def unbiased(self, alpha: str) -> Row:
        """The relative bias decides: an estimate cannot prove that there is none. Beside it the direction and the length of the mean."""
        parts, verdicts = [], []
        for findings in self.samples.values():
            found = method(findings, f"deltal-{alpha}-step")
            detectable = found["detectable_bias"]
            power = "not known" if detectable is None else f"{detectable:.2f}"
            parts.append(
                f"relative bias {text(found['relative_bias'])}, cosine {text(found['cosine'])}, length of the mean "
                f"{text(found['relative_norm'])}; bias that 80 % of such samples would show: {power}"
            )
            verdicts.append(FAILS if found["relative_bias"]["resolved"] else OPEN)
        return Row(f"∆L {alpha} is unbiased", parts, verdicts)

    def rows(self) -> list[Row]:
        ratio = "CV / CV of Dr. GRPO norm"
        return [
            self.growth(
                "the variance of a response's gradient grows in proportion to its length: β = 1", "with_advantage"
            ),
            self.growth("the same without the advantage", "without_advantage"),
            self.row(
                "gradients of responses are independent: two responses to one prompt are no more correlated than two to different "
                "prompts, difference 0",
                lambda f: f["covariance"]["with_advantage"]["all"]["excess"],
                equal_to(0, 0.1),
            ),
            self.unbiased("1"),
            self.unbiased("0.75"),
            self.of_method(
                f"∆L 1 has a lower CV than Dr. GRPO norm: {ratio} < 1", "deltal-1-step", "cv_ratio", below(1)
            ),
            *self.ordering(),
            self.of_method(
                "the update of GRPO norm shrinks with length: norm of long / of short batches < 1",
                "seq-mean-token-mean",
                "norm_ratio",
                below(1),
            ),
            self.of_method("that of DAPO norm as well", "token-mean", "norm_ratio", below(1)),
            self.of_method("that of ∆L 1 does not: 1", "deltal-1-step", "norm_ratio", equal_to(1, WIDEST)),
            self.of_method("nor that of ∆L 0.75: 1", "deltal-0.75-step", "norm_ratio", equal_to(1, WIDEST)),
            self.of_method("that of Dr. GRPO norm neither: 1", REFERENCE, "norm_ratio", equal_to(1, WIDEST)),
        ]


def method(findings: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    return next(entry for entry in findings["estimators"] if entry["key"] == key)


def pair(arm: Mapping[str, Any], kind: str, a: str, b: str, metric: str) -> Mapping[str, Any] | None:
    """The difference b - a, turned round if it stands the other way; None if it is not there."""
    for entry in arm[kind]:
        if entry["metric"] != metric:
            continue
        if (entry["a"], entry["b"]) == (a, b):
            return entry
        if (entry["a"], entry["b"]) == (b, a):
            turned = {key: _turned(entry[key]) for key in ("difference", OVER_STARTS) if key in entry}
            return {**entry, **turned, "a": a, "b": b, "wins": entry["n"] - entry["wins"]}
    return None


def _turned(estimate: Estimate) -> dict[str, Any]:
    def negative(value: float | None) -> float | None:
        return None if value is None else -value

    ends = {"value": "value", "low": "high", "high": "low"}
    return {**estimate, **{name: negative(estimate[other]) for name, other in ends.items()}}


class Claim(NamedTuple):
    """kind: families or pairs of comparison.json; the measured difference is b - a."""

    text: str
    kind: str
    a: str
    b: str
    metric: str
    verdict: Callable[[Estimate], str]


CLAIMS = (
    Claim(
        "∆L and GRPO norm end higher than Dr. GRPO and DAPO norm", "families", "alpha 0", "alpha 1", "final", above(0)
    ),
    Claim("their accuracy over the whole run is higher", "families", "alpha 0", "alpha 1", "auc", above(0)),
    Claim("they rise more steadily (Spearman's rho)", "families", "alpha 0", "alpha 1", "monotonicity", above(0)),
    Claim("their largest drop is smaller", "families", "alpha 0", "alpha 1", "largest_drop", below(0)),
    Claim("∆L 1 ends higher than Dr. GRPO norm", "pairs", "Dr. GRPO norm", "∆L 1", "final", above(0)),
    Claim("∆L 1 ends higher than DAPO norm", "pairs", "DAPO norm", "∆L 1", "final", above(0)),
    Claim("∆L 1 ends higher than GRPO norm", "pairs", "GRPO norm", "∆L 1", "final", above(0)),
    Claim("∆L 0.75 ends higher than GRPO norm", "pairs", "GRPO norm", "∆L 0.75", "final", above(0)),
    Claim("∆L 1 ends higher than ∆L 0.75", "pairs", "∆L 0.75", "∆L 1", "final", above(0)),
)


def training_rows(arm: Mapping[str, Any]) -> list[Row]:
    """The claims about training that this arm has runs for."""
    rows = []
    for claim in CLAIMS:
        found = pair(arm, claim.kind, claim.a, claim.b, claim.metric)
        if found is None or not found["n"]:
            continue
        measured = f"{text(found['difference'], '+')}, n = {found['n']}, {found['wins']} of them higher"
        if OVER_STARTS in found:
            measured += f"; over starting points {text(found[OVER_STARTS], '+')}"
        verdict, over_starts = (
            claim.verdict(found[key]) if key in found else None for key in ("difference", OVER_STARTS)
        )
        if verdict != OPEN and over_starts not in (None, verdict):
            verdict += " with these starting points; for others not resolved"
        rows.append(Row(claim.text, [measured], [verdict]))
    return rows


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def methods_table(arm: Mapping[str, Any]) -> str:
    columns = ("final", "auc", "largest_drop", "monotonicity", "length", "entropy", "grad_norm", "clip_share")
    rows = [
        [
            entry["name"],
            f"{entry['learning_rate']:g}",
            str(entry["runs"]) + (f" ({len(entry['crashed'])} crashed)" if entry["crashed"] else ""),
            *(text(entry[name]) for name in columns),
        ]
        for entry in arm["methods"]
        if entry["runs"]
    ]
    return table(["method", "learning rate", "runs", *(name.replace("_", " ") for name in columns)], rows)


def sample_text(name: str, findings: Mapping[str, Any]) -> str:
    sample, source = findings["sample"], findings["source"]
    lengths = sample["lengths"]
    return (
        f"- **{name}**: `{source['command']}`, {source['seconds']:.0f} s. {sample['responses']} responses to {sample['prompts']} prompts, "
        f"{source['parameters']:,} parameters, accuracy {sample['reward_mean']:.3f}, lengths p5 {lengths['p5']:.0f}, median "
        f"{lengths['p50']:.0f}, p95 {lengths['p95']:.0f}, max {lengths['max']:.0f}, {sample['truncated']:.1%} cut off, "
        f"{sample['prompts_without_signal']:.1%} of the prompts without signal. Which alpha: {findings['recommendation']['text']}"
    )


def arm_text(arm: Mapping[str, Any], plots: Sequence[str]) -> str:
    changed = ("train.batch_size", "deltal.sgd", "actor.max_norm")
    flags = ", ".join(f"`--{name} {arm['flags'][name]}`" for name in changed if name in arm["flags"])
    notes = [f"- {warning}" for warning in arm.get("warnings", [])]
    return "\n\n".join(
        [
            f"### {arm['name']}",
            f"{arm['steps']} PPO steps, {flags}; {_took(arm)}.",
            *(["\n".join(notes)] if notes else []),
            table(["claim", "paired difference"], [row.cells() for row in training_rows(arm)]),
            methods_table(arm),
            *(f"![{name}](plots/{name})" for name in plots),
        ]
    )


def is_measured(arm: Mapping[str, Any]) -> bool:
    return any(entry["runs"] for entry in arm["methods"])


def _took(arm: Mapping[str, Any]) -> str:
    rates, runs = arm["cpu_seconds_of_rates"], sum(entry["runs"] + len(entry["crashed"]) for entry in arm["methods"])
    grid = f"{runs} runs in {(arm['cpu_seconds'] - rates) / 60:.0f} core-minutes"
    return f"{grid}, the choice of learning rates before them in {rates / 60:.0f}" if rates else grid


def arm_plots(comparison: Mapping[str, Any], folder: Path) -> list[list[Path]]:
    """Of each arm, in its order."""
    return [
        [folder / "plots" / f"{plot_prefix(number, arm)}_{name}.png" for name in ARM_PLOTS]
        for number, arm in enumerate(comparison["arms"], start=1)
        if is_measured(arm)
    ]


def ratios(samples: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """Name of each method of scope step, and of each comparison -> its cv_ratio in every sample."""
    rows: dict[str, list[str]] = {}
    for findings in samples.values():
        for entry in findings["estimators"]:
            if entry["scope"] in (None, "step"):
                rows.setdefault(entry["name"], []).append(text(entry["cv_ratio"]))
    return rows


def one_update(folders: Mapping[str, Path]) -> str:
    samples = {name: json.loads((folder / "findings.json").read_text()) for name, folder in folders.items()}
    return "\n\n".join(
        [
            "## One update: `deltal diagnose`",
            "\n".join(sample_text(name, findings) for name, findings in samples.items()),
            table(["claim", *samples], [row.cells() for row in Diagnosis(samples).rows()]),
            "Coefficient of variation of one batch's gradient, as a ratio to that of Dr. GRPO norm:",
            table(["method", *samples], [[name, *cells] for name, cells in ratios(samples).items()]),
            *(f"![{name}](plots/{name})" for name in PLOTS),
        ]
    )


def training(comparison: Mapping[str, Any], plots: Sequence[Sequence[Path]]) -> str:
    measured = [arm for arm in comparison["arms"] if is_measured(arm)]
    parts = [arm_text(arm, [path.name for path in of_arm]) for arm, of_arm in zip(measured, plots, strict=True)]
    said = f"`{comparison['command']}`, {len(comparison['starts'])} starting points."
    if comparison["unfinished"]:
        said += f" **Not finished: {len(comparison['unfinished'])} runs are missing.**"
    said += (
        " Intervals are over seeds, and over starting points where there are three; the rates are those that each family's first method "
        "did best with on two other seeds, so between families a difference is also one of the chosen rates."
    )
    return "\n\n".join(["## Training: `deltal compare`", said, *parts])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--diagnose", nargs="+", required=True, metavar="NAME=DIR", help="results of deltal diagnose")
    parser.add_argument("--compare", type=Path, metavar="DIR", help="result of deltal compare")
    parser.add_argument("--out", type=Path, default=Path("docs/results"), metavar="DIR")
    args = parser.parse_args()
    folders = {name: Path(folder) for name, _, folder in (entry.partition("=") for entry in args.diagnose)}
    parts, copied = [HEAD, one_update(folders)], {}
    for name, folder in folders.items():
        copied[args.out / f"diagnose_{name.replace(' ', '_')}.json"] = (folder / "findings.json").read_bytes()
    for name in PLOTS:
        copied[args.out / "plots" / name] = (next(iter(folders.values())) / "plots" / name).read_bytes()
    if args.compare:
        comparison = json.loads((args.compare / "comparison.json").read_text())
        plots = arm_plots(comparison, args.compare)
        parts.append(training(comparison, plots))
        copied |= {args.out / "plots" / path.name: path.read_bytes() for of_arm in plots for path in of_arm}
        copied[args.out / "comparison.json"] = (args.compare / "comparison.json").read_bytes()
    else:
        parts.append("## Training: `deltal compare`\n\nNot part of this page yet.")
    parts.append(AGAINST)
    copied[args.out / "README.md"] = ("\n\n".join(parts) + "\n").encode()
    write_all_atomically(copied)


if __name__ == "__main__":
    main()
