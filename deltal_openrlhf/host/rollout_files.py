"""--deltal.save_rollouts N: saves the responses of PPO steps 1, N + 1, 2 N + 1, ... for `deltal diagnose`.

--ckpt.save_steps N keeps the weights that sampled them.

<--ckpt.output_dir>/rollouts/step_000021.jsonl holds the responses that step 21 trains on. The policy after step 20 sampled them, or in an
asynchronous run partly an earlier policy. Training does not depend on these files: a failure is logged once and the run continues.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from openrlhf.trainer.ppo_utils.experience import Experience
from openrlhf.utils.logging_utils import init_logger

from deltal_openrlhf.arguments import Arguments
from deltal_openrlhf.host.length_penalties import apply_length_penalties
from deltal_openrlhf.host.settings import LossSettings
from deltal_openrlhf.runs import rollouts
from deltal_openrlhf.runs.rollouts import Header, Rollout

logger = init_logger(__name__)


class RolloutFiles:
    """The files of one run. A resumed run first drops those of the steps after its checkpoint; a fresh one moves old files aside."""

    def __init__(
        self, args: Arguments, settings: LossSettings, decode: Callable[[list[int]], str], *, resumed_step: int
    ) -> None:
        """decode: gives the text of token ids, special tokens included. resumed_step: the checkpoint's step, 0 in a fresh run."""
        self._args, self._settings, self._decode = args, settings, decode
        self._output_dir = Path(args.ckpt.output_dir)
        self._failed = False
        old = rollouts.saved(self._output_dir)
        if resumed_step:
            for step, path in old.items():
                if step > resumed_step:
                    path.unlink()
        elif old:
            begun = int(min(path.stat().st_mtime for path in old.values()))
            folder = self._output_dir / rollouts.FOLDER
            folder.rename(folder.with_name(f"{folder.name}.{begun}"))

    def save_if_due(self, rollout_samples: Sequence[Experience], step: int) -> None:
        """Save at steps 1, N + 1, ... The first failure is logged. Later steps try again."""
        every = self._args.deltal.save_rollouts
        if not every or (step - 1) % every:
            return
        try:
            self.save(rollout_samples, step)
        except (OSError, ValueError, TypeError) as error:
            if not self._failed:
                logger.warning(f"rollouts of step {step} are not saved, the run continues (said once): {error}")
            self._failed = True

    def save(self, rollout_samples: Sequence[Experience], step: int) -> None:
        """Save one step.

        rollout_samples: single-response Experiences, the responses to a prompt together. step: the step that trains on them, from 1.

        Raises OSError, ValueError for a reward that is not finite, and TypeError for a label that JSON cannot hold.
        """
        args, n = self._args, self._args.rollout.n_samples_per_prompt
        header = Header(
            step=step,
            model=args.actor.model_name_or_path,
            temperature=args.rollout.temperature,
            n_samples_per_prompt=n,
            max_new_tokens=args.rollout.max_new_tokens,
            loss=self._settings.to_dict(),
        )
        # Rewards as the advantages see them: with the run's length penalties, which the host applies later, in place.
        rewarded = [replace(sample, rewards=sample.rewards.float().clone(), info={}) for sample in rollout_samples]
        apply_length_penalties(rewarded, args)
        made = (_rollout(sample, i // n, i % n, self._decode) for i, sample in enumerate(rewarded))
        rollouts.write(rollouts.path_of(self._output_dir, step), header, made)


def _rollout(sample: Experience, prompt_index: int, number: int, decode: Callable[[list[int]], str]) -> Rollout:
    mask, tokens = sample.action_mask[0].bool(), sample.sequences[0].tolist()
    log_probs = None
    if sample.rollout_log_probs is not None:
        log_probs = [round(value, 6) for value in sample.rollout_log_probs[0][mask].tolist()]
    return Rollout(
        prompt_index=prompt_index,
        sample=number,
        prompt=sample.prompts[0],
        label=sample.labels[0],
        token_ids=tokens,
        action_mask=mask.int().tolist(),
        reward=sample.rewards[0].item(),
        truncated=bool(sample.truncated[0]),
        log_probs=log_probs,
        images=bool(sample.images and sample.images[0]),
        response=decode(tokens[int(mask.int().argmax()) + 1 :]),
    )
