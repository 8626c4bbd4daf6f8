"""From a rollout batch to what is trained on: the host's advantages, then what only the whole batch tells."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from openrlhf.trainer.ppo_utils import experience_maker
from openrlhf.trainer.ppo_utils.experience import Experience
from torch import Tensor

from deltal_openrlhf.host.baselines import set_advantages
from deltal_openrlhf.host.length_penalties import apply_length_penalties
from deltal_openrlhf.host.rebind import rebound
from deltal_openrlhf.host.scope_means import attach_scope_means, trained_lengths
from deltal_openrlhf.host.settings import LossSettings
from deltal_openrlhf.host.token_energies import Scored
from deltal_openrlhf.statistics.adaptive_alpha import AdaptiveAlpha


class DeltaLExperienceMaker(experience_maker.RemoteExperienceMaker):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.settings = LossSettings.from_args(self.args)
        self.energies: list[Tensor] = []
        self.adaptive: AdaptiveAlpha | None = None
        if self.settings.alpha is not None and self.settings.alpha_window is not None:
            self.adaptive = AdaptiveAlpha(self.settings.alpha, self.settings.alpha_window, self.args.train.seed)
        self.logs: dict[str, float] = {}
        self.used = self.settings
        """The settings of the last rollout: with --alpha auto, the alpha that was in force."""

    def _flatten_results(self, refs: list, duplicate_factor: int) -> list:
        """As the host; a policy worker may return Scored, of which the host gets the log-probabilities."""
        results = super()._flatten_results(refs, duplicate_factor)
        if not (results and isinstance(results[0], Scored)):
            return results
        self.energies = [scored.energies for scored in results]
        return [scored.log_probs for scored in results]

    def compute_advantages_and_returns(self, experiences: Sequence[Experience]) -> Sequence[Experience]:
        group_size = self.args.rollout.n_samples_per_prompt
        with rebound(experience_maker, "apply_length_penalties", apply_length_penalties):
            experiences = super().compute_advantages_and_returns(experiences)
        if self.settings.baseline is not None:
            set_advantages(experiences, self.energies, self.settings.baseline, self.args)
        if self.adaptive is not None:
            self.used = replace(self.settings, alpha=self.adaptive.alpha)
        attach_scope_means(experiences, self.used, group_size)
        if self.adaptive is not None:
            self.logs = {"deltal/alpha": self.adaptive.alpha}
            found = self.adaptive.add(*self._evidence(experiences)) or {}
            self.logs |= {f"deltal/alpha_{name}": value for name, value in found.items()}
        return experiences

    def _evidence(self, experiences: Sequence[Experience]) -> tuple[list[float], list[float], list[int]]:
        """What AdaptiveAlpha.add takes of a rollout: lengths, A_i^2 E_i, prompts. With one advantage a token it is the sum of A^2 w."""
        lengths, norms, prompts = [], [], []
        for experience, energies in zip(experiences, self.energies, strict=True):
            lengths += trained_lengths(experience.action_mask, experience.truncated, self.settings).tolist()
            mask = experience.action_mask
            norms += (energies * mask * experience.advantages.square()).sum(-1).tolist()
            prompts += [number // self.args.rollout.n_samples_per_prompt for number in experience.index]
        return lengths, norms, prompts
