"""What a PPO step reports of loss, KL, entropy and clipping, one response at a time; nothing of host/metrics.py."""

import functools
import math
from typing import Any

from deltal_openrlhf.parity import Case


def check(case: Case, status: dict[str, float], steps: list[list[int]], model: Any = None) -> None:
    """Whether a status holds the means of a PPO step that trained on these responses. model: None for that of cases.py."""
    wanted = by_hand(case, steps, model)
    far = {k: (status[k], v) for k, v in wanted.items() if not math.isclose(status[k], v, rel_tol=2e-5, abs_tol=1e-7)}
    assert not far, far


def by_hand(case: Case, steps: list[list[int]], model: Any = None) -> dict[str, float]:
    """The means with the weights as they are."""
    import torch

    from deltal_openrlhf.parity.cases import make_batch
    from deltal_openrlhf.parity.reference import reference_weights

    batch, read = make_batch(case.holes), _log_probs(model)
    sums = dict.fromkeys(("tokens", "kl", "entropy", "loss", "trained", "rows", "ppo_kl", "clipped", "vllm_kl"), 0.0)
    dropped = 0
    for members in steps:
        x = reference_weights(case, batch, members)
        step_tokens = sum(int(batch[i]["mask"].sum()) for i in members)
        for row, weight, log_probs in ((batch[i], x[i], read[i]) for i in members):
            taken = row["mask"]
            if not taken.any():
                continue
            log_probs = log_probs[taken]
            chosen = log_probs.gather(-1, row["ids"][1:][taken, None]).squeeze(-1)
            old, base, rollout = row["old"][taken], row["base"][taken], row["rollout"][taken]
            sums["tokens"] += len(chosen)
            sums["kl"] += ((base - chosen).exp() - 1 + chosen - base).clamp(max=10).sum().item()
            sums["entropy"] += -(log_probs.exp() * log_probs).sum().item()
            if not weight:
                continue
            ratio, advantage = (chosen - old).exp(), row["advantage"]
            plain, clipped = ratio * advantage, ratio.clamp(0.8, 1.2) * advantage
            gain = torch.minimum(plain, clipped)
            if case.correction != "off":
                mismatch = (old - rollout).exp()
                gate = mismatch.log().mean().exp() if case.correction == "seq" else mismatch
                kept = (gate >= 0.8) & (gate <= 1.25)
                gain = gain * mismatch * kept
                dropped += int((~kept).sum())
            sums["loss"] -= step_tokens * weight * gain.sum().item()
            sums["trained"] += len(chosen)
            sums["rows"] += 1
            sums["ppo_kl"] += (old - chosen).sum().item()
            sums["clipped"] += int((clipped < plain).sum())
            sums["vllm_kl"] += (rollout - old).sum().item()
    means = {"policy_loss": sums["loss"] / sums["tokens"], "ppo_kl": sums["ppo_kl"] / sums["trained"]}
    means |= {"kl": sums["kl"] / sums["tokens"], "entropy_loss": sums["entropy"] / sums["tokens"]}
    means["ppo_clip_ratio"] = sums["clipped"] / sums["trained"]
    if case.correction != "off":
        means["vllm_kl"] = sums["vllm_kl"] / sums["trained"]
        means["is_filter_ratio"] = dropped / (sums["rows"] if case.correction == "seq" else sums["trained"])
    return means


@functools.cache
def _log_probs(model: Any) -> list:
    """Of all tokens at each position, of every response of cases.py."""
    import torch

    from deltal_openrlhf.parity.cases import make_batch, make_model

    model = model or make_model(lora=False)
    with torch.no_grad():
        return [model(row["ids"][None]).logits[0, :-1].log_softmax(-1) for row in make_batch(holes=False)]
