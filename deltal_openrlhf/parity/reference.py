"""The same update by brute force: one response at a time, every weight by its definition in Python floats. It uses nothing of
aggregation.py.
"""

from collections.abc import Callable

import torch

from deltal_openrlhf.parity.cases import BIG_M, GROUP_SIZE, Case, learning_rate, make_batch, make_model


def compare(case: Case, outcome: dict) -> dict[str, float]:
    """The fields of Result."""
    model = make_model(case.lora)
    before = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    ema = _reference_update(case, model, outcome["steps"])
    names = list(before)
    wanted = torch.cat([(dict(model.named_parameters())[n].detach() - before[n]).flatten() for n in names]).double()
    got = torch.cat([(outcome["after"][n] - before[n]).flatten() for n in names]).double()
    ema_error = max(((outcome["ema"][n] - ema[n]).abs().max().item() for n in names), default=0.0) if case.ema else 0.0
    return {
        "relative_error": ((got - wanted).norm() / wanted.norm()).item(),
        "largest": wanted.abs().max().item(),
        "difference": (got - wanted).abs().max().item(),
        "loss_steps": len(outcome["steps"]),
        "ema_error": ema_error,
    }


def _reference_update(case: Case, model: torch.nn.Module, steps: list[list[int]]) -> dict[str, torch.Tensor]:
    """Replay the optimizer steps one response at a time. Returns the moving average of the parameters (beta 0.5)."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    average = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
    make = torch.optim.AdamW if case.adamw else torch.optim.SGD
    keywords = {"lr": 1e-3, "betas": (0.9, 0.95), "weight_decay": 0.0} if case.adamw else {"lr": learning_rate(case)}
    optimizer = make(parameters, **keywords)
    batch = make_batch(case.holes)
    for members in steps:
        x = reference_weights(case, batch, members)
        tokens = sum(int(batch[i]["mask"].sum()) for i in members)
        optimizer.zero_grad()
        for i in members:
            if batch[i]["mask"].any():
                loss = reference_loss(case, model, batch[i], x[i], tokens)
                if loss.requires_grad:
                    loss.backward()
        optimizer.step()
        for n, p in model.named_parameters():
            if p.requires_grad:
                average[n] = 0.5 * average[n] + 0.5 * p.detach()
    return average


def reference_weights(case: Case, batch: list[dict], members: list[int]) -> dict[int, float]:
    """x_i by the definitions, in Python floats. A short rollout's scopes hold all that was sampled, as in _train."""

    def length(i: int) -> int:
        return 0 if case.filtering and batch[i]["truncated"] else int(batch[i]["mask"].sum())

    valid = [i for i in members if length(i) > 0]
    weights = dict.fromkeys(members, 0.0)
    alpha = 0.75 if case.alpha is None else case.alpha
    for i in valid:
        if case.mode == "token-mean":
            weights[i] = 1 / sum(length(j) for j in valid)
        elif case.mode == "seq-mean-token-mean":
            weights[i] = 1 / (len(valid) * length(i))
        elif case.mode == "seq-mean-token-sum-norm":
            weights[i] = 1 / (len(valid) * BIG_M)
        elif case.mode in ("prompt-mean", "balanced"):
            weights[i] = (
                _of_the_rollout(case, batch, length, i) * sum(map(bool, map(length, range(len(batch))))) / len(valid)
            )
        else:
            scope = {
                "step": members,
                "rollout": range(len(batch)),
                "group": [j for j in range(len(batch)) if j // GROUP_SIZE == i // GROUP_SIZE],
            }[case.scope or "step"]
            powers = [length(j) ** -alpha for j in scope if length(j) > 0]
            weights[i] = length(i) ** -alpha / (sum(powers) / len(powers)) / (BIG_M * len(valid))
    return weights


def _of_the_rollout(case: Case, batch: list[dict], length: Callable[[int], int], i: int) -> float:
    """A response's share of the mean over prompts of their token means; `balanced` takes one for each sign, weighted by its responses."""
    responses = [j for j in range(len(batch)) if length(j) > 0]
    prompts = {j // GROUP_SIZE for j in responses}
    prompt = [j for j in responses if j // GROUP_SIZE == i // GROUP_SIZE]
    part = prompt
    if case.mode == "balanced":
        part = [j for j in prompt if _sign(batch[j]["advantage"]) == _sign(batch[i]["advantage"])]
    return len(part) / len(prompt) / sum(map(length, part)) / len(prompts)


def _sign(number: float) -> int:
    return (number > 0) - (number < 0)


def reference_loss(case: Case, model: torch.nn.Module, row: dict, x: float, tokens: int) -> torch.Tensor:
    """What one response adds to the loss of its optimizer step. The host averages KL and entropy over all tokens of the step."""
    logits = model(row["ids"][None]).logits[0, :-1]
    taken = row["mask"]
    log_probs = logits.log_softmax(-1)[taken]
    chosen = log_probs.gather(-1, row["ids"][1:][taken, None]).squeeze(-1)
    old, base, rollout, advantage = row["old"][taken], row["base"][taken], row["rollout"][taken], row["advantage"]

    ratio = (chosen - old).mean().exp() if case.gspo else (chosen - old).exp()
    gain = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
    if case.dual_clip is not None and advantage < 0:
        gain = gain.clamp(min=case.dual_clip * advantage)
    if case.gspo:
        gain = gain.expand(len(chosen))
    if case.correction != "off":
        mismatch = (old - rollout).exp()
        gate = (old - rollout).mean().exp() if case.correction == "seq" else mismatch
        gain = gain * mismatch * ((gate >= 0.8) & (gate <= 1.25))
    total = -x * gain.sum()
    if case.kl:
        difference = chosen - base
        total = total + 0.1 * ((-difference).exp() - 1 + difference).clamp(max=10).sum() / tokens  # the host's cap
    if case.entropy:
        total = total + 0.05 * (log_probs.exp() * log_probs).sum() / tokens
    return total
