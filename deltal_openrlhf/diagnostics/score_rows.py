"""Second stage of a diagnosis: the (sketched) score vector of every response, one row after the other in rows.f32."""

import os
from collections.abc import Sequence

from deltal_openrlhf.diagnostics.folder import ROWS, DiagnosisFolder, Stopwatch
from deltal_openrlhf.diagnostics.gradients import Scores
from deltal_openrlhf.diagnostics.progress import Progress
from deltal_openrlhf.runs.rollouts import Rollout

STAGE = "gradients"
SYNC_EVERY = 1.0
"""Seconds. The journal names a row once it is on the disk, so a power failure costs no more work than a kill: about this much."""


def compute_missing(folder: DiagnosisFolder, rollouts: Sequence[Rollout], scores: Scores, dim: int, prog: str) -> None:
    """Go on after the last row that the journal names. Rows do not depend on each other."""
    done = len(folder.lines(STAGE))
    # A pass costs about the same for each token, the prompt's included, and the sketch about the same for each response.
    progress = Progress(f"{prog}: gradients", "responses", [len(r.token_ids) for r in rollouts], done=done)
    with open(folder.path / ROWS, "ab") as file:
        if file.tell() < 4 * dim * done:
            raise ValueError(f"{folder.path}: {ROWS} is shorter than the journal says; take another --out")
        file.truncate(4 * dim * done)
        pending: list[dict] = []
        watch, since_sync = Stopwatch(), 0.0
        for i, rollout in enumerate(rollouts[done:], done):
            row, log_prob = scores.row(rollout.token_ids, rollout.action_mask)
            file.write(row.cpu().numpy().data)
            pending.append({"stage": STAGE, "response": i, "log_prob": log_prob, "seconds": watch.lap()})
            since_sync += pending[-1]["seconds"]
            if since_sync > SYNC_EVERY or i == len(rollouts) - 1:
                file.flush()
                os.fsync(file.fileno())
                folder.append(*pending)
                pending, since_sync = [], 0.0
            progress.update(i + 1)


def mean_log_prob_difference(folder: DiagnosisFolder, rollouts: Sequence[Rollout]) -> float | None:
    """Mean over trained tokens of log pi(y_t) under the model minus what the sampler said; None where it said nothing.

    Of responses that this very model sampled it is about 0 (rounding); else about -KL(sampler || model) a token.
    """
    if any(rollout.log_probs is None for rollout in rollouts):
        return None
    ours = sum(line["log_prob"] for line in folder.lines(STAGE))
    theirs = sum(sum(rollout.log_probs or ()) for rollout in rollouts)
    return (ours - theirs) / sum(rollout.length for rollout in rollouts)
