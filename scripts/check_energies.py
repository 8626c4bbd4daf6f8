"""Does the proxy of --alpha auto rank responses as their gradients do? Energies of tokens against squared gradient norms of responses.

    python scripts/check_energies.py --model FOLDER --diagnosis FOLDER

The folder is one of `deltal diagnose` on this model, which holds the responses and the inner products of their gradients s_i. For every
response, E_i adds up |e_y - p|^2 over its trained tokens, from one forward pass. Prints the rank correlations of E_i and of the length L_i
with |s_i|^2, over all responses and within thirds by length, and the exponents with which both grow with length. Advantages are left out,
so that responses to prompts without a signal count too.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr

from deltal_openrlhf.diagnostics.folder import GRAM, ROLLOUTS
from deltal_openrlhf.diagnostics.gradients import load_model
from deltal_openrlhf.diagnostics.gram import load_grams
from deltal_openrlhf.runs import rollouts
from deltal_openrlhf.runs.command import OneLineParser, run_command
from deltal_openrlhf.runs.rollouts import Rollout


@torch.no_grad()
def energy(model: torch.nn.Module, rollout: Rollout, temperature: float) -> float:
    ids = torch.tensor(rollout.token_ids)
    trained = torch.tensor(rollout.action_mask).bool()
    chances = (model(ids[None], use_cache=False).logits[0, :-1][trained].float() / temperature).softmax(-1)
    return (1 - 2 * chances.gather(-1, ids[1:][trained, None])[:, 0] + chances.square().sum(-1)).sum().item()


def exponent(lengths: np.ndarray, values: np.ndarray) -> float:
    """Slope of log values against log lengths, by least squares."""
    return float(np.polyfit(np.log(lengths), np.log(values), 1)[0])


def check(args: argparse.Namespace) -> int:
    header, responses = rollouts.read(args.diagnosis / ROLLOUTS)
    model = load_model(args.model, torch.device("cpu"))
    norms = sum(np.diag(gram).astype(np.float64) for gram in load_grams(args.diagnosis / GRAM).values())
    lengths = np.array([response.length for response in responses], dtype=float)
    energies = np.array([energy(model, response, header.temperature) for response in responses])
    order = np.argsort(lengths, kind="stable")
    parts = {"all": order} | {f"third {i + 1}": part for i, part in enumerate(np.array_split(order, 3))}
    print("| responses | number | lengths | rank correlation of E with the squared norm | of L with it |")
    print("|---|---|---|---|---|")
    for name, rows in parts.items():
        found = [spearmanr(values[rows], norms[rows]).statistic for values in (energies, lengths)]
        span = f"{lengths[rows].min():.0f} to {lengths[rows].max():.0f}"
        print(f"| {name} | {len(rows)} | {span} | {found[0]:.3f} | {found[1]:.3f} |")
    print(
        f"\nexponents with length: {exponent(lengths, energies):.2f} of E, {exponent(lengths, norms):.2f} of the squared norm"
    )
    return 0


def main() -> int:
    parser = OneLineParser(prog="check_energies.py", description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", type=Path, required=True, help="folder of the model")
    parser.add_argument("--diagnosis", type=Path, required=True, help="folder that deltal diagnose made of it")
    args = parser.parse_args()
    return run_command(parser, lambda: check(args))


if __name__ == "__main__":
    raise SystemExit(main())
