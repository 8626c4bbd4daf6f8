"""The gradient of the real DeepSpeed trainer against brute force, over the whole matrix.

    python scripts/check_gradients.py                  # every case; prints a line each, exit 1 above the tolerance
    python scripts/check_gradients.py --markdown FILE  # the same as a table for docs

All modes and scopes x 1 and 2 ranks x micro batch 1, 2, 4 x ZeRO 0 to 3 x plain and dynamic + packed, each with one empty response,
the features of the host one at a time, and two negative controls that have to fail. fp32, SGD with learning rate 1, no clipping.
"""

import argparse
import itertools
import sys
import time
from pathlib import Path

from deltal_openrlhf.parity import Case, Result, run_cases

TOLERANCE = 1e-5
LOSSES = (
    {"mode": "token-mean"},
    {"mode": "seq-mean-token-mean"},
    {"mode": "seq-mean-token-sum-norm"},
    {"mode": "deltal", "scope": "step"},
    {"mode": "deltal", "scope": "rollout", "steps": 2},
    {"mode": "deltal", "scope": "group", "steps": 2},
)
FEATURES = (
    {"kl": True},
    {"entropy": True},
    {"dual_clip": 3.0},
    {"correction": "token"},
    {"correction": "seq"},
    {"lora": True},
    {"ema": True},
    {"holes": True},
    {"epochs": 2},
    {"steps": 2},
    {"filtering": True},
    {"packing": True},
    {"filtering": True, "kl": True, "entropy": True},
    {"steps": 2, "epochs": 2, "zero": 1},
    {"steps": 2, "epochs": 2, "zero": 1, "dynamic": True},
)


def matrix() -> list[Case]:
    """Every case that has to agree."""
    cases = [
        Case(world=world, micro=micro, zero=zero, dynamic=dynamic, **loss)
        for loss, world, micro, zero, dynamic in itertools.product(
            LOSSES, (1, 2), (1, 2, 4), (0, 1, 2, 3), (False, True)
        )
    ]
    cases += [Case(world=world, **{"micro": 2, **feature}) for feature in FEATURES for world in (1, 2)]
    cases += [Case(world=1, micro=2, steps=2, short=True), Case(world=2, micro=2, steps=2, short=True, zero=3)]
    return cases


CONTROLS = tuple(Case(world=world, micro=2, wrong=wrong) for wrong in ("micro-batch", "scale") for world in (1, 2))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--markdown", type=Path, help="write the result as a Markdown table")
    options = parser.parse_args()
    started, results = time.time(), []
    cases = matrix() + list(CONTROLS)
    for world in (1, 2):
        chosen = [case for case in cases if case.world == world]
        for part in _parts(chosen, 24):
            results += run_cases(list(part), timeout=900)
            done, passed = len(results), time.time() - started
            print(
                f"{done}/{len(cases)} cases, {passed:.0f} s, about {passed / done * (len(cases) - done):.0f} s left",
                flush=True,
            )
    for result in results:
        print(f"{'ok ' if good(result) else 'BAD'} {result.relative_error:.2e}  {result.case}")
    if options.markdown:
        options.markdown.write_text(markdown(results, time.time() - started), encoding="utf-8")
    return int(not all(map(good, results)))


def good(result: Result) -> bool:
    """A case agrees; a negative control does not."""
    agrees = result.relative_error <= TOLERANCE and result.largest >= 1e-2 and result.ema_error <= 1e-6
    return agrees if result.case.wrong is None else result.relative_error > 100 * TOLERANCE


def markdown(results: list[Result], seconds: float) -> str:
    """The worst case of every group, and all controls."""
    import torch

    held = [r for r in results if r.case.wrong is None]
    lines = [
        "# Gradient of the real trainer against brute force",
        "",
        f"`python scripts/check_gradients.py --markdown docs/gradients.md`: {len(held)} cases, {sum(map(good, held))} within "
        f"{TOLERANCE:g}; torch {torch.__version__}, fp32, {seconds:.0f} s on 2 CPU cores. Relative error of the change of all parameters "
        "under SGD (learning rate 1, no clipping). Each row is the worst of its group.",
        "",
        "| group | cases | worst relative error | smallest largest change |",
        "|---|---|---|---|",
    ]
    groups: dict[str, list[Result]] = {}
    plain = Case()
    for r in held:
        changed = {k: v for k, v in vars(r.case).items() if v != getattr(plain, k)}
        names = [
            f"mode {r.case.mode}{f', scope {r.case.scope}' if r.case.scope else ''}",
            f"ranks {r.case.world}",
            f"ZeRO {r.case.zero}",
        ]
        names += ["dynamic batch with packing" if r.case.dynamic else f"micro batch {r.case.micro}"]
        shown = {"mode", "scope", "world", "zero", "dynamic", "micro"}
        names += [f"{k} {v}" if v is not True else k for k, v in changed.items() if k not in shown]
        for name in names:
            groups.setdefault(name, []).append(r)
    lines += [
        f"| {name} | {len(g)} | {max(r.relative_error for r in g):.1e} | {min(r.largest for r in g):.2g} |"
        for name, g in sorted(groups.items())
    ]
    lines += ["", "| negative control | relative error |", "|---|---|"]
    lines += [f"| {r.case} | {r.relative_error:.2g} |" for r in results if r.case.wrong]
    return "\n".join(lines) + "\n"


def _parts(cases: list[Case], size: int) -> list[list[Case]]:
    return [cases[i : i + size] for i in range(0, len(cases), size)]


if __name__ == "__main__":
    sys.exit(main())
