"""The second stage of a diagnosis: the (sketched) score vector of every response, one row after the other in rows.f32."""

import os
import sys
import time
from collections.abc import Sequence

from deltal_openrlhf.diagnostics.folder import PROG, ROWS, DiagnosisFolder
from deltal_openrlhf.diagnostics.gradients import Scores
from deltal_openrlhf.runs.progress import Progress
from deltal_openrlhf.runs.rollouts import Rollout

STAGE = "gradients"
SYNC_EVERY = 1.0
"""Seconds. The journal names a row once it is on the disk, so a power failure costs no more work than a kill: about this much."""


def compute_missing(folder: DiagnosisFolder, rollouts: Sequence[Rollout], scores: Scores, dim: int) -> None:
    """Resume after the last row that is there and that the journal names. Rows do not depend on each other."""
    path, total = folder.path / ROWS, len(rollouts)
    done = min(len(_log_probs(folder)), path.stat().st_size // (4 * dim) if path.exists() else 0)
    costs = [len(rollout.token_ids) for rollout in rollouts]  # a pass takes about the same for each token
    progress = Progress(f"{PROG}: gradients", "responses", total, done=done, costs=costs, stream=sys.stdout)
    with open(path, "ab") as file, progress:
        file.truncate(4 * dim * done)
        pending: list[dict] = []
        began = synced = time.monotonic()
        for i, rollout in enumerate(rollouts[done:], done):
            row, log_prob = scores.row(rollout.token_ids, rollout.action_mask)
            file.write(row.cpu().numpy().data)
            ended = time.monotonic()
            pending.append({"stage": STAGE, "response": i, "log_prob": log_prob, "seconds": ended - began})
            began = ended
            if ended - synced > SYNC_EVERY or i == total - 1:
                file.flush()
                os.fsync(file.fileno())
                folder.append(pending)
                pending, synced = [], ended
            progress.update(i + 1)


def mean_log_prob_difference(folder: DiagnosisFolder, rollouts: Sequence[Rollout]) -> float | None:
    """The mean over trained tokens of log pi(y_t) under the model, minus the sampler's. None if the sampler's is unknown.

    It is about 0 (rounding) for responses of this very model. Otherwise it is about -KL(sampler || model) per token.
    """
    if any(rollout.log_probs is None for rollout in rollouts):
        return None
    ours = sum(_log_probs(folder).values())
    theirs = sum(sum(rollout.log_probs or ()) for rollout in rollouts)
    return (ours - theirs) / sum(rollout.length for rollout in rollouts)


def _log_probs(folder: DiagnosisFolder) -> dict[int, float]:
    """Response -> its log-probability. A response whose row was lost has a line for each time."""
    return {line["response"]: line["log_prob"] for line in folder.of_stage(STAGE)}
