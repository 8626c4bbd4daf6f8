"""The paper's claims about one update and about training, each with its measurement and a verdict.

A verdict depends on the 95 % interval alone. The claim holds if the whole interval agrees with it, does not hold if none of it does, and is
not resolved otherwise. The claim that a number has a certain value holds if a narrow enough interval contains the value.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

HOLDS, FAILS, OPEN = "holds", "does not hold", "not resolved"
WIDEST = 0.5
"""The widest interval of an exponent that can confirm the value 1."""

REFERENCE = "seq-mean-token-sum-norm"
OVER_STARTS = "difference_over_starts"
SAME_CV = 0.1
"""The widest interval of a CV ratio around 1 that counts as equal."""

MEASURED = ("cv_ratio", "cosine", "relative_norm", "relative_bias", "detectable_bias", "norm_ratio")
"""What claims about one update read of a method in findings.json."""

Estimate = Mapping[str, Any]
"""A number with its 95 % interval, as it stands in JSON."""
Verdict = Callable[[Estimate], str]
Findings = Mapping[str, Any]
"""The findings.json of `deltal diagnose`."""


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


def below(limit: float) -> Verdict:
    """Verdict on "the number is below limit"."""

    def verdict(estimate: Estimate) -> str:
        if estimate["high"] is not None and estimate["high"] < limit:
            return HOLDS
        return FAILS if estimate["low"] is not None and estimate["low"] > limit else OPEN

    return verdict


def above(limit: float) -> Verdict:
    def verdict(estimate: Estimate) -> str:
        if estimate["low"] is not None and estimate["low"] > limit:
            return HOLDS
        return FAILS if estimate["high"] is not None and estimate["high"] < limit else OPEN

    return verdict


def equal_to(value: float, widest: float) -> Verdict:
    """Verdict on "the number is value": holds if the interval contains it and is not wider than `widest`."""

    def verdict(estimate: Estimate) -> str:
        low, high = estimate["low"], estimate["high"]
        if low is None or high is None:
            return OPEN
        if not low <= value <= high:
            return FAILS
        return HOLDS if high - low <= widest else OPEN

    return verdict


def direction(estimate: Estimate) -> str:
    """Of a difference: larger or smaller, if its interval is on one side of 0."""
    return {HOLDS: "larger", FAILS: "smaller", OPEN: OPEN}[above(0)(estimate)]


class Diagnosis:
    """The claims about one update. samples: their findings, by name."""

    def __init__(self, samples: Mapping[str, Findings]) -> None:
        self.samples = samples

    def row(self, claim: str, read: Callable[[Findings], Estimate], verdict: Verdict) -> Row:
        found = [read(findings) for findings in self.samples.values()]
        return Row(claim, [text(estimate) for estimate in found], [verdict(estimate) for estimate in found])

    def of_method(self, claim: str, key: str, field: str, verdict: Verdict) -> Row:
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
            rows.append(self.row(claim, partial(_neighbours, place=i), verdict))
        return rows

    def unbiased(self, alpha: str) -> Row:
        """The relative bias decides, because an estimate cannot prove that there is none. Direction and length of the mean follow."""
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
            self.growth("the same without the advantage: β = 1", "without_advantage"),
            self.row(
                "responses' gradients are independent: two of one prompt are as correlated as two of different prompts, difference 0",
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
            self.of_method("the update of DAPO norm shrinks with length: < 1", "token-mean", "norm_ratio", below(1)),
            self.of_method(
                "the update of ∆L 1 does not depend on length: 1", "deltal-1-step", "norm_ratio", equal_to(1, WIDEST)
            ),
            self.of_method(
                "the update of ∆L 0.75 does not depend on length: 1",
                "deltal-0.75-step",
                "norm_ratio",
                equal_to(1, WIDEST),
            ),
            self.of_method(
                "the update of Dr. GRPO norm does not depend on length: 1", REFERENCE, "norm_ratio", equal_to(1, WIDEST)
            ),
        ]


def _neighbours(findings: Findings, place: int) -> Estimate:
    return findings["ordering"][place]["cv_ratio"]


def method(findings: Findings, key: str) -> Mapping[str, Any]:
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
    verdict: Verdict


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
    *(
        Claim(f"∆L auto {says} ∆L {alpha}", "pairs", f"∆L {alpha}", "∆L auto", metric, above(0))
        for metric, says in (("final", "ends higher than"), ("auc", "has a higher accuracy over the whole run than"))
        for alpha in ("0", "0.5", "0.75", "1")
    ),
)


def training_rows(arm: Mapping[str, Any]) -> list[Row]:
    """The claims about training that this arm has runs for. With one seed, the interval over starting points decides."""
    rows = []
    for claim in CLAIMS:
        found = pair(arm, claim.kind, claim.a, claim.b, claim.metric)
        if found is None or not found["n"]:
            continue
        is_over_seeds = found["difference"]["low"] is not None or OVER_STARTS not in found
        decides = found["difference" if is_over_seeds else OVER_STARTS]
        measured = f"{text(decides, '+')}, n = {found['n']}, {found['wins']} of them higher"
        if is_over_seeds and OVER_STARTS in found:
            measured += f"; over starting points {text(found[OVER_STARTS], '+')}"
        verdict = claim.verdict(decides)
        if verdict != OPEN and OVER_STARTS in found and claim.verdict(found[OVER_STARTS]) != verdict:
            verdict += " with these starting points; for others not resolved"
        rows.append(Row(claim.text, [measured], [verdict]))
    return rows
